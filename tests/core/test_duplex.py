"""Both ends of an open call, pushed from message to message, over both transports."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transports import PATH, AnyTransport, within

from cogment_core import duplex, outbox
from cogment_core.api.common_pb2 import VersionInfo
from cogment_core.errors import (
    BacklogError,
    CogmentError,
    DeadlineError,
    NotFoundError,
    ProtocolError,
    RpcError,
    UnavailableError,
    UsageError,
)
from cogment_core.inprocess import QUEUE_LIMIT, InProcessServer

EOF = grpc.aio.EOF
Handler = Callable[[Any, Any], Any]


class Run(grpc.GenericRpcHandler):
    def __init__(self, method: Handler) -> None:
        self._handler = grpc.stream_stream_rpc_method_handler(method)

    def service(self, handler_call_details: Any) -> Any:
        return self._handler


class Transport(AnyTransport):
    """Serves one bidirectional method of bytes, and calls it."""

    def __init__(self, name: str) -> None:
        super().__init__(name, tracked=True)

    async def call(self, method: Handler, *, run: type[Run] = Run, **options: Any) -> Any:
        await self.serve_handlers(run(method))
        return self.channel.stream_stream(PATH)(**options)

    async def open(self, method: Handler, **options: Any) -> duplex.Duplex[bytes, bytes]:
        return duplex.of_call(await self.call(method, **options))


@pytest.fixture(params=["grpc", "inprocess"])
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    async with Transport(request.param) as transport:
        yield transport


@pytest.fixture
async def over_grpc() -> AsyncIterator[Transport]:
    async with Transport("grpc") as transport:
        yield transport


@pytest.fixture
async def in_process() -> AsyncIterator[Transport]:
    async with Transport("inprocess") as transport:
        yield transport


async def echo(_requests: Any, context: Any) -> None:
    end = duplex.of_context(context)
    await end.receive(end.send)
    await end.close()


class Kept(list[bytes]):
    """Messages in order, and a way to wait for the n-th."""

    def __init__(self) -> None:
        super().__init__()
        self._more = asyncio.Event()

    def __call__(self, message: bytes) -> None:
        self.append(message)
        self._more.set()

    async def until(self, count: int) -> None:
        while len(self) < count:
            self._more.clear()
            await within(self._more.wait())


# --- on both transports: messages -------------------------------------------------------------------------------------


async def test_messages_come_in_order(transport: Transport):
    """Everything that is sent arrives, in order, at both ends, and half-closing ends the call."""
    end = await transport.open(echo)
    sent = [str(number).encode() for number in range(500)]
    for message in sent:
        end.send(message)
    kept = Kept()
    receiving = asyncio.create_task(end.receive(kept))
    await within(end.close())
    await within(receiving)
    assert kept == sent


async def test_messages_wait_for_the_receiver(transport: Transport):
    """What was sent before an end receives is handed over when it does."""
    ready = asyncio.Event()
    got: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()

    async def method(_requests: Any, context: Any) -> None:
        end = duplex.of_context(context)
        end.send(b"early")
        await ready.wait()
        kept = Kept()
        await end.receive(kept)
        got.set_result(kept)

    end = await transport.open(method)
    end.send(b"a")
    end.send(b"b")
    await within(end.drain())
    ready.set()
    await within(end.close())
    assert await within(got) == [b"a", b"b"]
    kept = Kept()
    await within(end.receive(kept))
    assert kept == [b"early"]


async def test_the_callback_may_send(transport: Transport):
    """A callback answers with as many messages as it likes; the one that follows waits until it has returned."""
    end = await transport.open(echo)
    running = False
    seen = []

    def on_message(message: bytes) -> None:
        nonlocal running
        assert not running
        running = True
        seen.append(message)
        if len(message) < 6:
            end.send(message + b"l")
            end.send(message + b"r")
        elif len(seen) == 2**6 - 1:
            end.abandon()
        running = False

    end.send(b"_")
    with pytest.raises(UnavailableError):
        await within(end.receive(on_message))
    assert len(seen) == 2**6 - 1
    assert sorted(seen, key=len) == seen  # breadth first: each waited for its turn


async def test_an_endless_exchange_does_not_nest(transport: Transport):
    """Two callbacks that answer each other go on for as long as they like."""
    rounds = 20_000 if transport.name == "inprocess" else 2_000
    end = await transport.open(echo)
    count = 0

    def on_message(message: bytes) -> None:
        nonlocal count
        count += 1
        if count < rounds:
            end.send(message)
        else:
            end.abandon()

    receiving = asyncio.create_task(end.receive(on_message))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # both ends receive now, so that sending is calling, in process
    end.send(b"ping")
    with pytest.raises(UnavailableError):
        await within(receiving, 30)
    assert count == rounds


async def test_one_end_may_pull(transport: Transport):
    """One end may read and write while the other one pushes."""

    async def method(requests: Any, context: Any) -> None:
        async for request in requests:
            await context.write(request.upper())

    end = await transport.open(method)
    kept = Kept()
    receiving = asyncio.create_task(end.receive(kept))
    for number in range(3 * QUEUE_LIMIT):
        end.send(f"n{number}".encode())
    await within(end.close())
    await within(receiving)
    assert kept == [f"N{number}".encode() for number in range(3 * QUEUE_LIMIT)]


async def test_the_other_end_may_pull(transport: Transport):
    """A client may read and write while the servicer pushes."""
    call = await transport.call(echo)
    for number in range(100):
        await call.write(b"%d" % number)
        assert await call.read() == b"%d" % number
    await call.done_writing()
    assert await call.read() is EOF


# --- on both transports: the end --------------------------------------------------------------------------------------


async def test_the_servicer_goes_on_after_half_close(transport: Transport):
    """After the client has closed its side, the servicer's `receive` returns, and it may still send."""

    async def method(_requests: Any, context: Any) -> None:
        end = duplex.of_context(context)
        await end.receive(Kept())
        end.send(b"after")
        await end.drain()

    end = await transport.open(method)
    end.send(b"x")
    await within(end.close())
    kept = Kept()
    await within(end.receive(kept))
    assert kept == [b"after"]


