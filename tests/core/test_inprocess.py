"""The in-process transport behaves as grpc.aio does: most of these tests run on both."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
import pytest
from transports import PATH, AnyTransport, OneMethod, within

from cogment_core.api import agent_pb2_grpc, common_pb2
from cogment_core.errors import UsageError
from cogment_core.testing import QUEUE_LIMIT, InProcessChannel, InProcessEndpoint, InProcessServer

EOF = grpc.aio.EOF


class Transport(AnyTransport):
    """Serves one method, and gives what calls it."""

    async def serve(self, kind: str, method: Callable[..., Any], path: str = PATH) -> Any:
        await self.serve_handlers(OneMethod(kind, method))
        return getattr(self.channel, kind)(path)


@pytest.fixture(params=["grpc", "inprocess"])
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    async with Transport(request.param) as transport:
        yield transport


@pytest.fixture
async def in_process() -> AsyncIterator[Transport]:
    async with Transport("inprocess") as transport:
        yield transport


class Watch:
    """A handler that waits, and tells how it fared."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def __call__(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


# --- on both transports: one request, one reply -----------------------------------------------------------------------


async def test_a_call_gives_the_reply_and_the_metadata(transport: Transport):
    """Invocation, initial and trailing metadata travel with a call, and its status is OK."""

    async def method(request: bytes, context: Any) -> bytes:
        await context.send_initial_metadata((("first", "1"),))
        context.set_trailing_metadata((("last", "2"),))
        return request + dict(context.invocation_metadata())["key"].encode()

    call = (await transport.serve("unary_unary", method))(b"a", metadata=(("key", "b"),))
    assert await call == b"ab"
    assert await call == b"ab"  # awaiting again gives it again
    assert (await call.initial_metadata())["first"] == "1"
    assert (await call.trailing_metadata())["last"] == "2"
    assert await call.code() is grpc.StatusCode.OK
    assert call.done()
    assert not call.cancelled()
    assert not call.cancel()


