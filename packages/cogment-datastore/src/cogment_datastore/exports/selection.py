"""Which data is exported, and reading it: trial by trial, in constant memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from cogment_core.enums import TrialState
from cogment_core.errors import UsageError
from cogment_core.logs import logger
from cogment_datastore.fields import DatastoreFields

if TYPE_CHECKING:
    from cogment_core.api.common_pb2 import ActorParams
    from cogment_datastore.datastore import Datastore
    from cogment_datastore.sample import DatastoreActorData, DatastoreSample
    from cogment_datastore.trial_info import DatastoreTrialInfo

__all__ = ["Plan", "Progress", "Row", "Selection", "make_plan", "read_rows", "read_samples"]

_BUNDLE = 100
"""How many trials are asked for at a time."""

Progress = Callable[[int, int], None]
"""Is called with the number of samples read so far, and of all that are to be read."""


@dataclass(frozen=True)
class Selection:
    """Which data to export. Each part narrows it; the default is everything that is stored.

    Of a trial that still runs it is what is stored by now: an export never waits for more.
    """

    trial_ids: Sequence[str] = ()
    """The trials; all if empty."""

    properties: Mapping[str, str] = field(default_factory=dict[str, str])
    """Properties that the parameters of the trials have to have, with these values."""

    since: datetime | None = None
    """Only trials that began at this time, or later. A time without a zone is local."""

    before: datetime | None = None
    """Only trials that began before this time. A time without a zone is local."""

    actor_names: Sequence[str] = ()
    """Names of the actors; all if empty."""

    actor_classes: Sequence[str] = ()
    """Classes of the actors; all if empty."""

    actor_implementations: Sequence[str] = ()
    """Implementations of the actors; all if empty."""

    fields: Sequence[DatastoreFields] = ()
    """The data about each actor; all if empty."""

    def has(self, *wanted: DatastoreFields) -> bool:
        """Whether any of ``wanted`` is selected."""
        return not self.fields or any(one in self.fields for one in wanted)

    def includes(self, actor: ActorParams) -> bool:
        """Whether the data of ``actor`` is selected."""
        return (
            (not self.actor_names or actor.name in self.actor_names)
            and (not self.actor_classes or actor.actor_class in self.actor_classes)
            and (not self.actor_implementations or actor.implementation in self.actor_implementations)
        )

    def begins_in_time(self, timestamp: int) -> bool:
        """Whether a trial whose first sample has this timestamp, in nanoseconds, is selected."""
        after = self.since is None or timestamp >= _nanoseconds(self.since)
        return after and (self.before is None or timestamp < _nanoseconds(self.before))


def _nanoseconds(moment: datetime) -> int:
    # Exact, which the seconds as a float are not.
    whole = moment.astimezone().replace(microsecond=0)
    return int(whole.timestamp()) * 10**9 + moment.microsecond * 1000


@dataclass(frozen=True)
class Plan:
    """What an export will read, as far as can be told before."""

    trial_ids: Sequence[str]
    """The trials, in the order in which they were created. The time is not taken into account yet."""

    sample_count: int
    """The number of samples in them."""

    actors: Sequence[tuple[str, str]]
    """Names and classes of the selected actors in these trials, each pair once, in order of appearance."""

    @property
    def actor_classes(self) -> list[str]:
        """The classes of these actors, each once."""
        return list(dict.fromkeys(actor_class for _, actor_class in self.actors))


class Row(NamedTuple):
    """What happened to one actor during one tick."""

    sample: DatastoreSample
    """The sample that has it."""

    data: DatastoreActorData
    """What the sample has about the actor."""


async def make_plan(datastore: Datastore, selection: Selection) -> Plan:
    """See what there is. Trials without samples, or without a selected actor, are left out.

    Raises:
        UsageError: Something in ``selection`` cannot be.
        RpcError: The datastore could not be asked.
    """
    trial_ids: list[str] = []
    actors: dict[tuple[str, str], None] = {}
    samples = 0
    found = datastore.all_trials(_BUNDLE, properties=selection.properties, ids=_checked(selection).trial_ids)
    async with aclosing(found) as infos:
        async for info in infos:
            selected = [actor for actor in info.roster.actors if selection.includes(actor)]
            if selected and info.sample_count:
                trial_ids.append(info.trial_id)
                samples += info.sample_count
                actors.update(dict.fromkeys((actor.name, actor.actor_class) for actor in selected))
    return Plan(trial_ids, samples, list(actors))


async def read_samples(
    datastore: Datastore, selection: Selection, plan: Plan, progress: Progress | None = None
) -> AsyncGenerator[tuple[DatastoreTrialInfo, DatastoreSample], None]:
    """Iterate over the samples of ``plan``: trial by trial, those of each trial in order.

    Raises:
        RpcError: The datastore could not be asked, or broke off: samples are missing.
    """
    done = 0
    for start in range(0, len(plan.trial_ids), _BUNDLE):
        for info in await datastore.get_trials(plan.trial_ids[start : start + _BUNDLE]):
            async with aclosing(_samples_of(datastore, selection, info)) as samples:
                async for sample in samples:
                    yield info, sample
                    done += 1
                    if progress is not None:
                        progress(done, plan.sample_count)


async def read_rows(
    datastore: Datastore, selection: Selection, plan: Plan, progress: Progress | None = None
) -> AsyncGenerator[Row, None]:
    """Iterate over the samples of ``plan``, actor by actor.

    Raises:
        RpcError: The datastore could not be asked, or broke off: samples are missing.
        DecodeError: A sample contradicts itself.
    """
    async with aclosing(read_samples(datastore, selection, plan, progress)) as samples:
        async for _, sample in samples:
            for data in sample.actors_data.values():
                yield Row(sample, data)


async def _samples_of(
    datastore: Datastore, selection: Selection, info: DatastoreTrialInfo
) -> AsyncGenerator[DatastoreSample, None]:
    """The samples of one trial that are stored now, if it began in time."""
    count = 0
    ended = info.trial_state is TrialState.ENDED
    if not ended:
        logger.info("trial %s has not ended: the %d samples that it has now are read", info.trial_id, info.sample_count)
    samples = datastore.all_samples(
        [info],
        selection.actor_names,
        selection.actor_classes,
        selection.actor_implementations,
        selection.fields,
    )
    async with aclosing(samples):
        async for sample in samples:
            if count == 0 and not selection.begins_in_time(sample.timestamp):
                return
            yield sample
            count += 1
            if not ended and count >= info.sample_count:
                return


def _checked(selection: Selection) -> Selection:
    for name in ("trial_ids", "actor_names", "actor_classes", "actor_implementations"):
        values: Iterable[str] = getattr(selection, name)
        if isinstance(values, str):
            raise UsageError(f"{name} is a list, for example [{values!r}], not a string")
    return selection
