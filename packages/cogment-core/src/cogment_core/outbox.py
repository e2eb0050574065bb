"""Messages that wait for a coroutine function to write them, one after the other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

import grpc

from cogment_core.errors import BacklogError, UnavailableError

__all__ = ["BACKLOG_BYTES", "BACKLOG_LIMIT", "WRITE_TIMEOUT", "Outbox"]

BACKLOG_LIMIT = 65_536
"""How many messages may wait on one call, in one direction, before `BacklogError`."""

BACKLOG_BYTES = 64 * 1024 * 1024
"""How many bytes of messages may wait on one call, in one direction, before `BacklogError`."""

WRITE_TIMEOUT = 5.0
"""Seconds that the transport may take for one message before the peer counts as lost."""

T = TypeVar("T")


class Outbox(Generic[T]):
    """A queue whose messages are written as fast as ``write`` takes them, without a task.

    ``write`` starts inside `put`, and goes on in the callback of whatever it waits for. A task to write the messages,
    for each burst or for good, costs a fifth of the message rate of a gRPC call (measured), because it starts one turn
    of the event loop later.

    Args:
        write: Writes one message, which is of protobuf or serialized already; it is never called again before it has
            returned.
        on_failure: Called once with what ``write`` raised, or with an `UnavailableError` when it took longer than
            `WRITE_TIMEOUT`. The outbox is stopped then.
        opening: Awaited before the first write, for as long as it takes.
    """

    def __init__(
        self,
        write: Callable[[T], Coroutine[Any, Any, None]],
        on_failure: Callable[[Exception], None],
        opening: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._write = write
        self._on_failure = on_failure
        self._opening = opening
        self._waiting: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._current: Coroutine[Any, Any, None] | None = None
        self._blocker: asyncio.Future[Any] | None = None
        self._since = 0.0
        self._watch: asyncio.TimerHandle | None = None
        self._drains: list[asyncio.Future[None]] = []
        self._stopped = False

    def put(self, message: T) -> None:
        """Write ``message`` after all that was put before. Returns at once; does nothing once stopped.

        Raises:
            BacklogError: `BACKLOG_LIMIT` messages, or `BACKLOG_BYTES`, wait already.
        """
        if self._stopped:
            return
        if self._current is None:
            self._waiting.append((message, 0))
            self._advance()
        else:
            self._keep(message)

    def _keep(self, message: T) -> None:
        """Add ``message`` to those that wait. Only here are messages measured: most are written at once."""
        if len(self._waiting) >= BACKLOG_LIMIT:
            raise BacklogError(f"{BACKLOG_LIMIT} messages wait for a peer that does not take them")
        size = _size_of(message)
        if self._waiting and self._bytes + size > BACKLOG_BYTES:
            raise BacklogError(f"{self._bytes} bytes of messages wait for a peer that does not take them")
        self._bytes += size
        self._waiting.append((message, size))

    async def drain(self) -> None:
        """Wait until everything is written, or the outbox is stopped. `WRITE_TIMEOUT` bounds it."""
        if self._current is not None:
            drained: asyncio.Future[None] = self._loop.create_future()
            self._drains.append(drained)
            await drained

    def stop(self) -> None:
        """Forget what waits, and cancel what is being written."""
        self._stopped = True
        self._waiting.clear()
        self._bytes = 0
        if self._watch is not None:
            self._watch.cancel()
        if self._blocker is not None:
            self._blocker.cancel()

    def _advance(self, _blocker: asyncio.Future[Any] | None = None) -> None:
        """Run the current write until it has to wait, and the next ones when it is done."""
        self._blocker = None
        while (current := self._current or self._next()) is not None:
            try:
                blocker = current.send(None)
            except StopIteration:
                self._current = None
            except asyncio.CancelledError:
                self._fail(UnavailableError(grpc.StatusCode.UNAVAILABLE, "the call was cancelled"))
            except Exception as error:
                self._fail(error)
            else:
                self._resume_after(blocker)
                return
        for drained in self._drains:
            if not drained.done():
                drained.set_result(None)
        self._drains.clear()

    def _next(self) -> Coroutine[Any, Any, None] | None:
        """Begin with the next message, if there is one."""
        if not self._waiting:
            return None
        if self._opening is not None:
            self._current, self._opening = self._opening(), None
            return self._current
        self._since = self._loop.time()
        if self._watch is None:
            self._watch = self._loop.call_later(WRITE_TIMEOUT, self._check_progress)
        message, size = self._waiting.popleft()
        self._bytes -= size
        self._current = self._write(message)
        return self._current

    def _resume_after(self, blocker: Any) -> None:
        if blocker is None:  # what ``asyncio.sleep(0)`` yields
            self._loop.call_soon(self._advance)
            return
        blocker._asyncio_future_blocking = False  # tells the future that it is waited for by callback, as tasks do
        blocker.add_done_callback(self._advance)
        self._blocker = blocker
        if self._stopped:
            blocker.cancel()

    def _check_progress(self) -> None:
        """One timer serves all writes: set when one starts, it moves on while they make progress."""
        self._watch = None
        if self._current is None or self._stopped:
            return
        left = self._since + WRITE_TIMEOUT - self._loop.time()
        if left > 0:
            self._watch = self._loop.call_later(left, self._check_progress)
            return
        self.stop()
        text = f"the peer did not take a message for {WRITE_TIMEOUT:g} s"
        self._on_failure(UnavailableError(grpc.StatusCode.UNAVAILABLE, text))

    def _fail(self, error: Exception) -> None:
        self._current = None
        if self._stopped:
            return
        self.stop()
        self._on_failure(error)


def _size_of(message: Any) -> int:
    return len(message) if isinstance(message, bytes) else message.ByteSize()
