"""The one path of remote calls: every failure is an error of ours, and nothing is left running."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import grpc
import grpc.aio
import pytest
from transports import AnyTransport, within

from cogment_core import rpc
from cogment_core.errors import (
    DeadlineError,
    NotFoundError,
    RefusedError,
    RpcError,
    UnavailableError,
    UsageError,
)

UNARY = "/test.Service/One"
STREAM = "/test.Service/Many"


class Handlers(grpc.GenericRpcHandler):
    def __init__(self, one: Callable[..., Any] | None, many: Callable[..., Any] | None) -> None:
        self._handlers = {
            UNARY: grpc.unary_unary_rpc_method_handler(one),
            STREAM: grpc.unary_stream_rpc_method_handler(many),
        }

    def service(self, handler_call_details: Any) -> Any:
        return self._handlers.get(handler_call_details.method)


class Transport(AnyTransport):
    """Serves two methods, and calls them by way of what is tested."""

    def __init__(self, name: str) -> None:
        super().__init__(name, tracked=True)

    async def serve(self, *, one: Callable[..., Any] | None = None, many: Callable[..., Any] | None = None) -> None:
        await self.serve_handlers(Handlers(one, many))

    def call(self, request: bytes = b"", **arguments: Any) -> Any:
        return rpc.call_unary(
            self.channel.unary_unary(UNARY), request, method=UNARY, target="grpc://there:1", **arguments
        )

    def iterate(self, request: bytes = b"", **arguments: Any) -> Any:
        return rpc.iterate(
            self.channel.unary_stream(STREAM), request, method=STREAM, target="grpc://there:1", **arguments
        )


@pytest.fixture(params=["grpc", "inprocess"])
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    async with Transport(request.param) as transport:
        yield transport


async def forever(_request: Any, _context: Any) -> bytes:
    await asyncio.Event().wait()
    return b""


async def test_the_reply_is_returned(transport: Transport):
    """A call gives the reply; metadata and deadline go with it."""

    async def one(request: bytes, context: Any) -> bytes:
        assert 8 < context.time_remaining() < 10  # gRPC rounds up on the way
        return request + dict(context.invocation_metadata())["key"].encode()

    await transport.serve(one=one)
    assert await transport.call(b"a", metadata=[("key", "b")], timeout=9) == b"ab"


async def test_there_is_a_deadline_by_default(transport: Transport):
    """A call without a time-out of its own has the default one; None means none."""

    async def one(request: bytes, context: Any) -> bytes:
        return str(context.time_remaining()).encode()

    await transport.serve(one=one)
    assert rpc.UNARY_TIMEOUT - 5 < float(await transport.call()) < rpc.UNARY_TIMEOUT + 1
    assert await transport.call(timeout=None) == b"None"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.NOT_FOUND, NotFoundError),
        (grpc.StatusCode.INVALID_ARGUMENT, RefusedError),
        (grpc.StatusCode.UNAVAILABLE, UnavailableError),
        (grpc.StatusCode.INTERNAL, RpcError),
    ],
)
async def test_a_status_is_an_error_of_ours(transport: Transport, code: grpc.StatusCode, kind: type[RpcError]):
    """Each status is the error class that says what to do, with method and target, and the gRPC error as its cause."""

    async def one(request: bytes, context: Any) -> None:
        await context.abort(code, "because")

    async def many(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        await context.abort(code, "because")

    await transport.serve(one=one, many=many)
    with pytest.raises(RpcError, match=r"One at grpc://there:1: .*because") as caught:
        await transport.call()
    assert type(caught.value) is kind
    assert isinstance(caught.value.__cause__, grpc.aio.AioRpcError)
    replies = []
    with pytest.raises(RpcError, match=r"Many at grpc://there:1: .*because") as caught:
        async for reply in transport.iterate():
            replies.append(reply)
    assert type(caught.value) is kind
    assert replies == [b"first"]


async def test_a_call_takes_no_longer_than_its_time_out(transport: Transport):
    """After its time-out a call is a DeadlineError, one with a stream of replies too."""

    async def many(request: bytes, context: Any) -> AsyncIterator[bytes]:
        await asyncio.Event().wait()
        yield b""

    await transport.serve(one=forever, many=many)
    with pytest.raises(DeadlineError):
        await transport.call(timeout=0.1)
    with pytest.raises(DeadlineError):
        await within(anext(transport.iterate(timeout=0.1)))


async def test_cancellation_passes(transport: Transport):
    """A task that is cancelled in a call is cancelled, and ends the call."""
    ended = asyncio.Event()
    started = asyncio.Event()

    async def one(request: bytes, context: Any) -> bytes:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return b""

    await transport.serve(one=one)
    task = asyncio.create_task(transport.call())
    await within(started.wait())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await within(ended.wait())


async def test_a_closed_channel_is_unavailable(transport: Transport):
    """Who waits for a reply when the channel is closed gets an error, and is not taken for cancelled."""
    started = asyncio.Event()

    async def one(request: bytes, context: Any) -> bytes:
        started.set()
        return await forever(request, context)

    async def many(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"first"
        await asyncio.Event().wait()

    await transport.serve(one=one, many=many)
    waiting = asyncio.create_task(transport.call())
    replies = transport.iterate()
    assert await anext(replies) == b"first"
    iterating = asyncio.create_task(anext(replies))
    await within(started.wait())
    await transport.channel.close()
    # Before Python 3.11 a task cannot know whether it was cancelled.
    expected = UnavailableError if sys.version_info >= (3, 11) else asyncio.CancelledError
    for task in (waiting, iterating):
        with pytest.raises(expected):
            await within(asyncio.shield(task))
    await replies.aclose()


async def test_closing_an_iteration_cancels_its_call(transport: Transport):
    """Who stops iterating has cancelled the call."""
    ended = asyncio.Event()

    async def many(request: bytes, context: Any) -> None:
        try:
            for number in range(5):
                await context.write(b"%d" % number)
            await asyncio.Event().wait()
        finally:
            ended.set()

    await transport.serve(many=many)
    async with aclosing(transport.iterate()) as replies:
        async for reply in replies:
            if reply == b"2":
                break
    await within(ended.wait())


async def test_all_replies_are_given(transport: Transport):
    """An iteration gives all replies in order and then ends."""

    async def many(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for number in request:
            yield bytes([number])

    await transport.serve(many=many)
    assert [reply async for reply in transport.iterate(b"abc")] == [b"a", b"b", b"c"]


async def test_waiting_for_a_server_is_possible():
    """With ``wait_for_ready``, a call waits for a server that cannot be reached, until its deadline."""
    async with grpc.aio.insecure_channel("127.0.0.1:1") as channel:
        with pytest.raises(UnavailableError):
            await rpc.call_unary(channel.unary_unary(UNARY), b"", timeout=5)
        with pytest.raises(DeadlineError):
            await rpc.call_unary(channel.unary_unary(UNARY), b"", timeout=0.3, wait_for_ready=True)


async def test_too_much_metadata_is_refused(transport: Transport):
    """Metadata that a server would refuse, or refuse at times, is an error that names the largest part."""
    await transport.serve(one=forever)
    metadata = [("small", "x"), ("large", "hush" * 500), ("large", "hush" * 500), ("other", "x" * 10)]
    with pytest.raises(UsageError, match=r"4\d\d\d bytes .* 4096 .* 'large'") as caught:
        await transport.call(metadata=metadata)
    assert "hush" not in str(caught.value)
    with pytest.raises(UsageError):
        await anext(transport.iterate(metadata=metadata))


def test_metadata_up_to_the_limit_passes():
    """The limit counts what HTTP/2 counts: keys, values and 32 bytes for each pair."""
    fits = [("key", "x" * (rpc.METADATA_LIMIT - 3 - 32))]
    assert rpc.check_metadata(fits) == tuple(fits)
    with pytest.raises(UsageError):
        rpc.check_metadata([*fits, ("a", "")])