@pytest.mark.parametrize("status", [grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND])
async def test_nothing_sent_before_the_end_is_lost(transport: Transport, status: grpc.StatusCode):
    """All that a servicer sends before it returns arrives, and then the true status, though the client goes on writing.

    When a write meets the end of the call, ``grpc.aio`` puts a status of its own in the place of the servicer's.
    """

    async def method(_requests: Any, context: Any) -> None:
        end = duplex.of_context(context)
        for number in range(300):
            end.send(b"%d" % number)
        await end.drain()
        if status is not grpc.StatusCode.OK:
            await context.abort(status, "no such trial")

    end = await transport.open(method)
    kept = Kept()

    def on_message(message: bytes) -> None:
        kept(message)
        end.send(b"answer" * 100)

    if status is grpc.StatusCode.OK:
        await within(end.receive(on_message))
    else:
        with pytest.raises(NotFoundError, match="no such trial"):
            await within(end.receive(on_message))
    assert kept == [b"%d" % number for number in range(300)]


async def test_a_status_is_raised_after_the_messages(transport: Transport):
    """The status of the call is raised by `receive`, as an error of ours, after what was sent before."""

    async def method(_requests: Any, context: Any) -> None:
        end = duplex.of_context(context)
        end.send(b"a")
        await end.drain()
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such trial")

    end = await transport.open(method)
    kept = Kept()
    with pytest.raises(NotFoundError, match="no such trial"):
        await within(end.receive(kept))
    assert kept == [b"a"]
    end.send(b"dropped")
    await within(end.drain())
    await within(end.close())
    end.abandon()


