"""What hostile or unlucky callers of the Orchestrator met, and must not meet again."""

from __future__ import annotations

import asyncio
import gc
import os
import time

import grpc
import pytest

from cogment_core.api import common_pb2, orchestrator_pb2
from cogment_core.api.common_pb2 import HEARTBEAT, NORMAL, ActorRunTrialOutput
from cogment_core.errors import EndpointError, UsageError
from cogment_services import app, status_file
from cogment_services.app import AppOptions
from cogment_services.cli import main
from cogment_services.orchestrator import client_actor
from cogment_services.orchestrator.client_actor import ClientActorService
from cogment_services.orchestrator.datalog import DatalogStream
from cogment_services.orchestrator.policy import allow_public_addresses
from cogment_services.refusals import MAX_DETAILS

# --- Refusals


async def test_a_refusal_reaches_a_client_of_a_trial_with_many_slots(wire, peers) -> None:
    """The list of a thousand slots is cut, else gRPC clients drop the status and tell of a limit of theirs instead."""
    slots = [peers.client(f"player_number_{index}") for index in range(1000)]
    client = wire.join(await wire.start(peers.params(*slots)))
    await client.say(init_output=common_pb2.ActorInitialOutput(actor_name="nobody"))
    assert await client.status() is grpc.StatusCode.NOT_FOUND
    details = await client.details()
    assert details.startswith("the trial has no actor [nobody]; clients can join as: player_number_0, ")
    assert details.endswith(" ...")


@pytest.mark.parametrize("letter", ["x", "é", "\U0001f600"])
async def test_what_is_wrong_with_long_parameters_is_said_in_short(wire, peers, letter) -> None:
    """A name of a hundred kB is an INVALID_ARGUMENT, not a RESOURCE_EXHAUSTED of the client's own making."""
    name = letter * 100_000
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await wire.start(peers.params(peers.client(name), peers.client(name)))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len(caught.value.details().encode()) <= MAX_DETAILS + len(" ...")


class _WritingDuplex:
    """The stream of a client that sends a heartbeat and then nonsense, and takes its time to read the answer."""

    def __init__(self) -> None:
        self.sent: list[object] = []
        self.read = asyncio.Event()
        self.drained = False

    def send(self, message: object) -> None:
        self.sent.append(message)

    async def receive(self, on_message) -> None:
        on_message(ActorRunTrialOutput(state=HEARTBEAT))
        on_message(ActorRunTrialOutput(state=NORMAL, action=common_pb2.Action()))
        await asyncio.Event().wait()

    async def drain(self) -> None:
        await self.read.wait()
        self.drained = True


class _Context:
    """The call of that client."""

    def __init__(self, trial_id: str) -> None:
        self.stream = _WritingDuplex()
        self._trial_id = trial_id
        self.drained_at_abort: bool | None = None

    def invocation_metadata(self) -> list[tuple[str, str]]:
        return [("trial-id", self._trial_id)]

    def duplex(self) -> _WritingDuplex:
        return self.stream

    async def abort(self, code: grpc.StatusCode, _details: str) -> None:
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        self.drained_at_abort = self.stream.drained
        raise grpc.aio.AbortError


async def test_a_client_is_refused_once_what_it_was_sent_is_written(wire, peers) -> None:
    """gRPC cannot send a status during a write: it fails with a traceback in the log."""
    trial_id = await wire.start(peers.params(peers.client("alice")))
    context = _Context(trial_id)
    call = asyncio.ensure_future(ClientActorService(wire.orchestrator._trials).RunTrial(None, context))
    done, _ = await asyncio.wait({call}, timeout=0.05)
    assert not done
    assert context.drained_at_abort is None
    context.stream.read.set()
    with pytest.raises(grpc.aio.AbortError):
        await asyncio.wait_for(call, client_actor.JOIN_TIMEOUT / 10)
    assert context.drained_at_abort is True
    assert [message.state for message in context.stream.sent] == [HEARTBEAT]


# --- Endpoints


@pytest.mark.parametrize(
    "address",
    [
        "169%2E254%2E169%2E254:80",
        "169.254.169.254%3A80",
        "[%66e80::1]:80",
        "[::ffff%3Aa9fe:a9fe]:80",
        "[fe80::1%25eth0]:80",
        "2852039166:80",
        "0xa9fea9fe:80",
        "169.254.43518:80",
        "0251.0376.0251.0376:80",
    ],
)
def test_a_forbidden_address_stays_forbidden_in_other_spellings(address) -> None:
    """gRPC decodes ``%``, and resolvers take an IPv4 address of one to four numbers, each of three bases."""
    with pytest.raises(EndpointError):
        allow_public_addresses(address)


@pytest.mark.parametrize("address", ["localhost:9000", "127.0.0.1:9", "[::1]:9", "10.1:80", "host-1.example", "über:1"])
def test_other_addresses_are_allowed(address) -> None:
    """Names and addresses that are not link-local pass."""
    allow_public_addresses(address)


async def test_an_address_in_disguise_starts_no_trial(wire, peers) -> None:
    """The environment is not connected to."""
    params = peers.params(peers.client("alice"))
    params.environment.endpoint = peers.address.replace("127.0.0.1", "127%2E0%2E0%2E1")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await wire.start(params)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert await wire.info() == []


# --- Datalogs


