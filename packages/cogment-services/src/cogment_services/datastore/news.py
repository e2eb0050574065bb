"""What has changed, for those who follow trials or wait for new ones."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator, Iterable

__all__ = ["Follower", "News"]


class Follower:
    """Somebody who follows trials.

    Args:
        trials: Their numbers.
    """

    def __init__(self, trials: Iterable[int]) -> None:
        self.trials = frozenset(trials)
        """Numbers of the trials that are followed."""
        self.changed = set(self.trials)
        """Those with something that may be new; the follower removes what it has looked at."""
        self.event = asyncio.Event()
        """Set when there is something in `changed`."""

    def tell(self, trial: int) -> None:
        """A trial has changed."""
        self.changed.add(trial)
        self.event.set()


class News:
    """Brings those who follow trials together with what changes."""

    def __init__(self) -> None:
        self._followers: dict[int, set[Follower]] = {}
        self._waiting: set[asyncio.Event] = set()

    @property
    def anybody(self) -> bool:
        """Whether any trial is followed."""
        return bool(self._followers)

    def tell(self, trials: Iterable[int]) -> None:
        """Trials with these numbers have changed."""
        for trial in trials:
            for follower in self._followers.get(trial, ()):
                follower.tell(trial)

    def tell_new_trial(self) -> None:
        """There is a new trial."""
        for event in self._waiting:
            event.set()

    @contextlib.contextmanager
    def follow(self, trials: Iterable[int]) -> Generator[Follower, None, None]:
        """Somebody who follows trials, until the end of the block."""
        follower = Follower(trials)
        for trial in follower.trials:
            self._followers.setdefault(trial, set()).add(follower)
        try:
            yield follower
        finally:
            for trial in follower.trials:
                followers = self._followers[trial]
                followers.discard(follower)
                if not followers:
                    del self._followers[trial]

    @contextlib.contextmanager
    def new_trials(self) -> Generator[asyncio.Event, None, None]:
        """An event that each new trial sets, until the end of the block."""
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            yield event
        finally:
            self._waiting.discard(event)
