"""The Trial Datastore: keeps what trials produce."""

from cogment_services.datastore.trial_datastore import TrialDatastore

__all__ = ["TrialDatastore"]
