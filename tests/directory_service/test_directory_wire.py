"""``DirectorySP`` over real gRPC: registering, deregistering and inquiring."""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import time

import grpc
import pytest
from directory_helpers import client_entry, details, endpoint

from cogment_core.api import common_pb2, directory_pb2, directory_pb2_grpc
from cogment_core.channels import open_channel
from cogment_core.logs import TRACE
from cogment_services.directory import DirectoryServer
from cogment_services.directory.limits import DirectoryLimits
from cogment_services.directory.registry import Policy
from cogment_services.directory.tokens import digest

PATIENCE = 20.0


def ids(found) -> list[int]:
    return [data.service_id for data in found]


# --- registering ------------------------------------------------------------------------------------------------------


async def test_a_service_is_found_as_it_was_registered(directory, run_peer) -> None:
    """By its number, and by its type and properties, as soon as the registration is answered."""
    peer = await run_peer()
    reply = await directory.registered(peer.entry(__implementation="it", color="red"))
    assert 0 < reply.service_id < 1 << 63
    assert len(reply.secret) >= 22  # 128 bits
    expected = directory_pb2.FullServiceData(
        endpoint=endpoint(peer.port),
        service_id=reply.service_id,
        details=details(3, __implementation="it", color="red"),
    )
    assert await directory.find_id(reply.service_id) == [expected]
    assert await directory.find(3, color="red") == [expected]
    assert await directory.find(0) == [expected]
    assert await directory.find(3, color="blue") == []
    assert await directory.find(4, color="red") == []
    assert await directory.find_id(reply.service_id + 1) == []


async def test_there_is_a_reply_for_each_request_of_a_stream(directory) -> None:
    """Also after a refusal, and before the end of the stream."""
    bad = directory_pb2.RegisterRequest(endpoint=endpoint(1, ""), details=details())
    replies = await directory.exchange(directory.stub.Register, client_entry(), bad, client_entry())
    assert [reply.status for reply in replies] == [1, 2, 1]
    removals = [directory_pb2.DeregisterRequest(service_id=reply.service_id, secret=reply.secret) for reply in replies]
    gone = await directory.exchange(directory.stub.Deregister, *removals)
    assert [reply.status for reply in gone] == [1, 2, 1]
    assert await directory.find() == []


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (directory_pb2.RegisterRequest(), "no host"),
        (directory_pb2.RegisterRequest(details=details()), "no host"),
        (directory_pb2.RegisterRequest(endpoint=endpoint(1)), "type 0"),
        (directory_pb2.RegisterRequest(endpoint=endpoint(1, ""), details=details()), "no host"),
        (directory_pb2.RegisterRequest(endpoint=endpoint(1, "h", 0), details=details()), "protocol 0"),
        (directory_pb2.RegisterRequest(endpoint=endpoint(1, "h", 9), details=details()), "protocol 9"),
        (directory_pb2.RegisterRequest(endpoint=endpoint(1), details=details(10)), "type 10"),
        (directory_pb2.RegisterRequest(endpoint=endpoint(1), details=details(101)), "type 101"),
        (directory_pb2.RegisterRequest(endpoint=endpoint(0), details=details()), "port"),
        (directory_pb2.RegisterRequest(endpoint=endpoint(70_000), details=details()), "port"),
        (directory_pb2.RegisterRequest(endpoint=endpoint(70_000, "client", 3), details=details()), "port"),
        (directory_pb2.RegisterRequest(endpoint=endpoint(1, "unix:/x"), details=details()), "name or the IP address"),
        (directory_pb2.RegisterRequest(endpoint=endpoint(1, "a\x1b[2Jb"), details=details()), "name or the IP address"),
        (
            directory_pb2.RegisterRequest(endpoint=endpoint(80, "169.254.169.254"), details=details(), permanent=True),
            "metadata",
        ),
        (directory_pb2.RegisterRequest(endpoint=endpoint(80, "169.254.169.254"), details=details(100)), "metadata"),
        (
            directory_pb2.RegisterRequest(
                endpoint=endpoint(0, "client", 3), details=details(3, **{str(number): "" for number in range(65)})
            ),
            "65 properties",
        ),
        (
            directory_pb2.RegisterRequest(endpoint=endpoint(0, "client", 3), details=details(3, name="x" * 9000)),
            "bytes of properties",
        ),
    ],
)
async def test_what_is_wrong_is_said_in_the_reply(directory, request_, reason) -> None:
    """Never as a gRPC error, and nothing is registered."""
    assert reason in await directory.refused(request_)
    assert await directory.status("nb_entries") == {"nb_entries": "0"}