async def test_a_trial_whose_datalog_was_lost_leaves_nothing_behind(wire, peers) -> None:
    """Its stream is not kept until the time for the last samples is over: there is nobody who wants them."""
    params = peers.params(peers.client("alice"), datalog=common_pb2.DatalogParams(endpoint=peers.address))
    watch = await wire.watch(common_pb2.ENDED)
    trial_id = await wire.start(params)
    # Never in a local variable: Python 3.10 keeps what was one for debuggers that look at the frame, and one did.
    assert [stream._over for stream in _datalog_streams()] == [False]
    (await peers.datalog()).over.set()
    while not all(stream._over for stream in _datalog_streams()):  # bounded by the time-out of the test
        await asyncio.sleep(0.01)
    await wire.terminate(trial_id, hard=True)
    await watch.next()
    while _datalog_streams():  # bounded by the time-out of the test, which is less than the linger
        await wire.lifecycle.Version(common_pb2.VersionRequest())  # turns of the event loop, in which the trial lets go


def _datalog_streams() -> list[DatalogStream]:
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, DatalogStream)]


# --- Log


async def test_a_huge_receiver_does_not_fill_the_log(wire, peers, caplog) -> None:
    """Of a name that nobody has, the log shows the beginning."""
    trial_id = await wire.start(peers.params(peers.client("alice"), peers.client("bob")))
    alice = await wire.join_as(trial_id, "alice")
    await alice.say(reward=common_pb2.Reward(tick_id=-1, receiver_name="x" * 1_000_000))
    await alice.say(message=common_pb2.Message(tick_id=-1, receiver_name="x" * 1_000_000))
    await alice.say(HEARTBEAT)
    await alice.expect(HEARTBEAT)
    told = [record.getMessage() for record in caplog.records if "xxx" in record.getMessage()]
    assert len(told) == 2
    assert all(len(line) < 400 for line in told)


# --- The process


class _Server:
    """A server that ends its own process' wait at once."""

    listening = "[port:1]"

    def __init__(self, on_start) -> None:
        self._on_start = on_start
        self.closed: list[float] = []

    async def start(self) -> None:
        self._on_start()

    async def close(self, grace: float) -> None:
        self.closed.append(grace)


def _stop_soon() -> None:
    import signal

    asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGTERM)


def test_nobody_has_to_read_that_a_server_has_stopped(tmp_path, monkeypatch, capfd) -> None:
    """Tooling that waits for READY and then closes the pipe delays no end, nor makes it a failure."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    server = _Server(_stop_soon)
    close = server.close

    async def close_after_the_reader(grace: float) -> None:
        assert os.read(reader, 10) == b"IR"
        os.close(reader)
        await close(grace)

    monkeypatch.setattr(server, "close", close_after_the_reader)
    began = time.monotonic()
    app.run(lambda registry: server, AppOptions(name="Test", status_file=str(pipe), grace=1.0))
    assert time.monotonic() - began < status_file.PIPE_PATIENCE / 2
    assert server.closed == [1.0]
    assert "cannot be written" in capfd.readouterr().err


def test_a_server_that_cannot_say_that_it_is_ready_is_closed(tmp_path, monkeypatch) -> None:
    """It does not go on listening while its process ends."""
    monkeypatch.setattr(status_file, "PIPE_PATIENCE", 0.05)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    server = _Server(lambda: os.close(reader))
    with pytest.raises(UsageError, match="status file"):
        app.run(lambda registry: server, AppOptions(name="Test", status_file=str(pipe)))
    assert server.closed == [0.0]


@pytest.mark.parametrize(("option", "said"), [("--host=", "--host is empty"), ("--grace=nan", "--grace has to be")])
def test_options_that_are_mistakes_are_refused(capsys, monkeypatch, option, said) -> None:
    """An empty host, from a variable of a script that is not set, opens no addresses that nobody asked for."""
    monkeypatch.setattr(app, "run", lambda make, options: pytest.fail("the server was started"))
    with pytest.raises(SystemExit) as caught:
        main(["services", "orchestrator", option])
    assert caught.value.code == 1
    assert said in capsys.readouterr().err


# --- Two things at once


async def test_starts_joins_and_ends_at_the_same_time_leave_nothing_running(wire, peers) -> None:
    """Whatever wins, each call is answered, every trial ends, and nothing is logged with a traceback."""
    answers = await asyncio.gather(*(_race(wire, peers, f"trial-{number % 8}", number) for number in range(48)))
    assert set().union(*answers) <= {
        grpc.StatusCode.OK,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.NOT_FOUND,
    }
    await wire.terminate(*(f"trial-{number}" for number in range(8)), hard=True)
    assert {info.state for info in await wire.info()} == {common_pb2.ENDED}


async def _race(wire, peers, trial_id: str, number: int) -> set[grpc.StatusCode]:
    """Start a trial, join it and end it, all at once."""
    request = orchestrator_pb2.TrialStartRequest(
        trial_id_requested=trial_id, params=peers.params(peers.client("alice"), peers.client("bob"))
    )
    start = wire.lifecycle.StartTrial(request, timeout=10)
    clients = [wire.join(trial_id) for _ in range(2)]
    for client in clients:
        # A call that is answered at once, because there is no such trial yet, may not take the message any more.
        await asyncio.gather(
            client.say(init_output=common_pb2.ActorInitialOutput(actor_class="player")), return_exceptions=True
        )
    await wire.terminate(trial_id, hard=bool(number % 2))
    await wire.terminate(trial_id, hard=True)
    # What gRPC makes up, in the place of the answer, when a message meets a call that is answered already.
    made_up = "Internal error from Core"
    answered = [client for client in clients if await client.details() != made_up]
    return {await start.code(), *[await client.status() for client in answered]}
