"""A call that may take as long as it needs, as long as it gets on."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

import grpc
import grpc.aio

from cogment_core import rpc
from cogment_core.call_status import CallStatus, is_made_up
from cogment_core.cancellation import task_is_cancelled
from cogment_core.errors import DeadlineError, RpcError

__all__ = ["BoundedCall"]

T = TypeVar("T")


class BoundedCall:
    """A streaming call each of whose steps is bounded, and whose failures are ours.

    To wait for a step with ``asyncio.wait_for`` would lose messages; here the whole call is cancelled instead.

    Args:
        call: The ``grpc.aio`` call.
        method: Full name of the method, for errors.
        target: Whom the call goes to, for errors.
        timeout: Seconds that a step may take.
    """

    def __init__(self, call: Any, method: str, target: str, timeout: float) -> None:
        self._call = call
        self._status = CallStatus(call)
        self._method = method
        self._target = target
        self._timeout = timeout
        self._given_up = ""
        """Why the call was cancelled here, if it was."""

    async def write(self, request: Any) -> bool:
        """Send ``request``. Returns False if the call is over already: `reply` tells how it ended."""
        try:
            await self._step(self._call.write(request), self._timeout, "taken")
        except asyncio.InvalidStateError:
            return False
        except RpcError as error:
            # gRPC makes up the status of a write that meets the end of the call: `reply` waits for the true one.
            if not is_made_up(error):
                raise
            return False
        return True

    async def reply(self, timeout: float) -> Any:
        """Half-close, and wait for the only reply, for ``timeout`` seconds."""
        if not self._call.done():
            await self._step(self._call.done_writing(), self._timeout, "taken")
        return await self._step(self._reply(), timeout, "acknowledged")

    async def read(self) -> Any:
        """The next reply; None after the last one."""
        reply = await self._step(self._call.read(), self._timeout, "sent")
        return None if reply is grpc.aio.EOF else reply

    def cancel(self) -> None:
        """Break the call off, if it is not over."""
        self._call.cancel()

    async def _reply(self) -> Any:
        async with self._status.true_errors():
            return await self._call

    async def _step(self, step: Awaitable[T], timeout: float, what: str) -> T:
        timer = asyncio.get_running_loop().call_later(timeout, self._give_up, f"nothing was {what} for {timeout:g} s")
        try:
            with rpc.our_errors(self._method, self._target):
                return await step
        except asyncio.CancelledError:
            if not self._given_up or task_is_cancelled():
                raise
            raise self._deadline() from None
        except RpcError:
            if not self._given_up:
                raise
            raise self._deadline() from None
        finally:
            timer.cancel()

    def _deadline(self) -> DeadlineError:
        code = grpc.StatusCode.DEADLINE_EXCEEDED
        return DeadlineError(code, self._given_up, method=self._method, target=self._target)

    def _give_up(self, why: str) -> None:
        self._given_up = why
        self._call.cancel()