async def test_a_request_that_is_too_long_ends_its_call_only(directory) -> None:
    """Before it is parsed."""
    huge = client_entry(name="x" * 100_000)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await directory.register(huge)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await directory.registered(client_entry())


async def test_transient_services_are_registered_as_often_as_they_ask(directory, run_peer) -> None:
    """The same endpoint twice is two entries, with secrets of their own; the newest comes first."""
    peer = await run_peer()
    replies = [await directory.registered(peer.entry()) for _ in range(3)]
    assert len({reply.secret for reply in replies}) == 3
    assert ids(await directory.find(3)) == [reply.service_id for reply in reversed(replies)]


async def test_a_permanent_entry_is_replaced_by_the_next(directory) -> None:
    """It keeps its number and its secret; it is not checked, and does not replace what is not permanent."""
    transient = await directory.registered(client_entry(color="red"))

    def at(host: str, **properties: str) -> directory_pb2.RegisterRequest:
        return directory_pb2.RegisterRequest(
            endpoint=endpoint(9, host), details=details(3, **properties), permanent=True
        )

    first = await directory.registered(at("nowhere.invalid", color="red"))
    other = await directory.registered(at("nowhere.invalid", color="blue"))
    second = await directory.registered(at("elsewhere.invalid", color="red"))
    assert (second.service_id, second.secret) == (first.service_id, first.secret)
    found = {data.service_id: data for data in await directory.find(3)}
    assert found.keys() == {transient.service_id, first.service_id, other.service_id}
    assert found[first.service_id].endpoint.host == "elsewhere.invalid"
    assert found[first.service_id].permanent
    # Without properties, all permanent ones of the type are the same: one is left, the newest.
    third = await directory.registered(at("anywhere.invalid"))
    assert third.service_id == other.service_id
    assert set(ids(await directory.find(3))) == {transient.service_id, other.service_id}


async def test_all_entries_can_be_made_permanent(run_directory) -> None:
    """Then they are not checked, and replace each other."""
    directory = await run_directory(policy=Policy(force_permanent=True))
    request = directory_pb2.RegisterRequest(endpoint=endpoint(9, "nowhere.invalid"), details=details())
    first, second = [await directory.registered(request) for _ in range(2)]
    assert first == second
    assert [data.permanent for data in await directory.find(3)] == [True]


async def test_a_service_that_cannot_be_reached_is_registered_and_hidden(directory) -> None:
    """The reply says nothing of it, as it never did."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        request = directory_pb2.RegisterRequest(endpoint=endpoint(unused.getsockname()[1]), details=details())
        reply = await directory.registered(request)
    assert await directory.find(3) == []
    assert await directory.find_id(reply.service_id) == []
    assert await directory.status("nb_entries") == {"nb_entries": "1"}
    assert (await directory.deregister(reply.service_id, reply.secret)).status == 1


# --- who may do what --------------------------------------------------------------------------------------------------


async def test_only_the_owner_deregisters(directory) -> None:
    """With the token and the secret; which of them is wrong is not said."""
    mine, other = directory.as_("mine"), directory.as_("other")
    reply = await mine.registered(client_entry())
    wrong = [
        await mine.deregister(reply.service_id, "wrong"),
        await mine.deregister(reply.service_id, ""),
        await mine.deregister(reply.service_id, "\N{SNOWMAN}"),
        await other.deregister(reply.service_id, reply.secret),
        await directory.deregister(reply.service_id, reply.secret),
    ]
    assert {(answer.status, answer.error_msg) for answer in wrong} == {(2, "authentication failed")}
    unknown = await mine.deregister(reply.service_id ^ 1, reply.secret)
    assert (unknown.status, unknown.error_msg) == (2, f"service {reply.service_id ^ 1} is unknown")
    assert (await mine.deregister(reply.service_id, reply.secret)).status == 1
    assert (await mine.deregister(reply.service_id, reply.secret)).status == 2


async def test_inquiries_see_the_entries_of_their_token_only(directory) -> None:
    """No token is a token like others, and nobody is told that there is more."""
    mine, other = directory.as_("mine"), directory.as_("other")
    replies = [await caller.registered(client_entry()) for caller in (mine, other, directory)]
    for caller, reply in zip((mine, other, directory), replies, strict=True):
        assert ids(await caller.find()) == [reply.service_id]
        assert [len(await caller.find_id(it.service_id)) for it in replies] == [int(it is reply) for it in replies]
    assert await directory.as_("min").find() == []


async def test_a_name_belongs_to_the_token_that_had_it_first(directory) -> None:
    """No other token, and nobody without one, gets it; the owner does, and inquiries still give the owner's (F3)."""
    mine, other = directory.as_("mine"), directory.as_("other")
    entry = client_entry(3, __implementation="bot", __actor_class="player")
    first = await mine.registered(entry)
    for thief in (other, directory):
        assert "permission denied" in await thief.refused(entry)
        taken = client_entry(3, permanent=True, __implementation="bot", __actor_class="player", more="x")
        assert "permission denied" in await thief.refused(taken)
    assert ids(await mine.find(3, __implementation="bot")) == [first.service_id]
    second = await mine.registered(entry)
    for distinct in (
        client_entry(3, __implementation="bot", __actor_class="watcher"),
        client_entry(4, __implementation="bot"),
        client_entry(3, __implementation="other", __actor_class="player"),
    ):
        await other.registered(distinct)
    for reply in (first, second):
        assert "permission denied" in await other.refused(entry)
        await mine.deregister(reply.service_id, reply.secret)
    await other.registered(entry)