async def test_abandon_cancels_the_call(transport: Transport):
    """A client that abandons its call ends it at the servicer too, and its own `receive` says so."""
    cancelled = asyncio.Event()
    started = asyncio.Event()

    async def method(_requests: Any, context: Any) -> None:
        end = duplex.of_context(context)
        started.set()
        try:
            await end.receive(Kept())
            await asyncio.Event().wait()  # gRPC shows the end of the requests before it cancels
        except asyncio.CancelledError:
            cancelled.set()
            raise

    end = await transport.open(method)
    receiving = asyncio.create_task(end.receive(Kept()))
    await within(started.wait())
    end.abandon()
    with pytest.raises(UnavailableError, match="abandoned"):
        await within(receiving)
    await within(cancelled.wait())


async def test_abandon_before_anything_else(transport: Transport):
    """A call may be abandoned as soon as it is made, with something to send; draining and closing it then return."""
    end = await transport.open(echo)
    end.send(b"x")
    end.abandon()
    end.abandon()
    end.send(b"y")
    await within(end.drain())
    await within(end.close())
    with pytest.raises(UnavailableError):
        await within(end.receive(Kept()))


async def test_a_servicer_may_abandon(transport: Transport):
    """A servicer's `receive` ends when it abandons the call; what it sent is delivered, what it sends is not."""

    async def method(_requests: Any, context: Any) -> None:
        end = duplex.of_context(context)
        send = end.send

        def on_message(message: bytes) -> None:
            end.abandon()
            send(b"too late")

        send(b"in time")
        await end.drain()
        with pytest.raises(UnavailableError, match="abandoned"):
            await end.receive(on_message)
        await end.close()

    end = await transport.open(method)
    end.send(b"x")
    end.send(b"not to be seen")
    kept = Kept()
    await within(end.receive(kept))
    assert kept == [b"in time"]


async def test_the_status_of_an_abandoned_call_is_waited_for(transport: Transport):
    """A client gets the status that the handler returns with, though the servicer has abandoned the call before."""

    async def method(_requests: Any, context: Any) -> None:
        end = duplex.of_context(context)
        end.send(b"x")
        await end.drain()
        end.abandon()
        await asyncio.sleep(0.02)
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such trial")

    end = await transport.open(method)
    with pytest.raises(NotFoundError):
        await within(end.receive(Kept()))


async def test_what_a_callback_raises_ends_its_receive(transport: Transport):
    """An exception of a callback is raised by its own `receive`; the other end sees a call that ends."""
    failed = asyncio.Event()

    async def method(_requests: Any, context: Any) -> None:
        end = duplex.of_context(context)

        def on_message(message: bytes) -> None:
            raise ValueError(message.decode())

        with pytest.raises(ValueError, match="first"):
            await end.receive(on_message)
        failed.set()

    end = await transport.open(method)
    end.send(b"first")
    end.send(b"second")
    kept = Kept()
    await within(end.receive(kept))
    assert failed.is_set()


async def test_what_a_clients_callback_raises_ends_the_call(transport: Transport):
    """An exception of a client's callback is raised by `receive`, and cancels the call."""
    gone = asyncio.Event()

    async def method(_requests: Any, context: Any) -> None:
        end = duplex.of_context(context)
        end.send(b"x")
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()

    def on_message(message: bytes) -> None:
        raise ValueError("cannot read this")

    end = await transport.open(method)
    with pytest.raises(ValueError, match="cannot read this"):
        await within(end.receive(on_message))
    await within(gone.wait())


async def test_cancelling_receive_ends_the_call(transport: Transport):
    """A client whose `receive` is cancelled has dropped its call, and the cancellation passes."""
    gone = asyncio.Event()
    started = asyncio.Event()

    async def method(_requests: Any, context: Any) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()

    end = await transport.open(method)
    receiving = asyncio.create_task(end.receive(Kept()))
    await within(started.wait())
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    await within(gone.wait())
    end.send(b"dropped")
    await within(end.drain())


