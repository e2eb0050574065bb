"""Health checks: who does not answer is hidden, and then removed, and is in nobody's way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import grpc.aio
import pytest
from directory_helpers import FAST, PATIENCE, RARE, details, endpoint

from cogment_core.api import directory_pb2
from cogment_services.addresses import Resolver
from cogment_services.directory.health import Schedule, Slots
from cogment_services.directory.probes import Verdict, probe
from cogment_services.directory.records import Target


@contextlib.asynccontextmanager
async def tcp_server(answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]) -> AsyncIterator[int]:
    """Something that listens, and does what the test wants with connections."""
    writers = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        answer(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    for writer in writers:
        writer.close()
    server.close()
    await server.wait_closed()


def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept, and say nothing: what a frozen process does."""


def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take what comes, and close."""

    async def take() -> None:
        await reader.readline()
        writer.close()

    tasks.append(asyncio.ensure_future(take()))


tasks: list[asyncio.Future[None]] = []


def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with much more than anybody wants."""
    writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 1_000_000)


def target(port: int, kind: int = 3, protocol: int = 1, host: str = "127.0.0.1") -> Target:
    return Target(protocol, host, port, kind, True)


def request(port: int, kind: int = 3, protocol: int = 1) -> directory_pb2.RegisterRequest:
    return directory_pb2.RegisterRequest(endpoint=endpoint(port, protocol=protocol), details=details(kind))


# --- one look ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("said", "load"), [("7", 7), ("255", 255), ("0", 0), ("256", 0), ("-1", 0), ("", 0), ("x", 0)])
async def test_the_load_is_what_the_service_says(run_peer, said, load) -> None:
    """A number from 0 to 255; nothing else counts."""
    peer = await run_peer()
    peer.load = said
    assert await probe(target(peer.port), PATIENCE, Resolver()) == Verdict(True, load)
    assert await probe(target(peer.port, host="localhost"), PATIENCE, Resolver()) == Verdict(True, load)


async def test_services_without_status_are_asked_for_their_version(run_peer) -> None:
    """They are older; their load is not known."""
    peer = await run_peer()
    peer.has_status = False
    assert await probe(target(peer.port), PATIENCE, Resolver()) == Verdict(True, 0)


@pytest.mark.parametrize("is_serving", [True, False])
async def test_services_of_another_kind_are_asked_for_their_health(is_serving) -> None:
    """By the protocol that all of gRPC has for it."""
    from grpc_health.v1 import health, health_pb2, health_pb2_grpc

    server = grpc.aio.server()
    servicer = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    if not is_serving:
        await servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    else:
        await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    verdict = await probe(target(port), PATIENCE, Resolver())
    await server.stop(None)
    assert verdict == Verdict(is_serving, 0)


