"""How a ``grpc.aio`` call really ended.

When a write fails because the call is over, ``grpc.aio`` makes up a status and puts it in the place of the true one,
which comes before or after (measured).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import grpc
import grpc.aio

from cogment_core import outbox
from cogment_core.errors import RpcError, UnavailableError, from_grpc

__all__ = ["GRPC_ERRORS", "CallStatus", "as_rpc_error"]

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
        if not isinstance(error, grpc.aio.AioRpcError) or error.details() != _MADE_UP_DETAILS:
            return as_rpc_error(error)
        # There is nothing left to read, so the true status is here or on its way.
        await asyncio.wait({self._status}, timeout=outbox.WRITE_TIMEOUT)
        if not self._status.done():
            return as_rpc_error(error)
        code, details = self._status.result()
        empty = grpc.aio.Metadata()
        return None if code is grpc.StatusCode.OK else from_grpc(grpc.aio.AioRpcError(code, empty, empty, details))


def as_rpc_error(error: Exception) -> RpcError:
    """The error of this library for what a call raised."""
    if isinstance(error, grpc.aio.AioRpcError):
        return from_grpc(error)
    return UnavailableError(grpc.StatusCode.UNAVAILABLE, f"the call broke: {error}")


def _result_of(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as returned:
        return returned.value
    raise RuntimeError("the coroutine waits for something")