async def test_closing_the_channel_ends_receive(transport: Transport):
    """When the channel of a call is closed, `receive` raises an error: it neither hangs nor looks cancelled."""

    async def method(_requests: Any, context: Any) -> None:
        duplex.of_context(context).send(b"x")
        await asyncio.Event().wait()

    end = await transport.open(method)
    kept = Kept()
    receiving = asyncio.create_task(end.receive(kept))
    await kept.until(1)
    await transport.channel.close()
    with pytest.raises(UnavailableError):
        await within(receiving)


async def test_a_deadline_ends_receive(transport: Transport):
    """A call with a time-out ends with a DeadlineError."""

    async def method(_requests: Any, context: Any) -> None:
        await asyncio.Event().wait()

    end = await transport.open(method, timeout=0.2)
    with pytest.raises(DeadlineError):
        await within(end.receive(Kept()))


async def test_a_stopped_server_ends_receive(transport: Transport):
    """When the server stops, `receive` raises an UnavailableError."""
    started = asyncio.Event()

    async def method(_requests: Any, context: Any) -> None:
        started.set()
        await asyncio.Event().wait()

    end = await transport.open(method)
    receiving = asyncio.create_task(end.receive(Kept()))
    await within(started.wait())
    await transport.server.stop(None)
    with pytest.raises(UnavailableError):
        await within(receiving)


async def test_others_may_hold_the_end_of_a_call_that_is_over(transport: Transport):
    """A task that outlives the servicer's handler may send, drain and receive: nothing happens, and nothing hangs."""
    ends: list[duplex.Duplex[bytes, bytes]] = []
    started, over = asyncio.Event(), asyncio.Event()

    async def method(_requests: Any, context: Any) -> None:
        ends.append(duplex.of_context(context))
        started.set()
        context.add_done_callback(lambda _context: over.set())
        await asyncio.Event().wait()

    end = await transport.open(method)
    end.send(b"x")
    receiving = asyncio.create_task(end.receive(Kept()))
    await within(started.wait())
    end.abandon()
    await asyncio.wait({receiving})
    assert isinstance(receiving.exception(), UnavailableError)
    await within(over.wait())
    (servicers,) = ends
    servicers.send(b"y")
    await within(servicers.drain())
    try:
        await within(servicers.receive(Kept()))
    except CogmentError as error:
        assert isinstance(error, UnavailableError)  # noqa: PT017
    servicers.abandon()


async def test_draining_may_be_cancelled(transport: Transport):
    """Several tasks may wait for one call to drain; cancelling one does not touch the others."""
    ready = asyncio.Event()

    async def method(_requests: Any, context: Any) -> None:
        await ready.wait()
        await duplex.of_context(context).receive(Kept())

    end = await transport.open(method)
    for _ in range(2 * QUEUE_LIMIT):
        end.send(bytes(100_000))
    drains = [asyncio.create_task(end.drain()) for _ in range(3)]
    await asyncio.sleep(0)
    drains[0].cancel()
    ready.set()
    await within(asyncio.wait(drains[1:]))
    assert drains[0].cancelled()
    await within(end.close())
    await within(end.receive(Kept()))


# --- limits -----------------------------------------------------------------------------------------------------------


async def test_the_backlog_has_a_limit(transport: Transport, monkeypatch: pytest.MonkeyPatch):
    """A peer that does not take messages lets them pile up to a limit, and then sending fails."""
    monkeypatch.setattr(outbox, "BACKLOG_LIMIT", 100)
    monkeypatch.setattr("cogment_core.inprocess.inbox.BACKLOG_LIMIT", 100)

    async def method(_requests: Any, context: Any) -> None:
        await asyncio.Event().wait()

    end = await transport.open(method)
    with pytest.raises(BacklogError):
        for _ in range(1000):
            end.send(bytes(1000))
    end.abandon()


