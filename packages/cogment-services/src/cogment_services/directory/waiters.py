"""Inquiries that wait for what they ask for to be registered."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cogment_services.directory.records import Record

__all__ = ["Waiters"]


class Waiters:
    """Wakes those who wait for an entry when it appears.

    Args:
        most: How many may wait at the same time; further ones do not.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: dict[asyncio.Event, Callable[[Record], bool]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    async def wait(self, wanted: Callable[[Record], bool], timeout: float) -> bool:
        """Wait for an entry that is ``wanted``. Returns whether one appeared within ``timeout`` seconds."""
        if len(self._waiting) >= self._most:
            return False
        appeared = asyncio.Event()
        self._waiting[appeared] = wanted
        try:
            await asyncio.wait_for(appeared.wait(), timeout)
        except asyncio.TimeoutError:
            return False
        finally:
            del self._waiting[appeared]
        return True

    def tell(self, record: Record) -> None:
        """This entry can be found from now on."""
        for appeared, wanted in self._waiting.items():
            if wanted(record):
                appeared.set()

    def close(self) -> None:
        """Nothing will appear any more: wake all, and let nobody wait again."""
        self._most = 0
        for appeared in self._waiting:
            appeared.set()
