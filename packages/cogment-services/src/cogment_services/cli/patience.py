"""Waiting for a server that may say nothing any more."""

from __future__ import annotations

import asyncio
from types import TracebackType

import grpc

from cogment_core.errors import DeadlineError

__all__ = ["Patience"]


class Patience:
    """Ends an ``async with`` block in which nothing has happened for a while: each `renew` begins another while.

    Unlike a deadline, it lets a transfer of hours go on as long as something comes. It ends the whole block, because a
    single read of a gRPC stream cannot be given up without losing the stream.

    Args:
        seconds: How long nothing may happen.
        waiting_for: What has not come then, for the error.
    """

    def __init__(self, seconds: float, waiting_for: str) -> None:
        self._seconds = seconds
        self._waiting_for = waiting_for
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._is_waiting = True
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_over = False

    def renew(self) -> None:
        """Something has happened, and the next wait begins."""
        self._is_waiting = True
        self._last = self._loop.time()

    def pause(self) -> None:
        """Nothing is waited for until `renew`."""
        self._is_waiting = False

    async def __aenter__(self) -> Patience:
        self._task = asyncio.current_task()
        self.renew()
        self._look()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._is_over and isinstance(error, asyncio.CancelledError) and self._was_only_us():
            text = f"{self._waiting_for} did not come within {self._seconds:g} s"
            raise DeadlineError(grpc.StatusCode.DEADLINE_EXCEEDED, text) from error

    def _look(self) -> None:
        now = self._loop.time()
        until = (self._last if self._is_waiting else now) + self._seconds
        if now < until:
            self._timer = self._loop.call_at(until, self._look)
        elif self._task is not None:
            self._is_over = True
            self._task.cancel()

    def _was_only_us(self) -> bool:
        """Whether nobody else cancelled the task; Python 3.10 does not tell."""
        uncancel = getattr(self._task, "uncancel", None)
        return uncancel is None or uncancel() == 0
