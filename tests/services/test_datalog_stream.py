"""The stream of samples to a datalog that replies as the test decides, dies and comes back, over real gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest

from cogment_core.api.common_pb2 import ENDED, RUNNING, TrialParams, VersionInfo
from cogment_core.api.datalog_pb2 import DatalogSample, RunTrialDatalogOutput, SampleInfo
from cogment_core.api.datalog_pb2_grpc import DatalogSPServicer, add_DatalogSPServicer_to_server
from cogment_core.endpoints import Endpoint
from cogment_core.inprocess import InProcessEndpoint, InProcessServer
from cogment_core.tasks import TaskOwner
from cogment_services.orchestrator import datalog as stream_module
from cogment_services.orchestrator import datalog_call
from cogment_services.orchestrator.channels import PeerChannels, Route
from cogment_services.orchestrator.datalog import DatalogStream
from cogment_services.orchestrator.limits import DatalogPolicy
from cogment_services.orchestrator.sample_queue import ByteBudget, SampleQueue

PATIENCE = 20.0
"""Seconds that a test waits for what has to come."""

Behaviour = Callable[["Call"], Awaitable[None]]


class Call:
    """One call, as the datalog sees it."""

    def __init__(self, store: Store, context: Any) -> None:
        self.store = store
        self.context = context
        self.ticks: list[int] = []
        """Ticks of the samples that came on this call, late rewards left out."""

    async def read(self) -> Any:
        """The next message, which is stored; None at the end."""
        message = await self.context.read()
        if message is grpc.aio.EOF:
            return None
        if message.HasField("sample"):
            self.store.samples.append(message.sample)
            self.ticks.append(message.sample.info.tick_id)
        return message

    async def reply(self, times: int = 1) -> None:
        for _ in range(times):
            await self.context.write(RunTrialDatalogOutput())


async def acknowledge_all(call: Call) -> None:
    """A datalog that stores everything."""
    while await call.read() is not None:
        await call.reply()


async def never_acknowledge(call: Call) -> None:
    """A datalog as the existing SDK serves it."""
    while await call.read() is not None:
        pass


def acknowledge(replies: int) -> Behaviour:
    """A datalog that reads everything, replies to so many messages, the parameters included, and stays."""

    async def behave(call: Call) -> None:
        count = 0
        while await call.read() is not None:
            count += 1
            if count <= replies:
                await call.reply()
        await asyncio.Event().wait()

    return behave


class Store(DatalogSPServicer):
    """A datalog at a port of its own, in lives that end and begin."""

    def __init__(self) -> None:
        self.samples: list[DatalogSample] = []
        self.calls: list[Call] = []
        self.behave: Behaviour = acknowledge_all
        self.address = ""
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        add_DatalogSPServicer_to_server(self, self._server)
        port = self._server.add_insecure_port(self.address or "127.0.0.1:0")
        self.address = self.address or f"127.0.0.1:{port}"
        await self._server.start()

    async def die(self) -> None:
        """Break all calls, and refuse new ones."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    async def RunTrialDatalog(self, request_iterator: Any, context: Any) -> None:
        call = Call(self, context)
        self.calls.append(call)
        await self.behave(call)

    async def Version(self, request: Any, context: Any) -> VersionInfo:
        return VersionInfo()

    @property
    def ticks(self) -> list[int]:
        """Ticks of all samples that came, in the order in which they did."""
        return [sample.info.tick_id for sample in self.samples]


