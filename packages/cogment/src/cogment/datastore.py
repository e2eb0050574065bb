"""Finding trials in a Trial Datastore, and reading their samples."""

from __future__ import annotations

from cogment_datastore import (
    Datastore,
    DatastoreActorData,
    DatastoreFields,
    DatastoreMessage,
    DatastoreReward,
    DatastoreSample,
    DatastoreTrialInfo,
)

__all__ = [
    "Datastore",
    "DatastoreActorData",
    "DatastoreFields",
    "DatastoreMessage",
    "DatastoreReward",
    "DatastoreSample",
    "DatastoreTrialInfo",
]
