"""Virtual time, and the streams between a trial and its peers."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random
from typing import Any


class Scheduler:
    """Calls functions in the order of virtual time."""

    def __init__(self) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0

    def at(self, time: float, call: Callable[..., None], *args: Any) -> None:
        """Call ``call(*args)`` at ``time``; calls for the same time are made in the order of these requests."""
        self._count += 1
        heapq.heappush(self._events, (time, self._count, call, args))

    def after(self, delay: float, call: Callable[..., None], *args: Any) -> None:
        """Call ``call(*args)`` in ``delay`` seconds."""
        self.at(self.now + delay, call, *args)

    def step(self) -> bool:
        """Make the next call. Returns False if there is none."""
        if not self._events:
            return False
        self.now, _, call, args = heapq.heappop(self._events)
        call(*args)
        return True


class Stream:
    """One direction of a stream: what goes in comes out in order, at once or later."""

    def __init__(self, scheduler: Scheduler, rng: Random, deliver: Callable[..., None], *, at_once: bool) -> None:
        self._scheduler = scheduler
        self._rng = rng
        self._deliver = deliver
        self._at_once = at_once
        self._arrival = 0.0
        self._under_way = 0

    def put(self, *args: Any, delay: float = 0.0) -> None:
        """Let ``deliver(*args)`` be called when all that was put before has been delivered, not before ``delay``."""
        if self._at_once and not delay and not self._under_way:
            self._deliver(*args)
            return
        if not self._at_once:
            delay += self._rng.choice((0.0, 0.001, 0.01, self._rng.expovariate(20.0)))
        self._arrival = max(self._arrival, self._scheduler.now + delay)
        self._under_way += 1
        self._scheduler.at(self._arrival, self._arrive, args)

    def _arrive(self, args: tuple[Any, ...]) -> None:
        self._under_way -= 1
        self._deliver(*args)
