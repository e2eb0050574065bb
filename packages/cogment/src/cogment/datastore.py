"""The samples that a Trial Datastore keeps."""

from __future__ import annotations

from cogment_datastore import DatastoreFields

__all__ = ["DatastoreFields"]
