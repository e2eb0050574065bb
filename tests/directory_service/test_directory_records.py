"""What a Directory knows, without clock, network or files."""

from __future__ import annotations

import asyncio
import ipaddress
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogment_core.api.directory_pb2 import ServiceEndpoint
from cogment_core.errors import EndpointError
from cogment_services.addresses import Resolver, as_ip, check_address, check_host, is_loopback
from cogment_services.directory.choice import balanced
from cogment_services.directory.limits import Budget
from cogment_services.directory.records import Record, Records, Target
from cogment_services.directory.waiters import Waiters

OWNERS = (b"a", b"b")
NAMES = st.sampled_from(["__implementation", "__actor_class", "x"])
PROPERTIES = st.dictionaries(NAMES, st.sampled_from(["", "1", "2"]), max_size=3)
TYPES = st.sampled_from([3, 4])


def make(service_id: int, owner: bytes = b"a", kind: int = 3, port: int = 1, **properties: str) -> Record:
    target = Target(ServiceEndpoint.GRPC, "host", port, kind, False)
    return Record(service_id, "secret", owner, service_id, False, target, properties)


RECORDS = st.lists(st.tuples(st.sampled_from(OWNERS), TYPES, st.integers(1, 3), PROPERTIES), max_size=12)


@given(RECORDS, st.sets(st.integers(1, 12)), st.sampled_from(OWNERS), st.sampled_from([0, 3, 4]), PROPERTIES)
def test_the_index_finds_what_a_search_would(added, removed, owner, kind, wanted) -> None:
    """Whatever was added and removed: the owner's entries of the type with all the properties, newest first."""
    records = Records()
    kept: list[Record] = []
    for number, (whose, what, port, properties) in enumerate(added, start=1):
        record = make(number, whose, what, port, **properties)
        records.add(record)
        kept.append(record)
    for number in removed:
        gone = records.remove(number)
        assert gone == next((record for record in kept if record.service_id == number), None)
        kept = [record for record in kept if record.service_id != number]
    expected = [
        record
        for record in reversed(kept)
        if record.owner == owner
        and kind in (0, record.target.type)
        and all(record.properties.get(name) == value for name, value in wanted.items())
    ]
    assert records.find(owner, kind, wanted) == expected
    assert list(records) == kept
    assert {whose: records.count_of(whose) for whose in OWNERS} == {
        whose: sum(record.owner == whose for record in kept) for whose in OWNERS
    }
    for record in kept:
        assert record.name is None or owner_set(kept, record.name) == records.owners_of(record.name)
        assert [other for other in kept if other.target == record.target] == records.at(record.target)


def owner_set(kept: list[Record], name: object) -> set[bytes]:
    return {record.owner for record in kept if record.name == name}


def test_nothing_is_left_of_entries_that_are_removed() -> None:
    """Indexes do not grow for ever."""
    records = Records()
    for number in range(1, 100):
        records.add(make(number, __implementation="it", port=number))
        records.remove(number)
    assert [len(value) for value in vars(records).values()] == [0] * len(vars(records))


def test_a_target_is_lost_with_its_third_failure() -> None:
    """It is hidden from the first failure on, and visible again with the next success."""
    records = Records()
    record = make(1)
    records.add(record)
    state = records.state_of(record.target)
    assert not records.is_visible(record)
    state.note(True, 9, 1.0)
    assert (records.is_visible(record), records.load_of(record)) == (True, 9)
    state.note(False, 0, 2.0)
    assert (records.is_visible(record), records.load_of(record), state.is_lost) == (False, 255, False)
    state.note(False, 0, 3.0)
    assert not state.is_lost
    state.note(True, 0, 4.0)
    for time in range(3):
        assert not state.is_lost
        state.note(False, 0, time)
    assert state.is_lost


def test_what_was_not_checked_for_longest_is_due_first() -> None:
    """Permanent entries are never due."""
    records = Records()
    for number in (1, 2, 3):
        records.add(make(number, port=number))
    records.add(replace(make(4, port=4), permanent=True))
    for number, checked in ((1, 20.0), (2, 10.0), (3, 99.0)):
        records.state_of(make(number, port=number).target).note(True, 0, checked)
    assert [target.port for target in records.due(50.0)] == [2, 1]


@given(st.lists(st.integers(0, 255), max_size=20))
def test_load_balancing_keeps_those_that_are_about_as_busy_as_the_least(loads) -> None:
    """Within 10 of the lowest load, and below 255."""
    records = [make(number) for number in range(len(loads))]
    chosen = balanced(records, lambda record: loads[record.service_id], random.Random(1).shuffle)
    lowest = min(loads, default=0)
    expected = {number for number, load in enumerate(loads) if load < 255 and load <= lowest + 10}
    assert {record.service_id for record in chosen} == expected
    assert len(chosen) == len(expected)


def test_load_balancing_gives_each_a_chance() -> None:
    """The order is random."""
    records = [make(number) for number in range(5)]
    firsts = {balanced(records, lambda _: 0, random.Random(seed).shuffle)[0].service_id for seed in range(50)}
    assert firsts == {0, 1, 2, 3, 4}


