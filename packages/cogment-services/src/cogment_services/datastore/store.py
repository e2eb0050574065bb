"""What a store of trials and samples is: the interface that the service uses, and what goes in and comes out.

A store is plain, blocking code. `cogment_services.datastore.archive` calls it from threads: `Store.commit`,
`Store.tidy` and `Store.recover` one at a time, `Store.find` and `Store.read` at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cogment_core.errors import CogmentError

__all__ = [
    "MAX_LATE_BYTES",
    "MAX_TICK",
    "Change",
    "DamageError",
    "DeleteTrials",
    "EndTrial",
    "LateReward",
    "NewSample",
    "PutTrial",
    "SamplePage",
    "Store",
    "StoreError",
    "StoreFullError",
    "TooLateError",
    "TrialGoneError",
    "TrialPage",
    "TrialQuery",
    "TrialRecord",
]

MAX_TICK = (1 << 32) - 1
"""The last tick that a store can have."""

MAX_LATE_BYTES = 8 << 20
"""Bytes of late rewards that one tick can have: they have to fit into one message with its sample."""


class StoreError(CogmentError):
    """A store that cannot be opened, read or written."""


class TrialGoneError(StoreError):
    """The trial, or its samples, are not there any more."""


class StoreFullError(StoreError):
    """There is no room for what is to be stored."""


class TooLateError(StoreFullError):
    """There is no room for another late reward of a tick.

    Args:
        tick: The tick.
    """

    def __init__(self, tick: int) -> None:
        super().__init__(f"the late rewards of tick {tick} have more than {MAX_LATE_BYTES} bytes")


class DamageError(StoreError):
    """What is stored is not what was written."""


# --- what goes in -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PutTrial:
    """A trial begins, or is taken up again: its parameters and user are replaced, its samples kept.

    Its outcome is the number of the trial.
    """

    trial_id: str
    user_id: str
    params: bytes
    """Its ``TrialParams``, serialized."""
    properties: Mapping[str, str]
    """The properties among its parameters, which can be searched for."""


@dataclass(frozen=True)
class NewSample:
    """A sample of a trial."""

    trial: int
    """Number of the trial."""
    tick: int
    timestamp: int
    """When its observations came in, ns since 1970."""
    state: int
    """State of the trial."""
    sample: bytes
    """All of it, as a serialized ``StoredTrialSample``."""
    replaces: bool = field(default=False, compare=False)
    """Whether late rewards are in it already. A sample takes the place of another of its tick, late rewards and all;
    the same one again changes nothing, unless this is true: then it takes its place as well."""
    special_events: tuple[str, ...] = ()
    """What happened to the trial."""
    default_actors: tuple[int, ...] = ()
    """Indexes of actors whose default action was used."""
    unavailable_actors: tuple[int, ...] = ()
    """Indexes of actors that had no action."""

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        return len(self.sample)


@dataclass(frozen=True)
class LateReward:
    """Rewards for a tick whose sample was sent before; delivered twice, they are there once."""

    trial: int
    """Number of the trial."""
    tick: int
    digest: bytes
    """What tells it from other late rewards for this tick."""
    sample: bytes
    """The rewards, as a serialized ``StoredTrialSample``."""

    @property
    def size(self) -> int:
        """Bytes that it takes, about."""
        return len(self.sample)


@dataclass(frozen=True)
class EndTrial:
    """A trial is over without its last sample, or is not after all. Means nothing to a trial that has its last one."""

    trial: int
    """Number of the trial."""
    reason: str | None
    """Why it is over; None if it is not. The first reason stays."""


@dataclass(frozen=True)
class DeleteTrials:
    """Trials are deleted, as far as they are there. The outcome is a list of their numbers."""

    trial_ids: Sequence[str]


Change = PutTrial | NewSample | LateReward | EndTrial | DeleteTrials
"""What a store can be told."""


# --- what comes out ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrialRecord:
    """A trial as it is stored."""

    number: int
    """Its place in the order of all trials that ever were in the store, from 1."""
    trial_id: str
    user_id: str
    params: bytes
    """Its ``TrialParams``, serialized."""
    samples_count: int
    """How many ticks have a sample."""
    last_state: int
    """State in the sample of the last tick; ``UNKNOWN`` without samples."""
    end_reason: str | None = None
    """Why it is over although it has no last sample; None otherwise."""


@dataclass(frozen=True)
class TrialQuery:
    """Which trials are looked for."""

    trial_ids: Sequence[str] = ()
    """None means all."""
    properties: Mapping[str, str] = field(default_factory=dict[str, str])
    """What they have to have."""
    after: int = 0
    """Only trials with greater numbers."""
    count: int = 0
    """How many at most; 0 is no limit."""
    max_bytes: int = 1 << 62
    """How many bytes of parameters at most, beyond the first trial."""


@dataclass(frozen=True)
class TrialPage:
    """Trials that were found, by their numbers."""

    trials: Sequence[TrialRecord]
    full: bool
    """Whether there may be more, which did not fit."""
    damaged: Sequence[str] = ()
    """Ids of the trials that could not be read."""


@dataclass
class SamplePage:
    """Some samples of one trial, by their ticks."""

    samples: list[bytes] = field(default_factory=list[bytes])
    """Serialized ``StoredTrialSample``."""
    last: int = -1
    """The last tick that was looked at."""
    full: bool = False
    """Whether there may be more by now."""
    over: bool = False
    """Whether the trial was over before this page was read."""
    expected: int = 0
    """How many samples the trial had then."""
    damaged: list[str] = field(default_factory=list[str])
    """What could not be read, in words: ``tick 7``."""
    broken: bool = False
    """Whether nothing after this page can be read."""


class Store(Protocol):
    """A place for trials and samples."""

    def open(self) -> Sequence[int]:
        """Make it ready.

        Returns:
            Numbers of the trials that are not over.

        Raises:
            StoreError: It cannot be used.
        """
        ...

    def close(self) -> None:
        """Let go of it."""
        ...

    def commit(self, changes: Sequence[Change]) -> Sequence[object]:
        """Make ``changes``, all or none of them; on return they are as durable as this store can make them.

        Returns:
            The outcome of each; a `StoreError` for one that cannot be made because of what it is.

        Raises:
            StoreError: None of them was made. Nothing else is committed until `recover` has succeeded.
        """
        ...

    def recover(self) -> None:
        """Make it ready again after a commit that failed.

        Raises:
            StoreError: It is not.
        """
        ...

    def tidy(self) -> bool:
        """Do a small part of the work that deletion left. Returns whether there is more.

        Raises:
            StoreError: As for `commit`.
        """
        ...

    def find(self, query: TrialQuery) -> TrialPage:
        """The trials that are looked for.

        Raises:
            StoreError: They cannot be read.
        """
        ...

    def read(self, trial: int, after: int) -> SamplePage:
        """The next samples of a trial, after a tick; -1 for the first.

        Raises:
            TrialGoneError: The trial, or its samples, are not there any more.
            StoreError: They cannot be read.
        """
        ...

    def missing(self, trial: int) -> int:
        """How many samples of a trial cannot be found, although they were stored.

        Raises:
            StoreError: As for `read`.
        """
        ...

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        ...
