"""From the arguments of users to the requests that a Trial Datastore takes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from cogment_core.api import trial_datastore_pb2
from cogment_core.checks import as_seconds, as_text, wrong
from cogment_core.errors import UsageError
from cogment_datastore.fields import DatastoreFields
from cogment_datastore.trial_info import DatastoreTrialInfo

__all__ = ["as_milliseconds", "checked_ids", "samples_request", "trials_request"]

_LONGEST_WAIT = (2**32 - 1) // 1000
"""Seconds that fit into a request: more than 49 days."""


def checked_ids(ids: Iterable[str], method: str) -> list[str]:
    """The different trial ids in ``ids``, in order.

    Raises:
        UsageError: ``ids`` is one text, or has something else than texts.
    """
    if isinstance(ids, str):
        raise UsageError(f"{method}: ids is a list of trial ids, for example [{ids!r}], not a string")
    return list(dict.fromkeys(as_text("a trial id", trial_id) for trial_id in ids))


def as_milliseconds(seconds: float) -> int:
    """``seconds`` to wait as whole milliseconds, rounded up.

    Raises:
        UsageError: They are negative, or too many for a request.
    """
    number = as_seconds("wait_for_trials", seconds)
    if not 0 <= number <= _LONGEST_WAIT:
        raise wrong("wait_for_trials", f"a number of seconds from 0 to {_LONGEST_WAIT}", seconds)
    return math.ceil(number * 1000)


def trials_request(
    ids: list[str], properties: Mapping[str, str] | None, *, count: int = 0, wait: int = 0
) -> trial_datastore_pb2.RetrieveTrialsRequest:
    """A request for trials.

    Args:
        ids: The trials to choose from; all if empty.
        properties: Properties that they have to have.
        count: How many; 0 for all.
        wait: Milliseconds to wait for so many.

    Raises:
        UsageError: A property is no text.
    """
    wanted = {as_text("a property", key): as_text(f"property {key!r}", it) for key, it in (properties or {}).items()}
    return trial_datastore_pb2.RetrieveTrialsRequest(trial_ids=ids, properties=wanted, trials_count=count, timeout=wait)


def samples_request(
    trial_infos: list[DatastoreTrialInfo],
    actor_names: Iterable[str],
    actor_classes: Iterable[str],
    actor_implementations: Iterable[str],
    fields: Iterable[DatastoreFields],
) -> trial_datastore_pb2.RetrieveSamplesRequest:
    """A request for samples; see ``Datastore.all_samples``.

    Raises:
        UsageError: There are no trials, or an argument is of the wrong type.
    """
    if not trial_infos:
        raise UsageError("all_samples needs at least one trial: give it what get_trials or all_trials found")
    return trial_datastore_pb2.RetrieveSamplesRequest(
        trial_ids=dict.fromkeys(_info(info).trial_id for info in trial_infos),
        actor_names=_texts("actor_names", actor_names),
        actor_classes=_texts("actor_classes", actor_classes),
        actor_implementations=_texts("actor_implementations", actor_implementations),
        selected_sample_fields=[_field_number(field) for field in fields],
    )


def _info(info: object) -> DatastoreTrialInfo:
    if not isinstance(info, DatastoreTrialInfo):
        raise wrong("a trial", "a DatastoreTrialInfo, as get_trials gives", info)
    return info


def _texts(name: str, values: Iterable[str]) -> list[str]:
    if isinstance(values, str):
        raise UsageError(f"{name} is a list, for example [{values!r}], not a string")
    return [as_text(f"an entry of {name}", value) for value in values]


def _field_number(field: object) -> Any:
    if not isinstance(field, DatastoreFields) or field is DatastoreFields.UNKNOWN:
        raise wrong("a field", "a member of DatastoreFields other than UNKNOWN", field)
    return field.value
