"""The one path of remote calls: their failures become errors of `cogment_core.errors`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Iterable
from contextlib import contextmanager, suppress
from typing import Any

import grpc
import grpc.aio

from cogment_core.call_status import CallStatus
from cogment_core.cancellation import task_is_cancelled
from cogment_core.errors import ProtocolError, UnavailableError, UsageError, from_grpc

__all__ = [
    "METADATA_LIMIT",
    "UNARY_TIMEOUT",
    "call_unary",
    "check_metadata",
    "exchange",
    "iterate",
    "metadata_size",
    "our_errors",
]

UNARY_TIMEOUT = 30.0
"""Seconds until a call with one reply fails, unless the caller says otherwise."""

METADATA_LIMIT = 4096
"""Most bytes of metadata that a call may carry. gRPC refuses 8 KiB, and some of what is close to it."""

Metadata = Iterable[tuple[str, str | bytes]]

_ENTRY_OVERHEAD = 32
"""Bytes that HTTP/2 counts for each pair besides its key and value (RFC 9113, 6.5.2)."""


async def call_unary(
    multicallable: Any,
    request: Any,
    *,
    method: str = "",
    target: str = "",
    metadata: Metadata = (),
    timeout: float | None = UNARY_TIMEOUT,
    wait_for_ready: bool | None = None,
) -> Any:
    """Call a method with one reply, and return the reply.

    Args:
        multicallable: The method of a stub.
        request: What to send.
        method: Full name of the method, for the error.
        target: Whom the call goes to, for the error.
        metadata: What goes with the call.
        timeout: Seconds until `DeadlineError`; None for no deadline.
        wait_for_ready: Whether to wait, within ``timeout``, for a server that cannot be reached, rather than to fail.

    Raises:
        RpcError: The call failed. `UnavailableError` also if the channel was closed meanwhile (on Python 3.10 that
            cannot be told from a cancelled task, and is a ``CancelledError``).
        UsageError: There is too much metadata.
    """
    call = multicallable(request, timeout=timeout, metadata=check_metadata(metadata), wait_for_ready=wait_for_ready)
    with our_errors(method, target):
        return await call


async def exchange(
    multicallable: Any,
    request: Any,
    *,
    method: str = "",
    target: str = "",
    metadata: Metadata = (),
    timeout: float | None = UNARY_TIMEOUT,
) -> Any:
    """Call a method with a stream in both directions for one request, and return the reply to it.

    The server may keep the stream open after that, for as long as it likes.

    Args and errors are those of `call_unary`, and:

    Raises:
        ProtocolError: The server ended the stream without a reply.
    """
    call = multicallable(timeout=timeout, metadata=check_metadata(metadata))
    status = CallStatus(call)
    try:
        with our_errors(method, target):
            async with status.true_errors():
                await call.write(request)
                reply = await call.read()
            if reply is grpc.aio.EOF:
                raise ProtocolError(f"{method} at {target}: the server ended the stream without a reply")
        with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the reply is there, whatever comes now
            await call.done_writing()
        return reply
    finally:
        call.cancel()


async def iterate(
    multicallable: Any,
    request: Any,
    *,
    method: str = "",
    target: str = "",
    metadata: Metadata = (),
    timeout: float | None = None,
    wait_for_ready: bool | None = None,
) -> AsyncGenerator[Any, None]:
    """Call a method with many replies, and give them one by one. Closing the generator cancels the call.

    Args and errors are those of `call_unary`; there is no deadline by default.
    """
    call = multicallable(request, timeout=timeout, metadata=check_metadata(metadata), wait_for_ready=wait_for_ready)
    try:
        while True:
            with our_errors(method, target):
                reply = await call.read()
            if reply is grpc.aio.EOF:
                return
            yield reply
    finally:
        call.cancel()


def check_metadata(metadata: Metadata) -> tuple[tuple[str, str | bytes], ...]:
    """The pairs of ``metadata``, if a call can carry them.

    Raises:
        UsageError: They are more than `METADATA_LIMIT` bytes.
    """
    pairs = tuple(metadata)
    sizes = {key: 0 for key, _ in pairs}
    for key, value in pairs:
        sizes[key] += len(key) + len(value) + _ENTRY_OVERHEAD
    if sum(sizes.values()) > METADATA_LIMIT:
        largest = max(sizes, key=lambda key: sizes[key])
        raise UsageError(
            f"{sum(sizes.values())} bytes of metadata are more than the {METADATA_LIMIT} that a call may carry; "
            f"the largest part is {largest!r} with {sizes[largest]}"
        )
    return pairs


def metadata_size(metadata: Metadata) -> int:
    """Bytes that ``metadata`` takes of `METADATA_LIMIT`."""
    return sum(len(key) + len(value) + _ENTRY_OVERHEAD for key, value in metadata)


@contextmanager
def our_errors(method: str, target: str) -> Generator[None, None, None]:
    """Within it, failures of gRPC calls are raised as errors of `cogment_core.errors`.

    Args:
        method: Full name of the method, for the error.
        target: Whom the call goes to, for the error.
    """
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_grpc(error, method=method, target=target) from error
    except asyncio.CancelledError:
        if task_is_cancelled() is False:
            # gRPC tells those who wait in this way that their channel was closed.
            text = "the connection was closed"
            raise UnavailableError(grpc.StatusCode.UNAVAILABLE, text, method=method, target=target) from None
        raise