async def test_a_service_that_refuses_is_known_at_once() -> None:
    """Nobody waits for what is not there."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        for kind in (3, 100):
            began = time.monotonic()
            assert await probe(target(unused.getsockname()[1], kind), 60.0, Resolver()) == Verdict(False)
            assert time.monotonic() - began < PATIENCE


@pytest.mark.parametrize("kind", [3, 100])
async def test_a_service_that_says_nothing_is_given_up(kind) -> None:
    """In time, whatever is spoken with it."""
    async with tcp_server(silent) as port:
        began = time.monotonic()
        assert await probe(target(port, kind), 0.3, Resolver()) == Verdict(False)
        assert time.monotonic() - began < PATIENCE / 2


@pytest.mark.parametrize("answer", [closing, answering])
@pytest.mark.parametrize(("kind", "protocol"), [(100, 1), (100, 2), (3, 2)])
async def test_services_that_are_not_known_have_to_answer_a_connection(answer, kind, protocol) -> None:
    """With anything, or with an orderly end; nothing of it is read but the first byte."""
    async with tcp_server(answer) as port:
        assert await probe(target(port, kind, protocol), PATIENCE, Resolver()) == Verdict(True)


async def test_what_is_sent_is_always_the_same() -> None:
    """Nothing that a caller chose: the Directory cannot be made to speak for others."""
    received: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def take() -> None:
            received.set_result(await reader.read(1000))
            writer.close()

        tasks.append(asyncio.ensure_future(take()))

    async with tcp_server(listen) as port:
        await probe(target(port, 100, host="localhost"), PATIENCE, Resolver())
        assert await asyncio.wait_for(received, PATIENCE) == b"OPTIONS / HTTP/1.0\r\n\r\n"


# --- their consequences -----------------------------------------------------------------------------------------------


async def test_a_service_that_dies_is_hidden_and_then_removed(run_directory, run_peer) -> None:
    """And the one beside it stays."""
    directory = await run_directory(schedule=FAST)
    dying, staying = await run_peer(), await run_peer()
    first, second = [await directory.registered(peer.entry()) for peer in (dying, staying)]
    await dying.stop()
    await directory.until(lambda: _finds(directory, [second.service_id]))
    await directory.until(lambda: _counts(directory, 1))
    assert await directory.find_id(first.service_id) == []
    gone = await directory.deregister(first.service_id, first.secret)
    assert "unknown" in gone.error_msg
    assert await _finds(directory, [second.service_id])


async def test_a_service_that_comes_back_is_found_again(run_directory, run_peer) -> None:
    """It was hidden, not removed."""
    directory = await run_directory(schedule=replace(FAST, grpc_rounds=(PATIENCE / 4,) * 2))
    peer = await run_peer()
    reply = await directory.registered(peer.entry())
    await peer.stop()
    registry = directory.server._registry
    await asyncio.wait_for(registry._checks.check(target(peer.port), 1), PATIENCE)
    assert await _finds(directory, [])
    again = await run_peer(peer.port)
    await directory.until(lambda: _finds(directory, [reply.service_id]))
    assert again.asked


async def test_a_service_may_start_while_it_is_registered(run_directory, run_peer) -> None:
    """The first check does not give up at once, and the registration does not wait for it for ever."""
    schedule = replace(RARE, grpc_rounds=(0.2, PATIENCE), registration=0.3)
    directory = await run_directory(schedule=schedule)
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    registering = asyncio.ensure_future(directory.registered(request(port)))
    await directory.until(lambda: _counts(directory, 1))
    await run_peer(port)
    reply = await registering
    await directory.until(lambda: _finds(directory, [reply.service_id]))


async def test_services_that_say_nothing_block_nobody(run_directory, run_peer) -> None:
    """Neither registrations of others, nor inquiries, nor the end; their own is answered in time, and hidden."""
    schedule = replace(RARE, grpc_rounds=(PATIENCE * 10,), tcp_rounds=(PATIENCE * 10,), registration=0.2)
    directory = await run_directory(schedule=schedule)
    peer = await run_peer()
    async with tcp_server(silent) as port:
        began = time.monotonic()
        flood = [directory.as_("frozen").registered(request(port, kind)) for kind in (1, 2, 3, 4, 5, 6, 7, 8, 9, 100)]
        flood += [directory.as_("frozen").registered(request(port, 3, 2))]
        frozen, mine = await asyncio.gather(asyncio.gather(*flood), directory.registered(peer.entry()))
        assert await _finds(directory, [mine.service_id])
        assert await directory.as_("frozen").find() == []
        assert len({reply.service_id for reply in frozen}) == len(flood)
        await directory.server.close(0.0)
        assert time.monotonic() - began < PATIENCE


async def test_one_owners_frozen_services_leave_room_for_others(run_directory, run_peer) -> None:
    """However many there are: each owner has a share of the checks."""
    schedule = replace(RARE, grpc_rounds=(PATIENCE * 10,), registration=0.0)
    directory = await run_directory(schedule=schedule)
    directory.server._registry._checks._slots = Slots(36, 32)
    hostile = directory.as_("hostile")
    peer = await run_peer()
    async with contextlib.AsyncExitStack() as stack:
        ports = [await stack.enter_async_context(tcp_server(silent)) for _ in range(40)]
        await hostile.exchange(hostile.stub.Register, *(request(port) for port in ports))
        reply = await directory.registered(peer.entry())
        await directory.until(lambda: _finds(directory, [reply.service_id]))
        await directory.server.close(0.0)


async def test_entries_of_the_same_service_are_checked_together(run_directory, run_peer) -> None:
    """A thousand registrations of a victim's address are no thousand connections to it."""
    directory = await run_directory()
    peer = await run_peer()
    for number in range(20):
        await directory.registered(peer.entry(number=str(number)))
    assert len(await directory.find(3)) == 20
    assert peer.asked < 20  # one, on a machine that is not very busy


async def test_a_service_that_becomes_healthy_ends_the_wait_for_it(run_directory, run_peer) -> None:
    """Inquiries that wait are told of it."""
    from cogment_services.directory.registry import Policy

    directory = await run_directory(schedule=FAST, policy=Policy(registration_lag=PATIENCE))
    peer = await run_peer()
    peer.answers.clear()
    registering = asyncio.ensure_future(directory.registered(peer.entry()))
    await directory.until(lambda: _counts(directory, 1))
    asking = asyncio.ensure_future(directory.find(3))
    peer.answers.set()
    reply = await registering
    assert [data.service_id for data in await asking] == [reply.service_id]


def test_the_usual_schedule_is_the_documented_one() -> None:
    """Once a minute; removed after two of them."""
    assert (Schedule().period, Schedule().scan, len(Schedule().grpc_rounds)) == (60.0, 5.0, 3)


async def _finds(directory, expected: list[int]) -> bool:
    return [data.service_id for data in await directory.find()] == expected


async def _counts(directory, expected: int) -> bool:
    return (await directory.status("nb_entries"))["nb_entries"] == str(expected)
