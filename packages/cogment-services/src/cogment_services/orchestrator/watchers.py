"""Those who watch the trials come and go.

Each watcher has a queue of its own, so that one that does not read delays nobody. A watcher that falls behind misses
intermediate states: of each trial only the newest state waits for it. One that falls behind by too many trials is cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Protocol

from cogment_core.api.common_pb2 import TrialState
from cogment_core.api.orchestrator_pb2 import TrialInfo, TrialListEntry
from cogment_core.errors import BacklogError

__all__ = ["QUEUE_LIMIT", "WATCHER_LIMIT", "Watchable", "Watcher", "Watchers"]

WATCHER_LIMIT = 5_000
"""How many may watch at the same time: each of them is told of each trial."""

QUEUE_LIMIT = 50_000
"""How many entries may wait for a watcher before only the newest of each trial is kept."""

_Item = tuple[str, TrialListEntry]


class Watchable(Protocol):
    """What watchers are told of a trial."""

    @property
    def trial_id(self) -> str:
        """Id of the trial."""
        ...

    @property
    def state(self) -> TrialState.ValueType:
        """Its state."""
        ...

    def info(self) -> TrialInfo:
        """The trial as it is now."""
        ...


class Watcher:
    """One who watches: an iterator over entries, without end until it is closed.

    Args:
        states: The ``TrialState`` numbers that are of interest; empty for all.
        full_info: Whether entries carry the information on the trial, instead of its id and state.
    """

    def __init__(self, states: Iterable[int], full_info: bool) -> None:
        self.full_info = full_info
        self._states = frozenset(states)
        self._entries: list[_Item] = []
        self._news = asyncio.Event()
        self._closed = False
        self._too_slow = False

    def wants(self, state: int) -> bool:
        """Whether entries with ``state`` are of interest."""
        return not self._states or state in self._states

    def put(self, item: _Item) -> None:
        """Add the id of a trial with its entry, and make room if there is none."""
        if self._closed:
            return
        self._entries.append(item)
        self._news.set()
        if len(self._entries) > QUEUE_LIMIT:
            self._entries = list(dict(self._entries).items())
            if len(self._entries) > QUEUE_LIMIT // 2:
                self._too_slow = True
                self.close()

    def close(self) -> None:
        """End the iteration, once what waits was taken."""
        self._closed = True
        self._news.set()

    async def __aiter__(self) -> AsyncIterator[TrialListEntry]:
        """Iterate over the entries.

        Raises:
            BacklogError: There were too many entries that were not taken.
        """
        while True:
            entries, self._entries = self._entries, []
            for _, entry in entries:
                yield entry
            if self._too_slow:
                raise BacklogError(f"the watcher does not take the states of more than {QUEUE_LIMIT // 2} trials")
            if not self._entries:
                if self._closed:
                    return
                self._news.clear()
                await self._news.wait()


class Watchers:
    """All who watch."""

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()

    def __len__(self) -> int:
        return len(self._watchers)

    def add(self, watcher: Watcher, trials: Iterable[Watchable]) -> None:
        """Tell ``watcher`` the states of ``trials`` now, and from now on every change: it misses nothing.

        Raises:
            BacklogError: `WATCHER_LIMIT` watch already.
        """
        if len(self._watchers) >= WATCHER_LIMIT:
            raise BacklogError(f"{WATCHER_LIMIT} watch trials here already, which is the limit: try again later")
        for trial in trials:
            if watcher.wants(trial.state):
                watcher.put(_item(trial, watcher.full_info))
        self._watchers.add(watcher)

    def remove(self, watcher: Watcher) -> None:
        """Forget ``watcher``, which has left."""
        self._watchers.discard(watcher)

    def tell(self, trial: Watchable) -> None:
        """Tell everybody that ``trial`` entered its state."""
        items: dict[bool, _Item] = {}  # made when wanted, and shared by all who want it
        for watcher in self._watchers:
            if watcher.wants(trial.state):
                if watcher.full_info not in items:
                    items[watcher.full_info] = _item(trial, watcher.full_info)
                watcher.put(items[watcher.full_info])

    def close(self) -> None:
        """End all iterations."""
        for watcher in self._watchers:
            watcher.close()


def _item(trial: Watchable, full_info: bool) -> _Item:
    if full_info:
        return trial.trial_id, TrialListEntry(info=trial.info())
    return trial.trial_id, TrialListEntry(trial_id=trial.trial_id, state=trial.state)