class Trial:
    """A trial's end of the stream."""

    def __init__(self, route: Route, budget: ByteBudget, **settings: Any) -> None:
        self.lost: list[str] = []
        self.dropped = 0
        self.reconnects = 0
        self.pumps, self.listeners = TaskOwner("test"), TaskOwner("test")
        self.queue = SampleQueue(settings.pop("samples", 1000), settings.pop("size", 10**6), budget)
        params = TrialParams()
        params.datalog.exclude_fields.extend(settings.pop("exclude", ()))
        self.stream = DatalogStream(
            "trial",
            params,
            route,
            "user",
            queue=self.queue,
            policy=DatalogPolicy(settings.pop("policy", "stop")),
            pumps=self.pumps,
            listeners=self.listeners,
            on_dropped=self._count,
            on_reconnect=self._count_reconnect,
            on_lost=self.lost.append,
        )
        self.tick = 0

    def _count(self, samples: int) -> None:
        self.dropped += samples

    def _count_reconnect(self) -> None:
        self.reconnects += 1

    def log(self, count: int = 1, *, size: int = 10, state: int = RUNNING) -> None:
        """Log so many samples more."""
        for _ in range(count):
            sample = DatalogSample(info=SampleInfo(tick_id=self.tick, state=state))  # type: ignore[arg-type]
            sample.actions.add().content = bytes(size)
            self.stream.log(sample)
            self.tick += 1

    def end(self) -> None:
        """Log the last sample."""
        self.log(state=ENDED)
        self.stream.finish()

    async def delivered(self) -> None:
        assert await self.pumps.wait(PATIENCE), "not delivered"

    async def over(self) -> None:
        assert await self.listeners.wait(PATIENCE), "the datalog has not completed its call"


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "FIRST_PAUSE", 0.02)
    monkeypatch.setattr(stream_module, "LONGEST_PAUSE", 0.05)


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    result = Store()
    await result.start()
    yield result
    await result.die()


@pytest.fixture
async def begin(store: Store) -> AsyncIterator[Callable[..., Trial]]:
    """Opens streams to the store."""
    channels = PeerChannels()
    budget = ByteBudget(10**9)
    trials: list[Trial] = []

    def open_stream(*, route: Route | None = None, **settings: Any) -> Trial:
        route = route or Route(Endpoint(f"grpc://{store.address}"), channels)
        trial = Trial(route, settings.pop("budget", budget), **settings)
        trials.append(trial)
        return trial

    yield open_stream
    for trial in trials:
        await trial.pumps.close()
        await trial.listeners.close()
        assert len(trial.queue) == 0
    assert budget.used == 0, "bytes are given back"
    await channels.close()


