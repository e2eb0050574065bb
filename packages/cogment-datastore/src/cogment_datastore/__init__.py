"""Read the samples of Cogment trials from a Trial Datastore.

Imports `cogment_core` only.
"""

from __future__ import annotations

from cogment_datastore.fields import DatastoreFields

__all__ = ["DatastoreFields"]
