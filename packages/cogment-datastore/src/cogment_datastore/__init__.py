"""Read the samples of Cogment trials from a Trial Datastore, and make training data of them.

Imports `cogment_core` only. A Datastore comes from `connect`, given a Context; with the package ``cogment`` installed
from ``Context.get_datastore``. `cogment_datastore.exports` writes files for training, `cogment_datastore.trial_file`
reads and writes the files that ``cogment client trial_datastore export`` makes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from cogment_datastore.fields import DatastoreFields

if TYPE_CHECKING:
    from cogment_datastore.datastore import Datastore, connect
    from cogment_datastore.sample import DatastoreActorData, DatastoreMessage, DatastoreReward, DatastoreSample
    from cogment_datastore.trial_info import DatastoreTrialInfo

__all__ = [
    "Datastore",
    "DatastoreActorData",
    "DatastoreFields",
    "DatastoreMessage",
    "DatastoreReward",
    "DatastoreSample",
    "DatastoreTrialInfo",
    "connect",
]

_HOMES = {
    "Datastore": "datastore",
    "DatastoreActorData": "sample",
    "DatastoreMessage": "sample",
    "DatastoreReward": "sample",
    "DatastoreSample": "sample",
    "DatastoreTrialInfo": "trial_info",
    "connect": "datastore",
}
"""The modules of the names that are looked up when they are first used: they load protobuf, and ``import cogment``
needs the fields alone."""

if not TYPE_CHECKING:  # to type checkers, only what is imported above is here

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'cogment_datastore' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(f"cogment_datastore.{_HOMES[name]}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