async def until(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds."""
    for _ in range(int(PATIENCE / 0.005)):
        if condition():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it does not come true")


# --- datalogs that acknowledge ----------------------------------------------------------------------------------------


async def test_samples_are_kept_until_they_are_acknowledged(store: Store, begin: Callable[..., Trial]) -> None:
    """The n-th reply is for the n-th message, the parameters being the first."""
    store.behave = acknowledge(1 + 7)
    trial = begin()
    trial.log(10)
    await until(lambda: len(store.samples) == 10 and len(trial.queue) == 3)
    trial.end()
    await until(lambda: len(store.samples) == 11)
    assert len(trial.queue) == 4
    assert not await trial.pumps.wait(0.05), "the end of the trial does not change that"


async def test_what_was_not_acknowledged_is_sent_again(store: Store, begin: Callable[..., Trial]) -> None:
    """A9: a datalog that dies and comes back gets the parameters, and in order all that it did not acknowledge."""
    store.behave = acknowledge(1 + 4)
    trial = begin()
    trial.log(6)
    await until(lambda: len(store.samples) == 6 and len(trial.queue) == 2)
    await store.die()
    trial.log(6)
    store.behave = acknowledge_all
    await store.start()
    trial.log(2)
    trial.end()
    await trial.delivered()
    await trial.over()
    assert store.calls[0].ticks == list(range(6))
    assert store.calls[-1].ticks == list(range(4, 15))
    assert (trial.lost, trial.dropped) == ([], 0)
    assert trial.reconnects >= 1


async def test_a_datalog_that_dies_again_and_again_gets_everything(store: Store, begin: Callable[..., Trial]) -> None:
    """Whatever moment it dies in, each tick is stored, and those that come twice come in order."""
    trial = begin()
    for life in range(8):
        trial.log(20)
        await until(lambda life=life: len(set(store.ticks)) > life * 15)
        await store.die()
        await store.start()
    trial.end()
    await trial.delivered()
    assert sorted(set(store.ticks)) == list(range(161))
    for call in store.calls:
        assert call.ticks == list(range(call.ticks[0], call.ticks[-1] + 1)) if call.ticks else True
    assert trial.dropped == 0


async def test_a_datalog_that_comes_late_gets_everything(store: Store, begin: Callable[..., Trial]) -> None:
    """It need not be there when the trial starts, and may come after it has ended."""
    await store.die()
    trial = begin()
    trial.log(5)
    trial.end()
    await asyncio.sleep(0.1)
    await store.start()
    await trial.delivered()
    await trial.over()
    assert store.ticks == list(range(6))


async def test_late_replies_count(store: Store, begin: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch) -> None:
    """A datalog whose first reply takes longer than anybody waits for is one that acknowledges all the same."""
    monkeypatch.setattr(datalog_call, "ACK_PATIENCE", 0.1)
    proceed = asyncio.Event()

    async def behave(call: Call) -> None:
        for _ in range(6):
            await call.read()
        await proceed.wait()
        await call.reply(6)
        await never_acknowledge(call)

    store.behave = behave
    trial = begin()
    trial.log(5)
    await until(lambda: len(store.samples) == 5 and len(trial.queue) == 0)
    proceed.set()
    await until(lambda: trial.stream._acknowledges)
    trial.log(3)
    await until(lambda: len(store.samples) == 8)
    assert len(trial.queue) == 3, "what is written counts no longer"
    store.behave = acknowledge_all
    await store.die()
    await store.start()
    trial.end()
    await trial.delivered()
    assert store.calls[-1].ticks == [5, 6, 7, 8]


async def test_replies_to_nothing_are_ignored(
    store: Store, begin: Callable[..., Trial], caplog: pytest.LogCaptureFixture
) -> None:
    """A datalog that replies more often than it got messages does not acknowledge what it will get."""

    async def behave(call: Call) -> None:
        await call.reply(10)
        await never_acknowledge(call)

    store.behave = behave
    trial = begin()
    await until(lambda: trial.stream._call is not None and trial.stream._call.replies == 10)
    trial.log(3)
    await until(lambda: len(store.samples) == 3)
    assert len(trial.queue) == 3
    assert caplog.text.count("more replies than it got messages") == 1


async def test_a_datalog_that_fails_again_and_again_is_lost(store: Store, begin: Callable[..., Trial]) -> None:
    """One that acknowledges is called again when it fails, but not for ever if it stores nothing: the trial ends."""

    async def behave(call: Call) -> None:
        await call.read()
        await call.reply()
        await call.read()
        await call.context.abort(grpc.StatusCode.INTERNAL, "no disk")

    store.behave = behave
    trial = begin()
    trial.log(3)
    await until(lambda: bool(trial.lost))
    assert trial.lost == ["it failed 5 times in a row: INTERNAL: no disk"]
    assert [call.ticks for call in store.calls] == [[0]] * 5
    trial.end()
    await trial.delivered()
    assert trial.dropped == 4


async def test_a_datalog_that_fails_and_goes_on_is_not_lost(store: Store, begin: Callable[..., Trial]) -> None:
    """Each sample that it stores gives it new credit."""

    async def behave(call: Call) -> None:
        await call.read()
        await call.reply()
        if await call.read() is not None:
            await call.reply()
            await call.context.abort(grpc.StatusCode.INTERNAL, "the next one, please")

    store.behave = behave
    trial = begin()
    trial.log(11)
    trial.end()
    await trial.delivered()
    assert store.ticks == list(range(12))
    assert (trial.lost, trial.dropped) == ([], 0)


async def test_what_is_unacknowledged_at_the_very_end_is_reported(
    store: Store, begin: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A datalog is not waited for longer than `LINGER` after the end of the trial."""
    monkeypatch.setattr(stream_module, "LINGER", 0.3)
    store.behave = acknowledge(3)
    trial = begin()
    trial.log(5)
    trial.end()
    await trial.over()
    await trial.delivered()
    assert trial.dropped == 4
    assert "4 samples were not acknowledged by the datalog: they may be lost" in caplog.text


async def test_a_datalog_within_the_process_that_stops_does_not_come_back(begin: Callable[..., Trial]) -> None:
    """There is nobody to wait for: the policy acts at once."""
    server = InProcessServer("store")
    store = Store()
    add_DatalogSPServicer_to_server(store, server)  # type: ignore[arg-type]
    trial = begin(route=Route(InProcessEndpoint(server), PeerChannels()))
    trial.log(3)
    await until(lambda: store.ticks == [0, 1, 2] and not len(trial.queue))
    await server.stop()
    await until(lambda: trial.lost == ["it was stopped"])
    trial.end()
    await trial.delivered()
    assert trial.dropped == 1


# --- datalogs that never do -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("patience", [0.05, 60.0])
async def test_a_datalog_that_never_acknowledges_has_what_was_written(
    store: Store, begin: Callable[..., Trial], monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    """As with the existing system: nothing piles up, no trial is ended, and at the end nobody waits for replies."""
    monkeypatch.setattr(datalog_call, "ACK_PATIENCE", patience)
    store.behave = never_acknowledge
    trial = begin(samples=10)
    for count in range(1, 21):
        trial.log(5)
        await until(lambda count=count: len(store.samples) == 5 * count)
    assert len(trial.queue) <= 10
    trial.end()
    await trial.delivered()
    await trial.over()
    assert store.ticks == list(range(101))
    assert (trial.lost, trial.dropped, len(store.calls)) == ([], 0, 1)


async def test_a_datalog_that_completes_its_call_wants_no_more(
    store: Store, begin: Callable[..., Trial], caplog: pytest.LogCaptureFixture
) -> None:
    """It is not called again, and the trial goes on; how much it did not get is told."""

    async def behave(call: Call) -> None:
        for _ in range(3):
            await call.read()

    store.behave = behave
    trial = begin()
    trial.log(2)
    await trial.over()
    trial.log(2)
    trial.end()
    assert len(store.calls) == 1
    assert (trial.lost, trial.dropped) == ([], 3)
    assert "3 samples were not sent to the datalog" in caplog.text


async def test_a_datalog_that_never_acknowledged_and_fails_is_not_called_again(
    store: Store, begin: Callable[..., Trial], caplog: pytest.LogCaptureFixture
) -> None:
    """The function of a user that raised must not see the trial from the beginning; the trial goes on."""

    async def behave(call: Call) -> None:
        await call.read()
        await call.read()
        raise ValueError("a bug of the user")

    store.behave = behave
    trial = begin()
    trial.log(1)
    await trial.over()
    trial.end()
    assert len(store.calls) == 1
    assert (trial.lost, trial.dropped) == ([], 2)
    assert "the datalog is lost: UNKNOWN" in caplog.text


# --- when there is no room --------------------------------------------------------------------------------------------


async def test_the_trial_ends_when_there_is_no_room(store: Store, begin: Callable[..., Trial]) -> None:
    """A10, policy stop: the trial is ended, once, and a datalog that comes back then has no sample missing."""
    store.behave = acknowledge(1)
    trial = begin(samples=10)
    trial.log(10)
    await until(lambda: len(store.samples) == 10)
    assert trial.lost == []
    trial.log(1)
    assert trial.lost == ["10 samples wait for the datalog, there is no room for more"]
    trial.log(3)  # what the trial had held back
    trial.end()
    assert len(trial.lost) == 1
    store.behave = acknowledge_all
    await store.die()
    await store.start()
    await trial.delivered()
    assert store.calls[-1].ticks == list(range(15))
    assert trial.dropped == 0


async def test_samples_are_dropped_when_there_is_no_room(
    store: Store, begin: Callable[..., Trial], caplog: pytest.LogCaptureFixture
) -> None:
    """A10, policy drop: the next sample that is sent says how many are missing before it, and the log does."""
    store.behave = acknowledge(1)
    trial = begin(samples=10, policy="drop")
    trial.log(25)
    await until(lambda: len(store.samples) == 10)
    late = DatalogSample(info=SampleInfo(tick_id=3, out_of_sync=True))
    store.behave = acknowledge_all
    await store.die()
    await store.start()
    await until(lambda: not len(trial.queue))
    trial.stream.log(late)
    trial.log(5)
    trial.end()
    await trial.delivered()
    await trial.over()
    steps = [sample for sample in store.calls[-1].store.samples[10:] if not sample.info.out_of_sync]
    assert [sample.info.tick_id for sample in steps] == [*range(10), *range(25, 31)]
    told = {sample.info.tick_id: list(sample.info.special_events) for sample in steps if sample.info.special_events}
    assert told == {25: ["SAMPLES_LOST:15"]}
    assert (trial.lost, trial.dropped) == ([], 15)
    assert "15 samples were dropped before tick 25" in caplog.text
    assert "15 samples were not sent to the datalog" in caplog.text


async def test_the_last_sample_is_never_dropped(store: Store, begin: Callable[..., Trial]) -> None:
    """Without it nobody would know that the trial has ended, nor that there is a gap."""
    await store.die()
    trial = begin(samples=2, policy="drop")
    trial.log(5)
    trial.end()
    await store.start()
    await trial.delivered()
    (last,) = [sample for sample in store.samples if sample.info.state == ENDED][-1:]
    assert store.calls[-1].ticks == [0, 1, 5]
    assert list(last.info.special_events) == ["SAMPLES_LOST:3"]


async def test_a_gap_is_not_told_where_nothing_may_be(
    store: Store, begin: Callable[..., Trial], caplog: pytest.LogCaptureFixture
) -> None:
    """Without the field ``info`` only the log says so; the last sample is known as such before it is left out."""
    store.behave = acknowledge(1)
    trial = begin(samples=2, policy="drop", exclude=["info"])
    trial.log(5)
    trial.end()
    await until(lambda: len(store.samples) == 3)
    assert not any(sample.HasField("info") for sample in store.samples)
    assert "3 samples were dropped before tick" in caplog.text
    assert trial.dropped == 3


async def test_bytes_count_too(store: Store, begin: Callable[..., Trial]) -> None:
    """A few large samples fill the room as many small ones do."""
    store.behave = acknowledge(1)
    trial = begin(size=100_000)
    trial.log(9, size=10_000)
    await until(lambda: len(store.samples) == 9)
    assert trial.lost == []
    trial.log(1, size=10_000)
    assert len(trial.lost) == 1


async def test_trials_share_their_bytes(store: Store, begin: Callable[..., Trial]) -> None:
    """Many trials whose datalog is away do not take more than there is for all together."""
    await store.die()
    budget = ByteBudget(100_000)
    first, second = begin(budget=budget), begin(budget=budget)
    first.log(8, size=10_000)
    second.log(1, size=10_000)
    assert (first.lost, second.lost) == ([], [])
    second.log(1, size=10_000)
    assert (len(first.lost), len(second.lost)) == (0, 1)


async def test_a_datalog_that_does_not_read_is_not_waited_for(
    store: Store, begin: Callable[..., Trial], caplog: pytest.LogCaptureFixture
) -> None:
    """What it has not taken counts as waiting, whether or not it would acknowledge: the policy acts in bounded room."""
    caplog.set_level(logging.ERROR)
    frozen = asyncio.Event()

    async def behave(call: Call) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await frozen.wait()

    store.behave = behave
    trial = begin(size=10**6)
    for _ in range(100):
        trial.log(1, size=100_000)
        await asyncio.sleep(0.001)
        if trial.lost:
            break
    assert len(trial.lost) == 1
    frozen.set()
