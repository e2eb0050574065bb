"""Which trials of a datastore are meant."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime

from cogment_core.api.trial_datastore_pb2 import (
    STORED_TRIAL_SAMPLE_FIELD_REWARD,
    StoredTrialInfo,
)
from cogment_core.errors import UsageError
from cogment_services.cli.client_datastore.store import TrialStore
from cogment_services.cli.results import note
from cogment_services.cli.terminal import count_of

__all__ = ["Selection", "select"]

_NAMED = 5
"""Most trials that a message names."""


@dataclass(frozen=True)
class Selection:
    """Trials by what they have in common."""

    trial_ids: tuple[str, ...] = ()
    """Their ids; any if empty."""
    properties: dict[str, str] = field(default_factory=dict[str, str])
    """Properties that they have."""
    since: datetime | None = None
    """Their first sample is not older."""
    until: datetime | None = None
    """Their first sample is older."""
    actor_classes: tuple[str, ...] = ()
    """The actors of interest in them; all if empty."""


async def select(store: TrialStore, selection: Selection) -> list[StoredTrialInfo]:
    """The trials of ``selection`` that have samples.

    Raises:
        UsageError: There are none, or there is no trial with one of the ids.
    """
    trial_ids = list(dict.fromkeys(selection.trial_ids))
    async with aclosing(store.trials(trial_ids, selection.properties)) as infos:
        found = [info async for info in infos]
    missing = set(trial_ids) - {info.trial_id for info in found}
    if missing:
        having = " with these properties" if selection.properties else ""
        raise UsageError(f"the datastore has no trial{having}: {_named(sorted(missing))}")
    chosen = [info for info in found if info.samples_count]
    if len(chosen) < len(found):
        empty = [info.trial_id for info in found if not info.samples_count]
        note(f"{count_of(len(empty), 'trial')} without samples left out: {_named(empty)}")
    chosen = await _within(store, selection, chosen)
    if not chosen:
        raise UsageError("the datastore has no trial of this kind with samples")
    return chosen


def _named(trial_ids: list[str]) -> str:
    return ", ".join(trial_ids[:_NAMED]) + (", ..." if len(trial_ids) > _NAMED else "")


async def _within(store: TrialStore, selection: Selection, infos: list[StoredTrialInfo]) -> list[StoredTrialInfo]:
    if selection.since is None and selection.until is None:
        return infos
    since = selection.since.timestamp() if selection.since else float("-inf")
    until = selection.until.timestamp() if selection.until else float("inf")
    return [info for info in infos if since <= await started_at(store, info.trial_id) < until]


async def started_at(store: TrialStore, trial_id: str) -> float:
    """When the first sample of a trial was taken, in seconds since the Unix epoch.

    Raises:
        UsageError: It is not there any more.
    """
    async with aclosing(store.samples(trial_id, fields=[STORED_TRIAL_SAMPLE_FIELD_REWARD])) as samples:
        async for sample in samples:
            return sample.timestamp / 1e9
    raise UsageError(f"the samples of trial {trial_id!r} are not there any more")
