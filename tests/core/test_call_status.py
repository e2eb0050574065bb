"""How a call really ended, whatever ``grpc.aio`` makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from cogment_core.call_status import CallStatus
from cogment_core.errors import UnavailableError

EMPTY = grpc.aio.Metadata()
MADE_UP = grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, EMPTY, EMPTY, "Internal error from Core")
REFUSED = grpc.aio.AioRpcError(grpc.StatusCode.RESOURCE_EXHAUSTED, EMPTY, EMPTY, "the disk is full")


class BrokenCall:
    """A call whose status changes, as that of ``grpc.aio`` does."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[[Any], None]] = []
        self._status = REFUSED

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._callbacks.append(callback)

    def end(self, status: grpc.aio.AioRpcError) -> None:
        """Set the status."""
        self._status = status
        for callback in self._callbacks:
            callback(self)

    async def code(self) -> grpc.StatusCode:
        return self._status.code()

    async def details(self) -> str | None:
        return self._status.details()


@pytest.mark.parametrize("statuses", [[MADE_UP, REFUSED], [REFUSED, MADE_UP]], ids=["before", "after"])
@pytest.mark.parametrize("raised", [MADE_UP, asyncio.InvalidStateError("RPC already finished.")], ids=repr)
async def test_the_true_status_is_raised(statuses: list[grpc.aio.AioRpcError], raised: Exception) -> None:
    """It does not matter whether gRPC makes up a status before or after the true one comes, nor what a write raises."""
    call = BrokenCall()
    status = CallStatus(call)

    async def use() -> None:
        async with status.true_errors():
            raise raised

    using = asyncio.create_task(use())
    for end in statuses:
        call.end(end)
        await asyncio.sleep(0)
    with pytest.raises(grpc.aio.AioRpcError, match="the disk is full") as caught:
        await using
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_errors_that_are_true_are_left_alone() -> None:
    """An error with a status that was not made up is raised as it is, and other errors, too."""
    status = CallStatus(BrokenCall())
    for error in (REFUSED, ValueError("not of the call")):
        with pytest.raises(type(error)) as caught:
            async with status.true_errors():
                raise error
        assert caught.value is error


async def test_a_call_that_ended_well_before_it_was_written_to() -> None:
    """If the call ended well, what was not written is an error nevertheless."""
    call = BrokenCall()
    status = CallStatus(call)
    call.end(grpc.aio.AioRpcError(grpc.StatusCode.OK, EMPTY, EMPTY, ""))
    with pytest.raises(UnavailableError, match="already finished"):
        async with status.true_errors():
            raise asyncio.InvalidStateError("RPC already finished.")


async def refuse_second(requests: AsyncIterator[bytes], context: Any) -> bytes:
    """Takes two requests, and no more."""
    async for number in aenumerate(requests):
        if number == 1:
            break
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the disk is full")
    return b""


async def aenumerate(items: AsyncIterator[Any]) -> AsyncIterator[int]:
    number = 0
    async for _ in items:
        yield number
        number += 1


async def test_an_upload_that_is_refused_says_why() -> None:
    """Whatever a write meets when the server refuses the rest of a stream, what is raised is the server's refusal."""
    server = grpc.aio.server()
    handler = grpc.stream_unary_rpc_method_handler(refuse_second)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", {"Upload": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        upload: Any = channel.stream_unary("/test/Upload")
        for size in [1, 1000, 100_000] * 20:
            call = upload()
            with pytest.raises(grpc.aio.AioRpcError, match="the disk is full"):
                async with CallStatus(call).true_errors():
                    while True:
                        await asyncio.wait_for(call.write(bytes(size)), 20)
    await server.stop(None)
