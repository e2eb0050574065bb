"""How a ``grpc.aio`` call really ended.

When a write fails because the call is over, ``grpc.aio`` makes up a status and puts it in the place of the true one,
which comes before or after (measured).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import grpc.aio

from cogment_core import outbox
from cogment_core.errors import RpcError, UnavailableError, from_grpc

__all__ = ["GRPC_ERRORS", "CallStatus", "as_rpc_error", "is_made_up"]

GRPC_ERRORS = (grpc.aio.AioRpcError, grpc.aio.BaseError, asyncio.InvalidStateError)
"""What a read or a write of a gRPC call raises when the call is over or broken."""

_MADE_UP_DETAILS = "Internal error from Core"
"""Details of the status that ``grpc.aio`` sets itself when a write fails."""


class CallStatus:
    """Remembers the first status of a call that was not made up.

    Args:
        call: The call of a stub, over gRPC.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._has_one_reply = isinstance(call, grpc.aio.StreamUnaryCall)
        self._status: asyncio.Future[tuple[grpc.StatusCode, str]] = asyncio.get_running_loop().create_future()
        call.add_done_callback(self._note)

    def _note(self, _call: object) -> None:
        """Called by gRPC each time it sets a status, which is not once."""
        code, details = _result_of(self._call.code()), _result_of(self._call.details())
        if details != _MADE_UP_DETAILS and not self._status.done():
            self._status.set_result((code, details))

    async def true_end(self, error: Exception) -> RpcError | None:
        """The error that the call ended with, None if it ended well.

        Args:
            error: What reading from the call raised. There must be nothing left to read.
        """
        if not is_made_up(error):
            return as_rpc_error(error)
        true = await self._true_error()
        if true is not None:
            return from_grpc(true)
        return None if self._status.done() else as_rpc_error(error)

    @asynccontextmanager
    async def true_errors(self) -> AsyncGenerator[None, None]:
        """Within it, what a write or the reply raises has the true status of the call."""
        try:
            yield
        except GRPC_ERRORS as error:
            if isinstance(error, grpc.aio.AioRpcError) and not is_made_up(error):
                raise
            raise await self._true_error() or as_rpc_error(error) from error

    async def _true_error(self) -> grpc.aio.AioRpcError | None:
        """The true status as an error; None if the call ended well, or if gRPC does not tell."""
        # The call is over, so the true status is here or on its way.
        if not self._status.done() and self._has_one_reply:
            with suppress(grpc.aio.AioRpcError, asyncio.TimeoutError):
                await asyncio.wait_for(_reply_of(self._call), outbox.WRITE_TIMEOUT)
            self._note(self._call)  # gRPC tells nobody of this one
        await asyncio.wait({self._status}, timeout=outbox.WRITE_TIMEOUT)
        code, details = self._status.result() if self._status.done() else (grpc.StatusCode.OK, "")
        empty = grpc.aio.Metadata()
        return None if code is grpc.StatusCode.OK else grpc.aio.AioRpcError(code, empty, empty, details)


def is_made_up(error: Exception) -> bool:
    """Whether ``grpc.aio`` raised ``error`` because a write failed, without knowing why."""
    return isinstance(error, grpc.aio.AioRpcError) and error.details() == _MADE_UP_DETAILS


def as_rpc_error(error: Exception) -> RpcError:
    """The error of this library for what a call raised."""
    if isinstance(error, grpc.aio.AioRpcError):
        return from_grpc(error)
    return UnavailableError(grpc.StatusCode.UNAVAILABLE, f"the call broke: {error}")


async def _reply_of(call: Any) -> Any:
    return await call


def _result_of(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as returned:
        return returned.value
    raise RuntimeError("the coroutine waits for something")
