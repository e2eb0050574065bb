"""What one stream has submitted, and how much of that is durable."""

from __future__ import annotations

import asyncio

from cogment_services.datastore.store import StoreError

__all__ = ["Receipts"]


class Receipts:
    """Counts the changes of one stream; changes are made in order."""

    def __init__(self) -> None:
        self.durable = 0
        """How many changes are durable, up to the first that failed."""
        self._expected = 0
        self._error: StoreError | None = None
        self._news = asyncio.Event()

    def expect(self) -> None:
        """A change was submitted, with this object as its receipt."""
        self._expected += 1

    def __call__(self, outcome: object) -> None:
        """Take the outcome of the next change."""
        if isinstance(outcome, StoreError):
            self._error = self._error or outcome
        elif self._error is None:
            self.durable += 1
        self._news.set()

    @property
    def complete(self) -> bool:
        """Whether all that was submitted is durable."""
        return self.durable == self._expected

    def check(self) -> None:
        """Raise the error of the first change that failed, if any has.

        Raises:
            StoreError: It has failed.
        """
        if self._error is not None:
            raise self._error

    async def changed(self) -> None:
        """Wait until there is another receipt, or `wake` is called."""
        self._news.clear()
        await self._news.wait()

    def wake(self) -> None:
        """Let who waits look again."""
        self._news.set()

    async def all(self) -> None:
        """Wait until all that was submitted is durable.

        Raises:
            StoreError: Something is not.
        """
        while not self.complete:
            self.check()
            await self.changed()
        self.check()
