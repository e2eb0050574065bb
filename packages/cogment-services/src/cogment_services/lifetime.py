"""How a server is started and closed."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TypeVar

__all__ = ["Lifetime"]

LifetimeT = TypeVar("LifetimeT", bound="Lifetime")


class Lifetime(ABC):
    """Something that is started once and closed once, whoever asks for it and how often; usable as ``async with``.

    Args:
        grace: Seconds that what is in progress has to end when the ``async with`` block does.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._closing: asyncio.Task[None] | None = None

    @abstractmethod
    async def start(self) -> None:
        """Serve."""

    async def close(self, grace: float | None = None) -> None:
        """Take no more calls, and let go of everything.

        Calls in progress have ``grace`` seconds to end. Called again, it waits for the same end, with no more patience
        if ``grace`` is 0.

        Args:
            grace: Seconds; None for those of the constructor.
        """
        grace = self._grace if grace is None else grace
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(grace))
        elif grace <= 0 and not self._closing.done():
            await self._hurry()
        await asyncio.shield(self._closing)

    @abstractmethod
    async def _close(self, grace: float) -> None:
        """Close, for the first and only time."""

    @abstractmethod
    async def _hurry(self) -> None:
        """End what `_close` is still patient with."""

    async def __aenter__(self: LifetimeT) -> LifetimeT:
        try:
            await self.start()
        except BaseException:
            await self.close(0.0)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