async def test_services_without_a_name_are_no_names_to_take(directory) -> None:
    """Each project can have its own datastore, and no project can keep others from having one."""
    for token in ("mine", "other", None):
        await directory.as_(token).registered(client_entry(7, project="x"))


async def test_names_without_token_are_nobodys(directory) -> None:
    """Who has a token gets them, and then nobody else does: squatting without token is no use."""
    entry = client_entry(3, __implementation="bot")
    await directory.registered(entry)
    mine = directory.as_("mine")
    owned = await mine.registered(entry)
    assert "permission denied" in await directory.refused(entry)
    assert ids(await mine.find(3)) == [owned.service_id]


async def test_a_directory_can_ask_for_tokens_that_it_knows(run_directory) -> None:
    """Others get nothing, not even an empty answer."""
    directory = await run_directory(policy=Policy(tokens=frozenset([digest("mine")])))
    mine = directory.as_("mine")
    reply = await mine.registered(client_entry())
    assert ids(await mine.find()) == [reply.service_id]
    for stranger in (directory, directory.as_("other")):
        assert "authentication failed" in await stranger.refused(client_entry())
        assert "authentication failed" in (await stranger.deregister(reply.service_id, reply.secret)).error_msg
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stranger.find()
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_two_different_tokens_are_refused(directory) -> None:
    """It would depend on the reader which one counts; the same one twice is fine."""
    directory.metadata = (("authentication-token", "a"), ("authentication-token", "b"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await directory.find()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    call = directory.stub.Register(metadata=directory.metadata, timeout=PATIENCE)
    assert await call.code() is grpc.StatusCode.INVALID_ARGUMENT
    directory.metadata = (("authentication-token", "a"),) * 2
    assert await directory.find() == []


async def test_numbers_and_secrets_cannot_be_guessed(directory) -> None:
    """They have nothing to do with each other, or with time (F12)."""
    replies = [await directory.registered(client_entry(number=str(number))) for number in range(64)]
    numbers = [reply.service_id for reply in replies]
    assert len(set(numbers)) == len({reply.secret for reply in replies}) == 64
    assert numbers != sorted(numbers)
    assert max(numbers) > 1 << 58
    assert min(reply.secret for reply in replies)[0] != max(reply.secret for reply in replies)[0]


# --- floods -----------------------------------------------------------------------------------------------------------


async def test_entries_are_limited_per_token_and_in_all(run_directory) -> None:
    """Who wants more is told the limit; changing a permanent entry needs no more room."""
    directory = await run_directory(limits=DirectoryLimits(entries=5, entries_per_token=3))
    mine = directory.as_("mine")
    for number in range(3):
        await mine.registered(client_entry(permanent=True, number=str(number)))
    assert "3 entries of this token" in await mine.refused(client_entry())
    await mine.registered(client_entry(permanent=True, number="0"))
    for _ in range(2):
        await directory.registered(client_entry())
    assert "5 entries in this Directory" in await directory.as_("another").refused(client_entry())


async def test_registrations_are_limited_per_address(run_directory) -> None:
    """A new token for each request is no way around it."""
    directory = await run_directory(limits=DirectoryLimits(burst=5, rate=0.001))
    for number in range(5):
        await directory.as_(f"token {number}").registered(client_entry())
    assert "too many registrations" in await directory.as_("another token").refused(client_entry())


async def test_a_flood_from_one_address_leaves_others_theirs(run_directory, monkeypatch) -> None:
    """Neither those without a token, nor those with the same one, are locked out by it."""
    address = ["10.0.0.1"]
    monkeypatch.setattr("cogment_services.directory.requests._address", lambda _: (address[0], True))
    directory = await run_directory(limits=DirectoryLimits(burst=5, rate=0.001))
    mine = directory.as_("mine")
    for _ in range(5):
        await directory.registered(client_entry())
    for _ in range(6):
        assert "too many registrations" in await directory.refused(client_entry())
        assert "too many registrations" in await mine.refused(client_entry())
    address[0] = "10.0.0.2"
    await directory.registered(client_entry())
    await mine.registered(client_entry())


async def test_registrations_are_limited_per_token(run_directory, monkeypatch) -> None:
    """A new address for each request is no way around it."""
    addresses = itertools.count()
    monkeypatch.setattr("cogment_services.directory.requests._address", lambda _: (str(next(addresses)), True))
    directory = await run_directory(limits=DirectoryLimits(burst=5, rate=0.001))
    for _ in range(5):
        await directory.as_("mine").registered(client_entry())
    assert "too many registrations" in await directory.as_("mine").refused(client_entry())


async def test_inquiries_that_ask_for_too_much_are_refused(directory) -> None:
    """With a status of their own."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await directory.find(3, **{str(number): "" for number in range(65)})
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_caller_elsewhere_cannot_have_this_machine_looked_at(directory, monkeypatch) -> None:
    """Not the loopback address of the Directory, nor by its name."""
    monkeypatch.setattr("cogment_services.directory.requests.is_loopback", lambda _: False)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        listening.settimeout(0.1)
        port = listening.getsockname()[1]
        for host in ("127.0.0.1", "localhost", "::ffff:127.0.0.1", "127.1"):
            request = directory_pb2.RegisterRequest(endpoint=endpoint(port, host), details=details(100))
            assert "machine of the Directory" in await directory.refused(request)
        with pytest.raises(TimeoutError):
            listening.accept()


async def test_a_name_is_judged_by_its_addresses(directory, monkeypatch) -> None:
    """A name that leads to a forbidden address is refused, and nothing connects to it."""
    connected: list[object] = []
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("169.254.169.254", 80))])

    async def connect(*args: object, **_: object) -> None:
        connected.append(args)
        raise OSError

    monkeypatch.setattr("asyncio.open_connection", connect)
    request = directory_pb2.RegisterRequest(endpoint=endpoint(80, "rebound.example"), details=details(100))
    assert "metadata" in await directory.refused(request)
    assert connected == []
    assert await directory.status("nb_entries") == {"nb_entries": "0"}


# --- inquiring --------------------------------------------------------------------------------------------------------


async def test_an_empty_inquiry_is_no_inquiry(directory) -> None:
    """Empty details are one, for everything."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        _ = [reply async for reply in directory.stub.Inquire(directory_pb2.InquireRequest(), timeout=PATIENCE)]
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    assert "empty request" in str(caught.value.details())
    reply = await directory.registered(client_entry())
    assert ids(await directory.find()) == [reply.service_id]


async def test_empty_values_are_values(directory) -> None:
    """There is no wildcard: an empty one matches an empty one only, and case counts."""
    await directory.registered(client_entry(flag="", color="Red"))
    assert len(await directory.find(3, flag="")) == 1
    assert await directory.find(3, color="") == []
    assert await directory.find(3, color="red") == []
    assert await directory.find(3, other="") == []


async def test_an_inquiry_waits_for_a_registration(run_directory) -> None:
    """It is answered as soon as there is what it asks for, not with the next poll."""
    directory = await run_directory(policy=Policy(registration_lag=PATIENCE))
    asked = [asyncio.ensure_future(directory.find(3, color="red")) for _ in range(5)]
    other = asyncio.ensure_future(directory.find(3, color="blue"))
    await directory.until(lambda: _waiting(directory, 6))
    began = time.monotonic()
    reply = await directory.registered(client_entry(color="red"))
    for found in await asyncio.gather(*asked):
        assert ids(found) == [reply.service_id]
    assert time.monotonic() - began < 5.0
    assert not other.done()
    other.cancel()
    await directory.until(lambda: _waiting(directory, 0))


async def _waiting(directory, number: int) -> bool:
    return len(directory.server._registry._waiters) == number


async def test_an_inquiry_waits_no_longer_than_the_lag(run_directory) -> None:
    """Then nothing is found; what is there is found at once."""
    directory = await run_directory(policy=Policy(registration_lag=0.2))
    began = time.monotonic()
    assert await directory.find(3) == []
    assert time.monotonic() - began >= 0.2


async def test_waiting_inquiries_end_with_the_directory(run_directory) -> None:
    """They do not hold up its end."""
    directory = await run_directory(policy=Policy(registration_lag=600.0))
    asked = asyncio.ensure_future(directory.find(3))
    await directory.until(lambda: _waiting(directory, 1))
    began = time.monotonic()
    await directory.server.close(PATIENCE)
    assert time.monotonic() - began < PATIENCE / 2
    assert await asked == []


async def test_whoever_is_in_a_hurry_does_not_wait_for_the_grace(run_directory) -> None:
    """Closed again with no grace, it ends at once, whatever streams are open."""
    directory = await run_directory()
    call = directory.stub.Register()
    await call.write(client_entry())
    assert (await call.read()).status == 1
    closing = asyncio.ensure_future(directory.server.close(600.0))
    await asyncio.sleep(0.05)
    assert not closing.done()
    await asyncio.wait_for(directory.server.close(0.0), PATIENCE)
    await asyncio.wait_for(closing, PATIENCE)


async def test_load_balancing_hands_out_the_least_busy(run_directory, run_peer) -> None:
    """And none that takes nothing more."""
    directory = await run_directory(policy=Policy(load_balancing=True))
    expected = set()
    for load, is_found in (("50", True), ("60", True), ("61", False), ("255", False), ("200", False)):
        peer = await run_peer()
        peer.load = load
        reply = await directory.registered(peer.entry())
        if is_found:
            expected.add(reply.service_id)
    assert set(ids(await directory.find(3))) == expected
    assert await directory.status("load_balancing") == {"load_balancing": "enabled"}


async def test_services_can_be_checked_before_they_are_found(run_directory, run_peer) -> None:
    """One that has gone is not handed out."""
    directory = await run_directory(policy=Policy(check_on_inquire=True))
    peers = [await run_peer(), await run_peer()]
    replies = [await directory.registered(peer.entry()) for peer in peers]
    await peers[0].stop()
    await directory.until(lambda: _finds(directory, [replies[1].service_id]))
    asked = peers[1].asked
    await asyncio.sleep(0.11)  # a result counts for 0.1 s
    assert ids(await directory.find(3)) == [replies[1].service_id]
    assert peers[1].asked > asked


async def _finds(directory, expected: list[int]) -> bool:
    return ids(await directory.find(3)) == expected


async def test_an_inquiry_among_ten_thousand_entries_is_fast(directory) -> None:
    """Milliseconds, of which most are gRPC's (measured: see the documentation; the bound allows for a busy machine)."""
    registry = directory.server._registry
    from cogment_services.directory.records import Record, Target
    from cogment_services.directory.tokens import NOBODY

    target = Target(3, "client", 0, 3, True)
    for number in range(1, 10_001):
        properties = {"__implementation": f"bot {number}", "__actor_class": "player", "__version": "3"}
        registry._add(Record(number, "", NOBODY, number, False, target, properties))
    times = []
    for number in range(1, 2_000, 100):
        began = time.perf_counter()
        assert ids(await directory.find(3, __implementation=f"bot {number}", __actor_class="player")) == [number]
        times.append(time.perf_counter() - began)
    assert sorted(times)[len(times) // 2] < 0.05


# --- the rest of the service ------------------------------------------------------------------------------------------


async def test_status_version_and_health(directory) -> None:
    """As all services."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    assert await directory.status() == {}
    assert await directory.status("overall_load", "what?") == {"overall_load": "0"}
    assert await directory.status("*") == {"overall_load": "0", "nb_entries": "0", "load_balancing": "disabled"}
    version = await directory.stub.Version(common_pb2.VersionRequest(), timeout=PATIENCE)
    assert "cogment" in {entry.name for entry in version.versions}
    health = health_pb2_grpc.HealthStub(directory.channel)
    reply = await health.Check(health_pb2.HealthCheckRequest(service="cogmentAPI.DirectorySP"), timeout=PATIENCE)
    assert reply.status == reply.SERVING


async def test_metrics_count_what_happens(run_directory, run_peer) -> None:
    """Entries by type, registrations, inquiries and checks."""
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    directory = await run_directory(prometheus_registry=registry)
    peer = await run_peer()
    reply = await directory.registered(peer.entry())
    await directory.refused(directory_pb2.RegisterRequest())
    await directory.find(3)
    await directory.find(4)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"directory_{name}", labels)

    assert value("entries", type="ACTOR_SERVICE") == 1
    assert value("registrations_total", result="ok") == value("registrations_total", result="failed") == 1
    assert value("inquiries_total", result="found") == value("inquiries_total", result="empty") == 1
    assert value("health_checks_total", result="healthy") == 1
    await directory.deregister(reply.service_id, reply.secret)
    assert value("entries", type="ACTOR_SERVICE") == 0


async def test_a_directory_can_be_embedded() -> None:
    """Without a port, for callers in the same process."""
    async with DirectoryServer() as server:
        assert (server.port, server.listening) == (0, "[port:0]")
        channel = open_channel(server.endpoint)
        stub = directory_pb2_grpc.DirectorySPStub(channel)
        call = stub.Register()
        await call.write(client_entry())
        reply = await call.read()
        assert reply.status == reply.OK
        found = [it.data async for it in stub.Inquire(directory_pb2.InquireRequest(service_id=reply.service_id))]
        assert ids(found) == [reply.service_id]
        await channel.close()


async def test_a_stream_on_which_nothing_is_asked_ends(directory, monkeypatch) -> None:
    """Nobody holds streams open for nothing."""
    monkeypatch.setattr("cogment_services.directory.service.IDLE", 0.05)
    call = directory.stub.Register(timeout=PATIENCE)
    assert await call.read() is grpc.aio.EOF
    assert await call.code() is grpc.StatusCode.OK


async def test_secrets_are_in_no_log_metric_error_or_repr(run_directory, run_peer, caplog, tmp_path) -> None:
    """Tokens and secrets, at the finest level, in everything that goes right and wrong (F11)."""
    from prometheus_client import CollectorRegistry, generate_latest

    caplog.set_level(TRACE, logger="cogment.sdk")
    caplog.set_level(logging.DEBUG)
    registry = CollectorRegistry()
    directory = await run_directory(tmp_path / "file", prometheus_registry=registry)
    mine, other = directory.as_("planted-token-1"), directory.as_("planted-token-2")
    peer = await run_peer()
    entry = peer.entry(__implementation="bot")
    reply = await mine.registered(entry)
    said = [await other.refused(entry), await directory.refused(entry)]
    said += [(await caller.deregister(reply.service_id, "planted-secret")).error_msg for caller in (mine, other)]
    await mine.find()
    directory.metadata = (("authentication-token", "planted-token-1"), ("authentication-token", "planted-token-2"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await directory.find()
    said.append(str(caught.value))
    service = directory.server._registry
    said += [
        repr(list(service._records)),
        repr(service.policy),
        repr(vars(service)),
        generate_latest(registry).decode(),
    ]
    await mine.deregister(reply.service_id, reply.secret)
    said.append(caplog.text)
    assert "registered" in caplog.text
    for secret in ("planted-token-1", "planted-token-2", "planted-secret", reply.secret):
        assert [text for text in said if secret in text] == []


# --- what fresh eyes found


async def test_an_unknown_number_is_not_waited_for(run_directory) -> None:
    """Services ask by number whether they are still registered: with a long lag, too, they know soon if not."""
    directory = await run_directory(policy=Policy(registration_lag=600.0))
    reply = await directory.registered(client_entry())
    began = time.monotonic()
    assert ids(await directory.find_id(reply.service_id)) == [reply.service_id]
    assert await directory.find_id(reply.service_id ^ 1) == []
    assert await directory.as_("other").find_id(reply.service_id) == []
    assert time.monotonic() - began < 10.0


async def test_of_two_tokens_that_want_a_name_at_once_one_gets_it(directory) -> None:
    """F3: registered at the same time, a name belongs to one of them, and only that one's entries are found."""
    callers = [directory.as_(f"token-{number % 2}") for number in range(20)]
    replies = await asyncio.gather(*(caller.register(client_entry(__implementation="world")) for caller in callers))
    winners = {number % 2 for number, reply in enumerate(replies) if reply.status == reply.OK}
    assert len(winners) == 1
    (winner,) = winners
    assert all((reply.status == reply.OK) is (number % 2 == winner) for number, reply in enumerate(replies))
    assert len(await directory.as_(f"token-{winner}").find(3)) == 10
    assert await directory.as_(f"token-{1 - winner}").find(3) == []
