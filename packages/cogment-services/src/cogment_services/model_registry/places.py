"""How many calls of one kind there may be at a time, and how long one may stand still."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

import grpc

from cogment_services.refusals import Refusal

__all__ = ["Place", "Places"]


class Places:
    """A limited number of calls.

    Args:
        what: What they are called.
        limit: How many there may be.
    """

    def __init__(self, what: str, limit: int) -> None:
        self._what = what
        self._limit = limit
        self._taken: set[Place] = set()
        self._calls = 0

    @contextmanager
    def take(self) -> Generator[Place, None, None]:
        """A place for one call.

        Calls that have lost their places still cost memory: there may be as many of them besides.

        Raises:
            Refusal: There is none.
        """
        if len(self._taken) >= self._limit or self._calls >= 2 * self._limit:
            text = f"there are {self._limit} {self._what} under way, and no more are allowed: try again later"
            raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        place = Place(self._taken)
        self._calls += 1
        try:
            yield place
        finally:
            self._calls -= 1
            place.leave()


class Place:
    """What one call has taken. Made by `Places`.

    Args:
        taken: All that are taken.
    """

    def __init__(self, taken: set[Place]) -> None:
        self._taken = taken
        taken.add(self)

    def leave(self) -> None:
        """Free it for another call."""
        self._taken.discard(self)

    @contextmanager
    def lent(self, seconds: float) -> Generator[None, None, None]:
        """Keep the place for this long, within the block: who waits for a peer that does not move, loses it.

        The block itself is not ended: a write to a peer that does not read cannot be, without the status being lost.

        Raises:
            Refusal: At the end of the block: the place was lost.
        """
        timer = asyncio.get_running_loop().call_later(seconds, self.leave)
        try:
            yield
        finally:
            timer.cancel()
        if self not in self._taken:
            raise Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, f"no data were taken for {seconds:g} s")
