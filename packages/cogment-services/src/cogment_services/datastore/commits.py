"""Changes on their way into the store: committed in groups, one group at a time, in a thread.

A change that comes while nothing is being committed is committed at once, with what else comes in the same turn of the
event loop. Those that come meanwhile wait, and are committed together: so a lone sample is not delayed, and many cost
one synchronisation of the disk.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from cogment_core.logs import logger
from cogment_core.tasks import TaskOwner
from cogment_services.datastore.metrics import DatastoreMetrics
from cogment_services.datastore.store import Change, Store, StoreError

__all__ = ["CommitQueue", "Receipt"]

T = TypeVar("T")

Receipt = Callable[[object], None]
"""Called with the outcome of a change once it is durable, or with the `StoreError` because of which it is not."""

MAX_GROUP = 1000
"""Most changes that are committed together."""

MAX_WAITING = 4000
"""Changes that may wait before those who make them have to."""

MAX_WAITING_BYTES = 32 << 20
"""Bytes that may wait before those who make them have to."""

GATHER = 0.001
"""Seconds that changes are gathered for, while they come faster than single commits are made."""

TIDY_FAILURES = 3
"""How often in a row tidying up may fail before it is left until there is more to tidy up."""

RECOVERY = (0.2, 5.0)
"""Seconds between two attempts to make the store ready again: at first, and at most."""


class CommitQueue:
    """Takes changes, and tells when they are durable.

    Args:
        store: Where they go.
        metrics: What is counted.
        on_committed: Called with the changes of each group, and with their outcomes, before their receipts.
        on_ready: Called when the store can be written no more, with False, and when it can again.
    """

    def __init__(
        self,
        store: Store,
        metrics: DatastoreMetrics,
        on_committed: Callable[[Sequence[Change], Sequence[object]], None],
        on_ready: Callable[[bool], None],
    ) -> None:
        self._store = store
        self._metrics = metrics
        self._on_committed = on_committed
        self._on_ready = on_ready
        self._thread = ThreadPoolExecutor(1, "cogment-datastore-writer")
        self._tasks = TaskOwner("datastore")
        self._waiting: deque[tuple[Change, Receipt]] = deque()
        self._bytes = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._failure: StoreError | None = StoreError("the datastore is not started")
        self._tidying = True
        self._tidy_failures = 0
        self._closing = False
        self._last_group = 0

    def start(self) -> None:
        """Begin to commit."""
        self._failure = None
        self._tasks.spawn(self._run(), what="commits")

    async def close(self) -> None:
        """Commit what waits, and stop."""
        self._closing = True
        self._news.set()
        await self._tasks.wait(10.0)
        await self._tasks.close()
        self._thread.shutdown(wait=True)

    # --- from those who change something ------------------------------------------------------------------------

    def submit(self, change: Change, receipt: Receipt) -> None:
        """Let ``change`` be made after all those before it.

        Raises:
            StoreError: The store cannot be written.
        """
        self.check()
        self._waiting.append((change, receipt))
        self._bytes += getattr(change, "size", 0)
        self._news.set()
        if len(self._waiting) >= MAX_WAITING or self._bytes >= MAX_WAITING_BYTES:
            self._room.clear()
        self._metrics.waiting(len(self._waiting))

    def check(self) -> None:
        """Make sure that changes are taken.

        Raises:
            StoreError: They are not.
        """
        if self._failure is not None:
            raise self._failure
        if self._closing:
            raise StoreError("the datastore is being stopped")

    @property
    def has_room(self) -> bool:
        """Whether more can be submitted without waiting."""
        return self._room.is_set()

    async def room(self) -> None:
        """Wait until more can be submitted."""
        await self._room.wait()

    async def make(self, change: Change) -> Any:
        """Submit ``change`` and wait until it is durable. Returns its outcome.

        Raises:
            StoreError: It is not.
        """
        done: asyncio.Future[object] = asyncio.get_running_loop().create_future()

        def receipt(outcome: object) -> None:
            if not done.done():
                done.set_result(outcome)

        await self.room()
        self.submit(change, receipt)
        outcome = await done
        if isinstance(outcome, StoreError):
            raise outcome
        return outcome

    def tidy(self) -> None:
        """There may be something to tidy up, when there is nothing else to do."""
        self._tidying = True
        self._tidy_failures = 0
        self._news.set()

    # --- the work -----------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            if self._waiting:
                await self._commit()
            elif self._closing:
                return
            elif self._tidying:
                await self._tidy()
            else:
                self._news.clear()
                await self._news.wait()

    async def _commit(self) -> None:
        if self._last_group > 1 and len(self._waiting) < MAX_GROUP // 4:
            await asyncio.sleep(GATHER)
        group = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_GROUP))]
        self._last_group = len(group)
        changes = [change for change, _ in group]
        began = time.perf_counter()
        try:
            outcomes = await self._in_thread(self._store.commit, changes)
        except StoreError as error:
            await self._fail(error, group)
            return
        self._bytes -= sum(getattr(change, "size", 0) for change in changes)
        self._metrics.waiting(len(self._waiting))
        if len(self._waiting) < MAX_WAITING and self._bytes < MAX_WAITING_BYTES:
            self._room.set()
        self._metrics.committed(changes, time.perf_counter() - began)
        self._on_committed(changes, outcomes)
        for (_, receipt), outcome in zip(group, outcomes, strict=True):
            receipt(outcome)

    async def _tidy(self) -> None:
        try:
            self._tidying = await self._in_thread(self._store.tidy)
            self._tidy_failures = 0
        except StoreError as error:
            self._tidy_failures += 1
            # What is damaged there stays so, and must not keep all else from being stored.
            self._tidying = self._tidy_failures < TIDY_FAILURES
            await self._fail(error, [])

    async def _fail(self, error: StoreError, group: Sequence[tuple[Change, Receipt]]) -> None:
        """Tell all who wait, and take no more until the store is ready again."""
        logger.error("datastore: %s; nothing is taken until it can be written again", error)
        self._failure = error
        failed = [*group, *self._waiting]
        self._waiting.clear()
        self._bytes = 0
        self._metrics.waiting(0)
        self._room.set()
        self._on_ready(False)
        for _, receipt in failed:
            receipt(error)
        if await self._recovered():
            logger.info("datastore: it can be written again")
            self._failure = None
            self._on_ready(True)

    async def _recovered(self) -> bool:
        """Try until the store is ready; returns False when it is closed before."""
        pause, longest = RECOVERY
        while not self._closing:
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)
            try:
                await self._in_thread(self._store.recover)
            except StoreError as error:
                self._failure = error
            else:
                return True
        return False

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)
        except StoreError:
            raise
        except Exception as error:
            logger.exception("datastore: %s failed", work.__name__)
            raise StoreError(f"internal error, the log says more: {type(error).__name__}") from error