def test_a_budget_is_a_burst_and_then_a_rate() -> None:
    """Each spender has its own."""
    budget = Budget(burst=3, rate=2.0)
    assert [budget.spend("a", 0.0) for _ in range(4)] == [True, True, True, False]
    assert budget.spend("b", 0.0)
    assert [budget.spend("a", 1.0) for _ in range(3)] == [True, True, False]
    assert [budget.spend("a", 1000.0) for _ in range(4)] == [True, True, True, False]


def test_a_budget_remembers_a_bounded_number_of_spenders() -> None:
    """A flood of names takes no memory."""
    budget = Budget(burst=1, rate=0.0, spenders=10)
    for number in range(1000):
        assert budget.spend(number, 0.0)
    assert not budget.spend(999, 0.0)
    assert len(budget._accounts) == 10


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[fe80::1]",
        "fe80::1",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a9fe:a9fe",
        "::ffff:0:169.254.169.254",
        "::169.254.169.254",
        "2002:a9fe:a9fe::1",
        "2852039166",
        "0xa9.254.43518",
        "0251.0376.0251.0376",
        "fd00:ec2::254",
        "100.100.100.200",
        "168.63.129.16",
        "224.0.0.1",
        "ff02::1",
        "0.0.0.0",
        "::",
        "255.255.255.255",
        "unix:/run/docker.sock",
        "unix-abstract:x",
        "dns://evil/x",
        "ipv4:1.2.3.4",
        "user@host",
        "host/path",
        "host:80",
        "host,other",
        "ho st",
        "host\n",
        "h\x00st",
        "-host",
        "fe80::1%eth0",
        "höst",
        "x" * 254,
        "",
    ],
)
def test_hosts_that_are_never_allowed(host) -> None:
    """Cloud metadata in every spelling, what stands for no machine, and what gRPC takes for more than a name."""
    with pytest.raises(EndpointError):
        check_host(host, local=True)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "127.0.0.1", "127.1", "::1", "[::1]", "::ffff:127.0.0.1"])
def test_loopback_is_for_callers_of_this_machine(host) -> None:
    """A caller elsewhere must not make the Directory connect to the services of its own machine."""
    check_host(host, local=True)
    with pytest.raises(EndpointError, match="machine of the Directory"):
        check_host(host, local=False)


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("10.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
        ("::127.0.0.1", False),
    ],
)
def test_only_callers_of_this_machine_are_local(address, local) -> None:
    """Who calls from an address that would be translated into that of this machine is elsewhere."""
    assert is_loopback(ipaddress.ip_address(address)) == local


@pytest.mark.parametrize("host", ["trainer-1.example.org", "my_service", "10.0.0.7", "192.168.1.2", "2001:db8::1", "a"])
def test_hosts_that_are_allowed(host) -> None:
    """Names, and addresses of machines, private ones too."""
    check_host(host, local=False)


@given(st.ip_addresses())
def test_every_address_is_judged(address) -> None:
    """Whatever is allowed from elsewhere is allowed from here, and nothing allowed is link-local or multicast."""
    try:
        check_address(address, local=False)
    except EndpointError:
        return
    check_address(address, local=True)
    assert not any((address.is_link_local, address.is_multicast, address.is_loopback, address.is_unspecified))
    assert as_ip(str(address)) == address


async def test_a_name_that_leads_to_a_forbidden_address_is_refused(monkeypatch) -> None:
    """What counts is what the name resolves to, and one forbidden address is enough."""
    answers = ["10.0.0.1", "169.254.169.254"]
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (text, 80)) for text in answers])
    with pytest.raises(EndpointError):
        await Resolver().resolve("rebound.example", 80, False)
    answers.pop()
    assert await Resolver().resolve("rebound.example", 80, False) == [ipaddress.ip_address("10.0.0.1")]


async def test_look_ups_that_hang_are_bounded(monkeypatch) -> None:
    """Names whose servers do not answer take a bounded number of threads; addresses need none."""
    import threading

    release = threading.Event()

    def hang(*_: object, **__: object) -> list[object]:
        release.wait(30)
        raise OSError("no answer")

    monkeypatch.setattr("socket.getaddrinfo", hang)
    resolver = Resolver(most=2)
    waiting = [asyncio.ensure_future(resolver.resolve("slow.example", 80, False)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(OSError, match="too many"):
        await resolver.resolve("slow.example", 80, False)
    assert await resolver.resolve("10.0.0.1", 80, False) == [ipaddress.ip_address("10.0.0.1")]
    release.set()
    assert [type(error) for error in await asyncio.gather(*waiting, return_exceptions=True)] == [OSError, OSError]


async def test_only_so_many_wait() -> None:
    """Further ones are told at once that nothing came; those that wait are woken by what they want only."""
    waiters = Waiters(1)
    waiting = asyncio.ensure_future(waiters.wait(lambda record: record.service_id == 2, 30.0))
    await asyncio.sleep(0)
    assert await waiters.wait(lambda _: True, 30.0) is False
    waiters.tell(make(1))
    await asyncio.sleep(0)
    assert not waiting.done()
    waiters.tell(make(2))
    assert await waiting is True
    assert len(waiters) == 0
