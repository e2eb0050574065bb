"""Work that would block the event loop, in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["SMALL", "Background"]

SMALL = 64 * 1024
"""Bytes that are read, hashed or written sooner than a thread takes over."""

T = TypeVar("T")


class Background(Generic[T]):
    """Does one piece of blocking work after the other in a thread, while its user does something else.

    Usable as ``async with``: at the end nothing is being done any more, so that the files that the work uses can be
    closed, unless the end itself is cancelled.
    """

    def __init__(self) -> None:
        self._working: asyncio.Future[T] | None = None

    def start(self, work: Callable[..., T], *arguments: Any) -> None:
        """Begin to do ``work``; nothing may be in progress."""
        assert self._working is None, "one piece of work at a time"
        self._working = asyncio.get_running_loop().run_in_executor(None, work, *arguments)

    async def result(self) -> T:
        """Wait for the work that was started. Returns, or raises, what it did."""
        assert self._working is not None, "there is no work to wait for"
        result = await asyncio.shield(self._working)
        self._working = None
        return result

    async def __aenter__(self) -> Background[T]:
        return self

    async def __aexit__(self, kind: object, error: object, traceback: object) -> None:
        working, self._working = self._working, None
        if working is not None:
            # Marks a failure as retrieved: there is an error already.
            working.add_done_callback(lambda done: done.cancelled() or done.exception())
            await asyncio.wait({working})  # a piece is small: at most one read or write of a chunk
