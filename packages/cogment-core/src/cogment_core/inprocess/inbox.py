"""Messages on their way to one end of an in-process call."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import grpc.aio

from cogment_core.errors import BacklogError, UsageError
from cogment_core.outbox import BACKLOG_LIMIT

__all__ = ["QUEUE_LIMIT", "Inbox"]

QUEUE_LIMIT = 64
"""How many messages wait for a reader before the writer has to wait too, unless a call says otherwise."""

T = TypeVar("T")


class Inbox(Generic[T]):
    """A queue that is emptied by a reader that pulls, or by a callback that messages are pushed to.

    With a callback, `put` is a function call: it costs no turn of the event loop, and no memory. The callback gets one
    message at a time: what arrives while it runs, because it sent something itself, waits until it has returned. So a
    message and the answer to it never nest deeper than once per end, however long they go on.

    Args:
        loop: The event loop of both ends.
        on_over: Called once, when the last message was taken and none will come.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_over: Callable[[], None]) -> None:
        self._loop = loop
        self._on_over = on_over
        self._waiting: deque[T] = deque()
        self._on_message: Callable[[T], None] | None = None
        self._free_callback: Callable[[T], None] | None = None
        """The callback when it can be called at once: registered, not running, and nothing waits."""
        self._closed = False
        self._reader: asyncio.Future[None] | None = None
        self._writers: list[asyncio.Future[None]] = []
        self._over: asyncio.Future[None] = loop.create_future()
        self.taken = 0
        """How many messages that had to wait were taken."""
        self.limit = QUEUE_LIMIT
        """How many messages may wait before the writer has to wait too."""

    # --- from the sender ----------------------------------------------------------------------------------------

    def put(self, message: T) -> None:
        """Hand over ``message``. Does nothing once closed.

        Raises:
            BacklogError: `BACKLOG_LIMIT` messages wait already.
        """
        callback = self._free_callback
        if callback is None:
            self._keep(message)
            return
        self._free_callback = None
        try:
            callback(message)
        except BaseException as error:
            self._callback_failed(error)
            return
        if self._waiting or self._closed:
            self._hand_over()
        else:
            self._free_callback = callback

    async def room(self) -> None:
        """Wait until fewer than `limit` messages wait, or the inbox is closed."""
        while len(self._waiting) >= self.limit and not self._closed:
            writer: asyncio.Future[None] = self._loop.create_future()
            self._writers.append(writer)
            await writer

    @property
    def has_room(self) -> bool:
        """Whether fewer than `limit` messages wait, or the inbox is closed."""
        return len(self._waiting) < self.limit or self._closed

    def close(self) -> None:
        """Nothing more will come; what waits can still be taken."""
        if self._closed:
            return
        self._closed = True
        if self._on_message is not None and self._free_callback is None:
            return  # the callback runs: whoever called it goes on here
        self._free_callback = None
        if not self._waiting:
            self._finish(None)

    def fail(self, error: BaseException | None) -> None:
        """Nothing more will come, and what waits is dropped. Whoever waits for the end gets ``error``."""
        self._closed = True
        self._free_callback = None
        self._waiting.clear()
        self._finish(error)

    # --- from the receiver --------------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Whether the last message was taken and none will come."""
        return self._over.done()

    async def read(self) -> Any:
        """The next message; ``grpc.aio.EOF`` if there is none and none will come. Cancelling it loses nothing."""
        self._check_single_use()
        while not self._waiting:
            if self._closed:
                return grpc.aio.EOF
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        message = self._take()
        if self._closed and not self._waiting:
            self._finish(None)
        return message

    def subscribe(self, on_message: Callable[[T], None]) -> None:
        """Call ``on_message`` with what waits, now, and with each message to come when it is sent."""
        self._check_single_use()
        if not self._over.done():
            self._on_message = on_message
            self._hand_over()

    async def wait_until_over(self) -> None:
        """Wait until the last message was taken and none will come.

        Raises:
            Exception: What the callback raised, or what the inbox failed with.
        """
        await asyncio.shield(self._over)

    # --- inside -------------------------------------------------------------------------------------------------

    def _check_single_use(self) -> None:
        if self._on_message is not None or self._reader is not None:
            raise UsageError("the messages of one end of a call can be read in one place only")

    def _keep(self, message: T) -> None:
        if self._closed:
            return
        if len(self._waiting) >= BACKLOG_LIMIT:
            raise BacklogError(f"{BACKLOG_LIMIT} messages wait for a peer that does not take them")
        self._waiting.append(message)
        self._wake_reader()

    def _take(self) -> T:
        message = self._waiting.popleft()
        self.taken += 1
        if self._writers and len(self._waiting) < self.limit:
            self._wake_writers()
        return message

    def _hand_over(self) -> None:
        """Call the callback with all that waits, and with what comes meanwhile."""
        callback = self._on_message
        if callback is None:
            return  # it has given up, by failing the inbox that it was called by
        while self._waiting:
            try:
                callback(self._take())
            except BaseException as error:
                self._callback_failed(error)
                return
        if self._closed:
            self._finish(None)
        else:
            self._free_callback = callback

    def _callback_failed(self, error: BaseException) -> None:
        """The failure of a receiver is its own: the sender, who called it, must not see it."""
        self.fail(error)
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise error

    def _finish(self, error: BaseException | None) -> None:
        self._on_message = None
        self._wake_reader()
        self._wake_writers()
        if self._over.done():
            return
        if error is None:
            self._over.set_result(None)
        else:
            self._over.set_exception(error)
            self._over.exception()  # marks it as retrieved: nobody may be in `receive`
        self._on_over()

    def _wake_reader(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def _wake_writers(self) -> None:
        for writer in self._writers:
            if not writer.done():
                writer.set_result(None)
        self._writers.clear()
