"""Blocking work on what comes, in a thread, while the next comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

__all__ = ["WriteBehind"]

T = TypeVar("T")


class WriteBehind(Generic[T]):
    """Hands items to a thread, in their order.

    What comes while the thread is busy goes to it together, so that a thread that is slow to wake up is woken less
    often. Up to ``limit`` items wait besides as many that are being worked on; then the user waits too.

    Usable as ``async with``: at the end nothing is being done any more, unless the end itself is cancelled.

    Args:
        start: Begins blocking work in a thread.
        work: What to do with an item. When it fails, what waits is dropped.
        limit: How many items may wait.
    """

    def __init__(
        self, start: Callable[[Callable[[], None]], asyncio.Future[None]], work: Callable[[T], object], limit: int = 2
    ) -> None:
        self._start = start
        self._work = work
        self._limit = limit
        self._waiting: list[T] = []
        self._working: asyncio.Future[None] | None = None

    async def put(self, item: T) -> None:
        """Give an item. Raises what the work on an earlier one raised."""
        self._waiting.append(item)
        if self._working is not None and not self._working.done():
            if len(self._waiting) < self._limit:
                return
            await asyncio.wait({self._working})
        self._go_on()

    async def finish(self) -> None:
        """Wait until all items are done. Raises what the work on one raised."""
        while self._working is not None or self._waiting:
            if self._working is not None:
                await asyncio.wait({self._working})
            self._go_on()

    def abandon(self) -> None:
        """Do no more than what is being done, and do not wait for that; nobody wants to know how it ends."""
        self._waiting.clear()
        working, self._working = self._working, None
        if working is not None:
            working.add_done_callback(_ignore)
            working.cancel()

    def _go_on(self) -> None:
        working, self._working = self._working, None
        if working is not None:
            try:
                working.result()
            except BaseException:
                self._waiting.clear()
                raise
        if self._waiting:
            items, self._waiting = self._waiting, []
            self._working = self._start(lambda: self._do(items))

    def _do(self, items: Iterable[T]) -> None:
        for item in items:
            self._work(item)

    async def __aenter__(self) -> WriteBehind[T]:
        return self

    async def __aexit__(self, kind: object, error: object, traceback: object) -> None:
        working, self._working = self._working, None
        if working is not None:
            self._waiting.clear()
            working.add_done_callback(_ignore)  # there is an error already
            await asyncio.wait({working})


def _ignore(done: asyncio.Future[None]) -> None:
    """Marks a failure as retrieved."""
    if not done.cancelled():
        done.exception()