async def test_abort_is_the_error_of_the_caller(transport: Transport):
    """What a handler aborts with is the status, the details and the trailing metadata of the caller's error."""

    async def method(request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing", (("why", "gone"),))
        return b""

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (await transport.serve("unary_unary", method))(b"")
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing")
    assert caught.value.trailing_metadata()["why"] == "gone"


async def test_a_second_abort_is_a_mistake(transport: Transport):
    """The first abort decides, and a second one is an error of usage."""
    errors: list[Exception] = []
    aborted = asyncio.Event()

    async def method(request: bytes, context: Any) -> bytes:
        try:
            await context.abort(grpc.StatusCode.NOT_FOUND, "first")
        finally:
            try:
                await context.abort(grpc.StatusCode.INTERNAL, "second")
            except grpc.aio.UsageError as error:
                errors.append(error)
            aborted.set()
        return b""

    with pytest.raises(grpc.aio.AioRpcError, match="first"):
        await (await transport.serve("unary_unary", method))(b"")
    await within(aborted.wait())
    assert len(errors) == 1


async def test_an_exception_of_the_handler_is_unknown(transport: Transport):
    """A handler that raises gives its caller UNKNOWN."""

    async def method(request: bytes, context: Any) -> bytes:
        raise ValueError("oh dear")

    call = (await transport.serve("unary_unary", method))(b"")
    with pytest.raises(grpc.aio.AioRpcError, match="oh dear") as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.UNKNOWN


async def test_the_status_that_was_set_decides(transport: Transport):
    """A handler that sets a status and returns, or raises, gives its caller that status."""

    async def returns(request: bytes, context: Any) -> bytes:
        context.set_code(grpc.StatusCode.DATA_LOSS)
        context.set_details("rotten")
        assert context.code() is grpc.StatusCode.DATA_LOSS
        if request == b"raise":
            raise ValueError
        return b"not to be seen"

    do = await transport.serve("unary_unary", returns)
    for request in (b"return", b"raise"):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await do(request)
        assert caught.value.code() is grpc.StatusCode.DATA_LOSS


async def test_an_unknown_method_is_unimplemented(transport: Transport):
    """A method that nobody serves is UNIMPLEMENTED."""

    async def method(request: bytes, context: Any) -> bytes:
        return b""

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (await transport.serve("unary_unary", method, path="/test.Service/Other"))(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_deadline_ends_the_call_and_its_handler(transport: Transport):
    """After its time-out a call is DEADLINE_EXCEEDED, and its handler is cancelled."""
    watch = Watch()
    remaining: list[float] = []

    async def method(request: bytes, context: Any) -> bytes:
        remaining.append(context.time_remaining())
        await watch()
        return b""

    call = (await transport.serve("unary_unary", method))(b"", timeout=0.2)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await within(watch.cancelled.wait())
    assert 0 < remaining[0] < 1  # gRPC rounds up on the way


async def test_without_a_deadline_no_time_remains_to_tell(transport: Transport):
    """Without a time-out, ``time_remaining`` is None at both ends."""

    async def method(request: bytes, context: Any) -> bytes:
        return str(context.time_remaining()).encode()

    call = (await transport.serve("unary_unary", method))(b"")
    assert call.time_remaining() is None
    assert await call == b"None"


async def test_cancel_reaches_the_handler(transport: Transport):
    """Cancelling a call cancels its handler; who awaits the call gets a CancelledError, and its status is CANCELLED."""
    watch = Watch()

    async def method(request: bytes, context: Any) -> bytes:
        await watch()
        return b""

    call = (await transport.serve("unary_unary", method))(b"")
    await within(watch.started.wait())
    assert call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await within(watch.cancelled.wait())
    assert call.cancelled()
    assert await call.code() is grpc.StatusCode.CANCELLED


async def test_cancelling_the_waiting_task_cancels_the_call(transport: Transport):
    """A task that is cancelled while it awaits a call takes the call with it."""
    watch = Watch()

    async def method(request: bytes, context: Any) -> bytes:
        await watch()
        return b""

    call = (await transport.serve("unary_unary", method))(b"")

    async def wait() -> None:
        await call

    task = asyncio.create_task(wait())
    await within(watch.started.wait())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await within(watch.cancelled.wait())
    assert call.cancelled()


async def test_done_callbacks_are_called(transport: Transport):
    """Both ends tell, with themselves as argument, when a call is over; a call that is over tells at once."""
    told: list[Any] = []
    contexts: list[Any] = []
    all_told = asyncio.Event()

    def tell(who: Any) -> None:
        told.append(who)
        if len(told) == 3:
            all_told.set()

    async def method(request: bytes, context: Any) -> bytes:
        contexts.append(context)
        context.add_done_callback(tell)
        return b""

    call = (await transport.serve("unary_unary", method))(b"")
    call.add_done_callback(tell)
    await call
    await asyncio.sleep(0)
    call.add_done_callback(tell)
    await within(all_told.wait())
    assert sorted(map(id, told)) == sorted([id(contexts[0]), id(call), id(call)])


async def test_a_stopped_server_breaks_its_calls(transport: Transport):
    """When a server stops, calls in progress are UNAVAILABLE, and their handlers are cancelled."""
    watch = Watch()

    async def method(request: bytes, context: Any) -> bytes:
        await watch()
        return b""

    do = await transport.serve("unary_unary", method)
    call = do(b"")
    await within(watch.started.wait())
    await within(transport.server.stop(None))
    for broken in (call, do(b"")):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await broken
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert watch.cancelled.is_set()


async def test_grace_lets_calls_end(transport: Transport):
    """A server that stops with grace waits for its calls, and takes no new ones."""
    go = asyncio.Event()
    started = asyncio.Event()

    async def method(request: bytes, context: Any) -> bytes:
        started.set()
        await go.wait()
        return b"done"

    do = await transport.serve("unary_unary", method)
    call = do(b"")
    await within(started.wait())
    stopping = asyncio.create_task(transport.server.stop(5))
    await asyncio.sleep(0)
    go.set()
    assert await call == b"done"
    await within(stopping)
    assert not await transport.server.wait_for_termination(1)


async def test_a_closed_channel_takes_no_calls(transport: Transport):
    """Closing a channel cancels its calls, and calls on a closed channel are an error of usage."""
    watch = Watch()

    async def method(request: bytes, context: Any) -> bytes:
        await watch()
        return b""

    do = await transport.serve("unary_unary", method)
    call = do(b"")
    await within(watch.started.wait())
    await transport.channel.close()
    with pytest.raises(asyncio.CancelledError):
        await call
    with pytest.raises(grpc.aio.UsageError):
        await do(b"")
    await within(watch.cancelled.wait())
    assert transport.channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN


# --- on both transports: streams --------------------------------------------------------------------------------------


async def test_replies_can_be_given_by_a_generator(transport: Transport):
    """The replies that a generator yields are iterated over in order."""

    async def method(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for number in request:
            yield bytes([number])

    call = (await transport.serve("unary_stream", method))(b"abc")
    assert [reply async for reply in call] == [b"a", b"b", b"c"]
    assert await call.code() is grpc.StatusCode.OK


async def test_replies_can_be_written_and_read(transport: Transport):
    """The replies that a handler writes are read in order, and then EOF, again and again."""

    async def method(request: bytes, context: Any) -> None:
        for number in request:
            await context.write(bytes([number]))

    call = (await transport.serve("unary_stream", method))(bytes(range(200)))
    assert [await call.read() for _ in range(200)] == [bytes([number]) for number in range(200)]
    assert await call.read() is EOF
    assert await call.read() is EOF


async def test_replies_before_an_error_are_not_lost(transport: Transport):
    """What was sent before the status is read before the error is raised."""

    async def method(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"
        await context.abort(grpc.StatusCode.OUT_OF_RANGE, "enough")

    replies = []
    with pytest.raises(grpc.aio.AioRpcError, match="enough"):
        async for reply in (await transport.serve("unary_stream", method))(b""):
            replies.append(reply)
    assert replies == [b"a", b"b"]


async def test_requests_can_be_iterated_and_written(transport: Transport):
    """A handler iterates over the requests that are written, or come from an iterator of either kind."""

    async def method(requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b"".join([request async for request in requests])

    async def numbers() -> AsyncIterator[bytes]:
        yield b"1"
        yield b"2"

    do = await transport.serve("stream_unary", method)
    assert await do(numbers()) == b"12"
    assert await do(iter([b"3", b"4"])) == b"34"
    call = do()
    await call.write(b"5")
    await call.write(b"6")
    await call.done_writing()
    with pytest.raises(asyncio.InvalidStateError):
        await call.write(b"7")
    assert await call == b"56"


async def test_requests_that_fail_cancel_the_call(transport: Transport):
    """An iterator of requests that raises cancels its call."""

    async def method(requests: AsyncIterator[bytes], context: Any) -> bytes:
        return b"".join([request async for request in requests])

    async def numbers() -> AsyncIterator[bytes]:
        yield b"1"
        raise ValueError("no more numbers")

    call = (await transport.serve("stream_unary", method))(numbers())
    with pytest.raises(asyncio.CancelledError):
        await call
    assert call.cancelled()


async def test_both_directions_are_independent(transport: Transport):
    """After the client has said its last word, the servicer goes on."""

    async def method(requests: Any, context: Any) -> None:
        assert await context.read() == b"one"
        await context.write(b"1")
        assert await context.read() is EOF
        await context.write(b"still here")

    call = (await transport.serve("stream_stream", method))()
    await call.write(b"one")
    assert await call.read() == b"1"
    await call.done_writing()
    assert await call.read() == b"still here"
    assert await call.read() is EOF
    with pytest.raises(asyncio.InvalidStateError):
        await call.write(b"two")
    await call.done_writing()  # does nothing: the call is over


async def test_cancelling_a_read_cancels_the_call(transport: Transport):
    """A task that is cancelled while it reads takes the call with it."""
    watch = Watch()

    async def method(requests: Any, context: Any) -> None:
        await watch()

    call = (await transport.serve("stream_stream", method))()
    task = asyncio.create_task(call.read())
    await within(watch.started.wait())
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await within(watch.cancelled.wait())
    assert call.cancelled()
    with pytest.raises(asyncio.CancelledError):
        await call.read()


async def test_a_call_that_nobody_holds_is_cancelled(in_process: Transport):
    """A call that is collected as garbage ends at the servicer too."""
    watch = Watch()

    async def method(requests: Any, context: Any) -> None:
        await watch()

    call = (await in_process.serve("stream_stream", method))()
    await within(watch.started.wait())
    del call
    gc.collect()
    await within(watch.cancelled.wait())


async def test_the_context_tells_who_calls(transport: Transport):
    """A context has a peer, and no identity of it where there is none."""
    seen: list[Any] = []

    async def method(request: bytes, context: Any) -> bytes:
        context.set_compression(grpc.Compression.NoCompression)
        context.disable_next_message_compression()
        seen.extend([context.peer(), context.peer_identities(), context.peer_identity_key(), context.done()])
        assert "127.0.0.1" in context.peer() or context.peer() == "inprocess:test"
        return b""

    await (await transport.serve("unary_unary", method))(b"")
    assert seen[1:] == [None, None, False]


async def test_metadata_is_checked(transport: Transport):
    """Metadata that gRPC cannot carry is refused by both."""

    async def method(request: bytes, context: Any) -> bytes:
        return b""

    do = await transport.serve("unary_unary", method)
    with pytest.raises((ValueError, grpc.aio.InternalError)):
        await do(b"", metadata=(("Upper", "case"),))


# --- in process only --------------------------------------------------------------------------------------------------


async def test_messages_are_handed_over_as_they_are(in_process: Transport):
    """Nothing is serialized: the receiver gets the very object that was sent."""

    async def method(request: Any, context: Any) -> Any:
        return request

    message = common_pb2.ActorRunTrialInput()
    assert await (await in_process.serve("unary_unary", method))(message) is message


async def test_a_writer_waits_for_a_slow_reader(in_process: Transport):
    """`QUEUE_LIMIT` messages wait for a reader; after that writing waits, until the reader takes one."""

    async def method(requests: Any, context: Any) -> None:
        await asyncio.Event().wait()

    call = (await in_process.serve("stream_stream", method))()
    for number in range(QUEUE_LIMIT):
        await call.write(number)
    writer = asyncio.create_task(call.write("one more"))
    done, _ = await asyncio.wait({writer}, timeout=0.05)
    assert not done
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call.read()
    await within(writer)


async def test_a_reader_makes_room(in_process: Transport):
    """A servicer that is far ahead of its client waits for it, and nothing is lost or reordered."""
    written = 0
    full = asyncio.Event()

    async def method(request: Any, context: Any) -> None:
        nonlocal written
        for number in range(3 * QUEUE_LIMIT):
            await context.write(number)
            written += 1
            if written == QUEUE_LIMIT:
                full.set()

    call = (await in_process.serve("unary_stream", method))(None)
    await within(full.wait())
    for _ in range(10):
        await asyncio.sleep(0)
    assert written == QUEUE_LIMIT
    assert [number async for number in call] == list(range(3 * QUEUE_LIMIT))


async def test_a_call_with_large_messages_has_fewer_that_wait(in_process: Transport):
    """``set_queue_limit`` says how many wait, in both directions."""
    written = 0

    async def method(requests: Any, context: Any) -> None:
        nonlocal written
        for number in range(5):
            await context.write(number)
            written += 1
        await asyncio.Event().wait()

    call = (await in_process.serve("stream_stream", method))()
    call.set_queue_limit(2)
    await call.write(0)
    await call.write(1)
    writer = asyncio.create_task(call.write(2))
    done, _ = await asyncio.wait({writer}, timeout=0.05)
    assert not done
    assert written == 2
    call.cancel()
    await within(writer)


async def test_writing_to_a_client_that_is_gone_fails(in_process: Transport):
    """A handler that goes on after its call was cancelled cannot write, and reads EOF."""
    outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    async def method(requests: Any, context: Any) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert context.cancelled()
            assert context.done()
            assert await context.read() is EOF
            with pytest.raises(grpc.aio.InternalError):
                await context.write(1)
            outcome.set_result(True)
            raise

    call = (await in_process.serve("stream_stream", method))()
    await asyncio.sleep(0)
    call.cancel()
    assert await within(outcome)


async def test_a_handler_that_meets_the_end_of_its_call_has_not_failed(
    in_process: Transport, caplog: pytest.LogCaptureFixture
):
    """That a client is gone while a handler writes to it is not an error for the log."""
    returned = asyncio.Event()

    async def method(requests: Any, context: Any) -> None:
        context.add_done_callback(lambda _context: returned.set())
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await context.write(1)

    call = (await in_process.serve("stream_stream", method))()
    await asyncio.sleep(0)
    call.cancel()
    await within(returned.wait())
    assert not caplog.records


async def test_a_cancelled_read_of_a_servicer_loses_nothing(in_process: Transport):
    """A servicer may give up reading, and read again later. (With grpc.aio it must not.)"""

    async def method(requests: Any, context: Any) -> Any:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(context.read(), 0.02)
        ready.set()
        return [await context.read(), await context.read()]

    ready = asyncio.Event()
    call = (await in_process.serve("stream_unary", method))()
    await within(ready.wait())
    await call.write(1)
    await call.write(2)
    assert await within(call) == [1, 2]


async def test_two_readers_are_refused(in_process: Transport):
    """The messages of one end are read in one place only."""

    async def method(requests: Any, context: Any) -> None:
        await asyncio.Event().wait()

    call = (await in_process.serve("stream_stream", method))()
    first = asyncio.create_task(call.read())
    await asyncio.sleep(0)
    with pytest.raises(UsageError, match="one place"):
        await call.read()
    first.cancel()


async def test_a_reply_is_needed(in_process: Transport, caplog: pytest.LogCaptureFixture):
    """A handler that returns None instead of a reply has failed, as it would over gRPC."""

    async def method(request: Any, context: Any) -> Any:
        return None

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (await in_process.serve("unary_unary", method))(b"")
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    assert "returned None" in caplog.text


async def test_the_failure_of_a_handler_is_logged(in_process: Transport, caplog: pytest.LogCaptureFixture):
    """What a handler raises is in the log, with the method's name."""

    async def method(request: Any, context: Any) -> Any:
        raise ValueError("oh dear")

    with pytest.raises(grpc.aio.AioRpcError):
        await (await in_process.serve("unary_unary", method))(b"")
    assert PATH in caplog.text
    assert "oh dear" in caplog.text


async def test_a_handler_cancelled_from_within_answers(in_process: Transport):
    """A CancelledError of the handler's own making ends the call. (With grpc.aio the caller hangs.)"""

    async def method(request: Any, context: Any) -> Any:
        raise asyncio.CancelledError

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await within((await in_process.serve("unary_unary", method))(b""))
    assert caught.value.code() is grpc.StatusCode.UNKNOWN


async def test_a_generated_servicer_without_a_method_is_unimplemented():
    """A method that a servicer does not override is UNIMPLEMENTED, through the generated stub and servicer."""

    class Servicer(agent_pb2_grpc.ServiceActorSPServicer):
        async def Version(self, request: Any, context: Any) -> common_pb2.VersionInfo:  # type: ignore[override]
            return common_pb2.VersionInfo()

    async with InProcessServer() as server, server.channel() as channel:
        agent_pb2_grpc.add_ServiceActorSPServicer_to_server(Servicer(), server)
        stub: Any = agent_pb2_grpc.ServiceActorSPStub(channel)
        assert await stub.Version(common_pb2.VersionRequest()) == common_pb2.VersionInfo()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Status(common_pb2.StatusRequest())
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.RunTrial().read()
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_code_of_newer_generators_works():
    """Newer generated code registers its methods by name, and passes an option of its own to the channel."""

    async def method(request: Any, context: Any) -> Any:
        return request

    server = InProcessServer()
    server.add_registered_method_handlers("test.Service", {"Do": grpc.unary_unary_rpc_method_handler(method)})
    do = server.channel().unary_unary(
        PATH, request_serializer=bytes, response_deserializer=bytes, _registered_method=True
    )
    assert await do(b"x", wait_for_ready=True, compression=None, credentials=None) == b"x"
    await server.stop()


async def test_a_plain_generator_can_reply(in_process: Transport):
    """A plain function that gives an iterable serves a stream."""
    call = (await in_process.serve("unary_stream", lambda request, context: iter([1, 2])))(None)
    assert [reply async for reply in call] == [1, 2]


async def test_stopping_waits_for_handlers(in_process: Transport):
    """When ``stop`` returns, the handlers have finished cleaning up."""
    cleaned = False
    started = asyncio.Event()

    async def method(request: Any, context: Any) -> Any:
        nonlocal cleaned
        try:
            started.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.02)
            cleaned = True

    call = (await in_process.serve("unary_unary", method))(None)
    await within(started.wait())
    await in_process.server.stop(0)
    assert cleaned
    with pytest.raises(grpc.aio.AioRpcError):
        await call
    assert in_process.channel.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE
    assert not asyncio.all_tasks() - {asyncio.current_task()}


async def test_an_ended_call_leaves_nothing_behind(in_process: Transport):
    """After calls of all outcomes no task and no call is kept."""

    async def method(requests: Any, context: Any) -> None:
        async for request in requests:
            if request == "fail":
                await context.abort(grpc.StatusCode.INTERNAL, "told to")

    do = await in_process.serve("stream_stream", method)
    for outcome in ("cancel at once", "cancel", "end", "fail"):
        call = do()
        if outcome != "cancel at once":
            await call.write(outcome)
        await (call.done_writing() if outcome in ("end", "fail") else asyncio.sleep(0))
        if outcome.startswith("cancel"):
            call.cancel()
        await within(call.code())
    await asyncio.sleep(0.01)
    assert not in_process.server._exchanges
    assert not asyncio.all_tasks() - {asyncio.current_task()}


async def test_state_changes_are_told(in_process: Transport):
    """A channel is ready until its server stops, and tells when that changes."""

    async def method(request: Any, context: Any) -> Any:
        return request

    await in_process.serve("unary_unary", method)
    channel: InProcessChannel = in_process.channel
    await within(channel.channel_ready())
    change = asyncio.create_task(channel.wait_for_state_change(grpc.ChannelConnectivity.READY))
    await asyncio.sleep(0)
    await in_process.server.stop()
    await within(change)
    change = asyncio.create_task(channel.wait_for_state_change(grpc.ChannelConnectivity.TRANSIENT_FAILURE))
    await asyncio.sleep(0)
    await channel.close()
    await within(change)
    assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN


async def test_ports_are_refused():
    """An in-process server says that it has no ports."""
    server = InProcessServer("lonely")
    with pytest.raises(UsageError, match="lonely"):
        server.add_insecure_port("[::]:0")
    with pytest.raises(UsageError, match="lonely"):
        server.add_secure_port("[::]:0", None)


async def test_the_endpoint_leads_to_the_server():
    """The endpoint of an in-process server carries it, and has its name in the URL."""
    server = InProcessServer("orchestrator")
    endpoint = InProcessEndpoint(server)
    assert endpoint.url == "inprocess://orchestrator"
    assert endpoint.server is server
    assert not endpoint.using_ssl()


def test_another_event_loop_is_refused():
    """A server serves callers of one event loop; in another one, the error says so."""

    async def method(request: Any, context: Any) -> Any:
        return request

    server = InProcessServer("test")
    server.add_generic_rpc_handlers((OneMethod("unary_unary", method),))

    async def call() -> Any:
        return await server.channel().unary_unary(PATH)(b"x")

    assert asyncio.run(call()) == b"x"
    with pytest.raises(UsageError, match="another event loop"):
        asyncio.run(call())