async def test_the_backlog_has_a_limit_in_bytes(monkeypatch: pytest.MonkeyPatch):
    """Few large messages that nobody takes are too many as well; those that were written do not count any more."""
    monkeypatch.setattr(outbox, "BACKLOG_BYTES", 1000)
    gate = asyncio.Event()
    written: list[bytes] = []

    async def write(message: bytes) -> None:
        await gate.wait()
        written.append(message)

    box: outbox.Outbox[bytes] = outbox.Outbox(write, lambda error: pytest.fail(str(error)))
    box.put(bytes(5000))  # the transport has it
    box.put(bytes(2000))  # one always may wait: the peer may be about to take it
    with pytest.raises(BacklogError, match="2000 bytes"):
        box.put(b"x")
    gate.set()
    await within(box.drain())
    gate.clear()
    for _ in range(5):
        box.put(bytes(250))
    with pytest.raises(BacklogError, match="1000 bytes"):
        box.put(b"x")
    gate.set()
    await within(box.drain())
    assert [len(message) for message in written] == [5000, 2000, *[250] * 5]


async def test_a_peer_that_takes_nothing_is_lost(transport: Transport, monkeypatch: pytest.MonkeyPatch):
    """A servicer that does not read is given up after `WRITE_TIMEOUT`; `drain` returns, and `receive` says why."""
    monkeypatch.setattr(outbox, "WRITE_TIMEOUT", 0.3)
    gone = asyncio.Event()

    async def method(_requests: Any, context: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            gone.set()

    end = await transport.open(method)
    receiving = asyncio.create_task(end.receive(Kept()))
    for _ in range(200):
        end.send(bytes(100_000))
    await within(end.drain())
    with pytest.raises(UnavailableError, match=r"did not take a message for 0\.3 s"):
        await within(receiving)
    await within(gone.wait())


async def test_a_client_that_takes_nothing_is_lost(transport: Transport, monkeypatch: pytest.MonkeyPatch):
    """A client that does not read is given up after `WRITE_TIMEOUT`, and the servicer's `receive` says why."""
    monkeypatch.setattr(outbox, "WRITE_TIMEOUT", 0.3)
    reason: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def method(_requests: Any, context: Any) -> None:
        end = duplex.of_context(context)
        for _ in range(200):
            end.send(bytes(100_000))
        draining = asyncio.create_task(end.drain())
        try:
            await end.receive(Kept())
        except RpcError as error:
            reason.set_result(error.details() or "")
        await draining

    call = await transport.call(method)
    await call.write(b"x")
    assert "did not take a message for 0.3 s" in await within(reason)
    call.cancel()


async def test_a_slow_peer_is_not_lost(transport: Transport, monkeypatch: pytest.MonkeyPatch):
    """A peer that takes longer than `WRITE_TIMEOUT` for everything, but takes something meanwhile, is kept."""
    monkeypatch.setattr(outbox, "WRITE_TIMEOUT", 0.4)
    total = 3 * QUEUE_LIMIT

    async def method(_requests: Any, context: Any) -> None:
        for _ in range(total):
            await context.read()
            await asyncio.sleep(0.005)

    end = await transport.open(method)
    started = asyncio.get_running_loop().time()
    for _ in range(total):
        end.send(bytes(200_000))
    await within(end.drain())
    assert asyncio.get_running_loop().time() - started > 0.4
    await within(end.receive(Kept()))


# --- in process only --------------------------------------------------------------------------------------------------


async def test_sending_is_a_call_of_the_other_ends_callback(in_process: Transport):
    """In process, a message and its answer have been handled when `send` returns."""
    end = await in_process.open(echo)
    kept = Kept()
    receiving = asyncio.create_task(end.receive(kept))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    end.send(b"x")
    assert kept == [b"x"]
    await end.close()
    await within(receiving)


async def test_a_callback_may_give_up_at_once(in_process: Transport):
    """A callback that abandons its call at the first message that is pushed to it gets no other one."""
    got: list[bytes] = []
    ended: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    async def method(_requests: Any, context: Any) -> None:
        end = duplex.of_context(context)

        def on_message(message: bytes) -> None:
            got.append(message)
            end.abandon()

        receiving = asyncio.create_task(end.receive(on_message))
        await asyncio.wait({receiving})
        ended.set_result(receiving.exception())

    end = await in_process.open(method)
    while not in_process.server._exchanges or not got:
        await asyncio.sleep(0)
        end.send(b"x")
    end.send(b"y")
    assert isinstance(await within(ended), UnavailableError)
    assert got == [b"x"]
    await within(end.receive(Kept()))


async def test_a_failing_receiver_does_not_hurt_the_sender(in_process: Transport):
    """In process, too, what a callback raises is not raised by `send`; what is sent afterwards is dropped."""
    ends: list[Any] = []

    async def method(_requests: Any, context: Any) -> None:
        def on_message(message: bytes) -> None:
            ends.append(message)
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            await duplex.of_context(context).receive(on_message)

    end = await in_process.open(method)
    await asyncio.sleep(0)
    end.send(b"a")
    end.send(b"b")
    assert ends == [b"a"]
    await within(end.receive(Kept()))


async def test_an_end_is_received_from_once(in_process: Transport):
    """A second receiver of the same end is refused."""
    end = await in_process.open(echo)
    receiving = asyncio.create_task(end.receive(Kept()))
    await asyncio.sleep(0)
    with pytest.raises(UsageError, match="one place"):
        await end.receive(Kept())
    await end.close()
    await within(receiving)


@given(script=st.lists(st.tuples(st.booleans(), st.integers(0, 5)), max_size=30))
def test_any_exchange_keeps_the_order(script: list[tuple[bool, int]]):
    """Whoever sends when, with whatever nested answers, each end gets what the other one sent, in order."""

    async def run() -> None:
        async with InProcessServer() as server:
            sides: list[Any] = []
            sent: list[list[int]] = [[], []]
            seen: list[list[int]] = [[], []]

            def say(side: int, depth: int) -> None:
                number = 10 * len(sent[side]) + depth
                sent[side].append(number)
                sides[side].send(number)

            def listener(side: int) -> Callable[[int], None]:
                def on_message(number: int) -> None:
                    seen[side].append(number)
                    for _ in range(min(number % 10, 2)):
                        say(side, number % 10 - 1)

                return on_message

            async def method(_requests: Any, context: Any) -> None:
                sides.append(context.duplex())
                await sides[1].receive(listener(1))

            server.add_generic_rpc_handlers((Run(method),))
            sides.append(server.channel().stream_stream(PATH)().duplex())
            receiving = asyncio.create_task(sides[0].receive(listener(0)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            for client, depth in script:
                say(0 if client else 1, depth)
            assert seen[0] == sent[1]
            assert seen[1] == sent[0]
            await sides[0].close()
            await within(receiving)

    asyncio.run(run())


# --- over gRPC only ---------------------------------------------------------------------------------------------------


async def test_a_server_that_is_not_there(free_port: int):
    """A call to a port where nobody listens ends as unavailable, though something was sent."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{free_port}") as channel:
        end = duplex.of_call(channel.stream_stream(PATH)())
        end.send(b"x")
        with pytest.raises(UnavailableError):
            await within(end.receive(Kept()))
        await within(end.drain())
        await within(end.close())


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_connecting_may_take_longer_than_a_write(free_port: int, monkeypatch: pytest.MonkeyPatch):
    """`WRITE_TIMEOUT` begins once the call is connected: a server that is still starting is waited for."""
    monkeypatch.setattr(outbox, "WRITE_TIMEOUT", 0.1)
    options = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 100)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{free_port}", options=options) as channel:
        end = duplex.of_call(channel.stream_stream(PATH)(wait_for_ready=True))
        end.send(b"x")
        kept = Kept()
        receiving = asyncio.create_task(end.receive(kept))
        done, _ = await asyncio.wait({receiving}, timeout=0.4)
        assert not done
        server = grpc.aio.server(handlers=[Run(echo)], options=[("grpc.so_reuseport", 0)])
        server.add_insecure_port(f"127.0.0.1:{free_port}")
        await server.start()
        await kept.until(1)
        end.abandon()
        await asyncio.wait({receiving})
        await server.stop(None)


async def test_replies_that_are_no_messages_end_receive(over_grpc: Transport):
    """A servicer that sends bytes that cannot be decoded has broken the protocol, and `receive` says so."""

    async def method(_requests: Any, context: Any) -> None:
        end = duplex.of_context(context)
        end.send(b"\xff\xff")
        await end.receive(Kept())

    await over_grpc.call(method)
    run = over_grpc.channel.stream_stream(PATH, response_deserializer=VersionInfo.FromString)
    with pytest.raises(ProtocolError, match="cannot be decoded"):
        await within(duplex.of_call(run()).receive(Kept()))


async def test_requests_that_are_no_messages_end_receive(over_grpc: Transport):
    """A client that sends bytes that cannot be decoded has broken the protocol, and `receive` says so."""
    outcome: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    class RunMessages(Run):
        def __init__(self, method: Handler) -> None:
            self._handler = grpc.stream_stream_rpc_method_handler(method, request_deserializer=VersionInfo.FromString)

    async def method(_requests: Any, context: Any) -> None:
        receiving = asyncio.create_task(duplex.of_context(context).receive(Kept()))
        await asyncio.wait({receiving})
        outcome.set_result(receiving.exception())

    end = duplex.of_call(await over_grpc.call(method, run=RunMessages))
    end.send(b"\xff\xff")
    with pytest.raises(ProtocolError, match="cannot be decoded"):
        raise await within(outcome) or AssertionError
    end.abandon()


class MakingUp:
    """A call whose write meets the end of the call: ``grpc.aio`` puts a status of its own beside the true one."""

    def __init__(self, *statuses: tuple[grpc.StatusCode, str]) -> None:
        self._statuses = statuses
        self._status: tuple[grpc.StatusCode, str] | None = None
        self._note: Callable[[Any], None] = print

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._note = callback

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"last words"
        for status in self._statuses:
            self._status = status
            self._note(self)
        empty = grpc.aio.Metadata()
        raise grpc.aio.AioRpcError(grpc.StatusCode.INTERNAL, empty, empty, "Internal error from Core")

    async def code(self) -> Any:
        return self._status and self._status[0]

    async def details(self) -> Any:
        return self._status and self._status[1]

    async def write(self, message: bytes) -> None: ...

    async def wait_for_connection(self) -> None: ...

    def cancel(self) -> bool:
        return False


MADE_UP = (grpc.StatusCode.INTERNAL, "Internal error from Core")
OK = (grpc.StatusCode.OK, "")
NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "no such trial")


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ((MADE_UP, OK), None),
        ((OK, MADE_UP), None),
        ((MADE_UP, NOT_FOUND), NotFoundError),
        ((NOT_FOUND, MADE_UP), NotFoundError),
        ((MADE_UP,), RpcError),
    ],
)
async def test_a_made_up_status_is_not_believed(
    statuses: tuple[Any, ...], expected: type[RpcError] | None, monkeypatch: pytest.MonkeyPatch
):
    """Of two statuses that ``grpc.aio`` sets, in whatever order, the server's own counts; alone, any does."""
    monkeypatch.setattr(outbox, "WRITE_TIMEOUT", 0.1)
    end: Any = duplex.of_call(MakingUp(*statuses))
    kept = Kept()
    if expected is None:
        await within(end.receive(kept))
    else:
        with pytest.raises(RpcError) as caught:
            await within(end.receive(kept))
        assert type(caught.value) is expected
    assert kept == [b"last words"]


PEER = """
import asyncio, sys
import grpc, grpc.aio
from cogment_core import duplex

class Run(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.stream_stream_rpc_method_handler(run)

async def run(requests, context):
    end = duplex.of_context(context)
    await end.receive(end.send)

async def serve():
    server = grpc.aio.server(handlers=[Run()])
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()

async def call(port):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        end = duplex.of_call(channel.stream_stream("/test.Service/Run")())
        end.send(b"hello")
        await end.receive(lambda message: print(message.decode(), flush=True))

asyncio.run(serve() if sys.argv[1] == "serve" else call(sys.argv[2]))
"""


class Peer:
    """The other end in a process of its own."""

    async def start(self, *arguments: str) -> str:
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", textwrap.dedent(PEER), *arguments, stdout=asyncio.subprocess.PIPE
        )
        return await self.line()

    async def line(self) -> str:
        assert self.process.stdout is not None
        return (await within(self.process.stdout.readline(), 30)).decode().strip()

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    peer = Peer()
    yield peer
    await peer.stop()


async def test_a_killed_server_ends_receive(peer: Peer):
    """A client knows at once when the process of its servicer is killed."""
    port = await peer.start("serve")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        end = duplex.of_call(channel.stream_stream(PATH)())
        kept = Kept()
        receiving = asyncio.create_task(end.receive(kept))
        end.send(b"x")
        await kept.until(1)
        peer.process.kill()
        with pytest.raises(UnavailableError):
            await within(receiving, 2)
        end.send(b"y")
        await within(end.close())


async def test_a_killed_client_ends_receive(peer: Peer):
    """A servicer knows at once when its client is killed: `receive` ends, and the handler is cancelled."""
    outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def method(_requests: Any, context: Any) -> None:
        end = duplex.of_context(context)
        try:
            await end.receive(end.send)
            await asyncio.sleep(5)
            outcome.set_result("went on")
        except asyncio.CancelledError:
            outcome.set_result("cancelled")
            raise

    server = grpc.aio.server(handlers=[Run(method)], options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    assert await peer.start("call", str(port)) == "hello"
    peer.process.kill()
    assert await within(outcome, 2) == "cancelled"
    await server.stop(None)


async def test_a_frozen_server_is_lost(peer: Peer, monkeypatch: pytest.MonkeyPatch):
    """A servicer whose process is stopped takes nothing after a while, and is given up after `WRITE_TIMEOUT`."""
    monkeypatch.setattr(outbox, "WRITE_TIMEOUT", 0.5)
    port = await peer.start("serve")
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        end = duplex.of_call(channel.stream_stream(PATH)())
        kept = Kept()
        receiving = asyncio.create_task(end.receive(kept))
        end.send(b"x")
        await kept.until(1)
        os.kill(peer.process.pid, signal.SIGSTOP)
        for _ in range(300):
            end.send(bytes(100_000))
        await within(end.drain())
        with pytest.raises(UnavailableError, match="did not take"):
            await within(receiving)
        os.kill(peer.process.pid, signal.SIGCONT)


async def test_an_idle_call_needs_no_task(over_grpc: Transport):
    """Between messages an end has one task that reads, and nothing else."""
    end = await over_grpc.open(echo)
    kept = Kept()
    receiving = asyncio.create_task(end.receive(kept))
    end.send(b"x")
    await kept.until(1)
    gc.collect()
    ours = [task for task in asyncio.all_tasks() if "read_all" in repr(task.get_coro())]
    assert len(ours) == 2
    assert not [task for task in asyncio.all_tasks() if "rite" in repr(task.get_coro())]
    end.abandon()
    await asyncio.wait({receiving})
