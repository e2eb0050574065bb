"""Datalogs: the samples of a trial, as they are made."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from scripted import SETTINGS, World, soon, turns

from cogment_core import outbox
from cogment_core.api import datalog_pb2
from cogment_core.enums import TrialState
from cogment_core.parameters import ActorParameters, TrialParameters
from cogment_core.sessions.datalog import MessageReader

PARAMETERS = TrialParameters(
    SETTINGS, max_steps=5, actors=[ActorParameters(SETTINGS, "player", name="ann", endpoint="cogment://client")]
).to_proto()


def sample(tick: int, state: TrialState = TrialState.RUNNING) -> datalog_pb2.RunTrialDatalogInput:
    """A message with a sample."""
    info = datalog_pb2.SampleInfo(tick_id=tick, timestamp=1000 + tick, state=state.value)
    return datalog_pb2.RunTrialDatalogInput(sample=datalog_pb2.DatalogSample(info=info))


class Log:
    """A datalog function that keeps what it sees."""

    def __init__(self) -> None:
        self.ticks: list[int | None] = []
        self.sessions: list[Any] = []
        self.returned = asyncio.Event()

    async def __call__(self, session: Any) -> None:
        self.sessions.append(session)
        session.start()
        async for each in session.all_samples():
            self.ticks.append(each.tick_id)
        self.returned.set()


async def begin(world: World, impl: Any) -> Any:
    """A call that has sent the parameters."""
    call = await world.datalog(impl, trial="the trial", user="the user")
    await soon(call.write(datalog_pb2.RunTrialDatalogInput(trial_params=PARAMETERS)))
    return call


async def replies(call: Any) -> int:
    """How many replies come until the call is completed."""
    count = 0
    with contextlib.suppress(grpc.aio.AioRpcError):
        while await soon(call.read()) is not grpc.aio.EOF:
            count += 1
    return count


async def code(call: Any) -> grpc.StatusCode:
    """How the call was completed."""
    await replies(call)
    return await soon(call.code())


async def test_samples_until_the_trial_has_ended(world: World):
    """The loop ends by itself after the sample with the state ENDED; each message has got its reply."""
    log = Log()
    call = await begin(world, log)
    for tick in range(3):
        await soon(call.write(sample(tick)))
    await soon(call.write(sample(3, TrialState.ENDED)))
    assert await replies(call) == 5
    assert await code(call) is grpc.StatusCode.OK
    assert log.ticks == [0, 1, 2, 3]


async def test_a_sample_is_acknowledged_when_the_next_is_asked_for(world: World):
    """The parameters are when the session starts, a sample when the function has done with it, not when it has come."""
    proceed = asyncio.Event()
    taken: list[int] = []

    async def impl(session: Any) -> None:
        await proceed.wait()
        proceed.clear()
        session.start()
        session.start()
        async for each in session.all_samples():
            taken.append(each.tick_id)
            await proceed.wait()
            proceed.clear()

    call = await begin(world, impl)
    for tick in range(2):
        await soon(call.write(sample(tick)))
    await soon(call.write(sample(2, TrialState.ENDED)))
    for done in range(4):
        read = asyncio.ensure_future(call.read())
        await turns(50)
        assert (read.done(), len(taken)) == (False, done)
        proceed.set()
        assert await soon(read) == datalog_pb2.RunTrialDatalogOutput()
        while len(taken) < min(done + 1, 3):
            await turns(1)
    assert await replies(call) == 0
    assert await code(call) is grpc.StatusCode.OK


@pytest.mark.parametrize(("how", "expected"), [("returns", 3), ("raises", 2)])
async def test_the_last_sample_is_acknowledged_by_returning(world: World, how: str, expected: int):
    """A function that raises has not done with the sample that it was given last."""

    async def impl(session: Any) -> None:
        session.start()
        async for each in session.all_samples():
            if each.tick_id == 1:
                break
        if how == "raises":
            raise ValueError("not stored")

    call = await begin(world, impl)
    for tick in range(3):
        await soon(call.write(sample(tick)))
    assert await replies(call) == expected
    assert await code(call) is (grpc.StatusCode.OK if how == "returns" else grpc.StatusCode.INTERNAL)


async def test_two_loops_acknowledge_all(world: World):
    """Each sample has its reply, whichever of two loops it went to."""

    async def impl(session: Any) -> None:
        session.start()

        async def collect() -> None:
            async for _ in session.all_samples():
                await turns(1)

        await asyncio.gather(collect(), collect())

    call = await begin(world, impl)
    for tick in range(9):
        await soon(call.write(sample(tick)))
    await soon(call.write(sample(9, TrialState.ENDED)))
    assert await replies(call) == 11


async def test_replies_that_nobody_reads_hold_up_nothing(world: World, monkeypatch: pytest.MonkeyPatch):
    """The function gets its samples, however full the way back is."""
    monkeypatch.setattr(outbox, "WRITE_TIMEOUT", 0.2)
    log = Log()
    call = await begin(world, log)
    for tick in range(500):
        await soon(call.write(sample(tick)))
    await soon(call.write(sample(500, TrialState.ENDED)))
    await soon(log.returned.wait())
    assert len(log.ticks) == 501
    assert await code(call) is grpc.StatusCode.OK


async def test_what_a_session_knows(world: World):
    """The trial, the user, and the parameters, which have specs."""
    log = Log()
    call = await begin(world, log)
    await soon(call.write(sample(0, TrialState.ENDED)))
    await code(call)
    (session,) = log.sessions
    assert (session.trial_id, session.user_id) == ("the trial", "the user")
    assert session.trial_parameters.to_proto() == PARAMETERS
    assert session.trial_params is session.trial_parameters
    assert session.trial_parameters.has_specs()


async def test_samples_have_the_specs(world: World):
    """Observations in samples are of the type that the specs say."""
    seen: list[Any] = []

    async def impl(session: Any) -> None:
        session.start()
        async for each in session.get_all_samples():
            seen.append(each.get_observation("ann").observation)

    call = await begin(world, impl)
    message = sample(0, TrialState.ENDED)
    message.sample.observations.observations.append(StringValue(value="seen").SerializeToString())
    message.sample.observations.actors_map.append(0)
    await soon(call.write(message))
    await code(call)
    assert seen == [StringValue(value="seen")]


async def test_nothing_before_start(world: World, caplog: pytest.LogCaptureFixture):
    """all_samples() before start() ends at once, with a warning; what has come is there afterwards."""
    ticks: list[int] = []
    proceed = asyncio.Event()

    async def impl(session: Any) -> None:
        assert [each async for each in session.all_samples()] == []
        await proceed.wait()
        session.start()
        async for each in session.all_samples():
            ticks.append(each.tick_id)

    call = await begin(world, impl)
    await soon(call.write(sample(0)))
    await soon(call.write(sample(1, TrialState.ENDED)))
    proceed.set()
    assert await code(call) is grpc.StatusCode.OK
    assert ticks == [0, 1]
    assert "before start()" in caplog.text


async def test_sending_false_ends_the_generator(world: World):
    """asend(False) ends the loop, and a new one goes on where it stopped."""
    ticks: list[int] = []

    async def impl(session: Any) -> None:
        session.start()
        samples = session.all_samples()
        ticks.append((await anext(samples)).tick_id)
        ticks.append((await samples.asend(True)).tick_id)
        with pytest.raises(StopAsyncIteration):
            await samples.asend(False)
        async for each in session.all_samples():
            ticks.append(each.tick_id)
            break

    call = await begin(world, impl)
    for tick in range(3):
        await soon(call.write(sample(tick)))
    assert await code(call) is grpc.StatusCode.OK
    assert ticks == [0, 1, 2]


async def test_a_timeout_loses_nothing(world: World):
    """wait_for() around the next sample times out, and the sample that comes later is not lost."""
    timed_out = asyncio.Event()
    ticks: list[int] = []

    async def impl(session: Any) -> None:
        session.start()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(anext(session.all_samples()), 0.01)
        timed_out.set()
        async for each in session.all_samples():
            ticks.append(each.tick_id)

    call = await begin(world, impl)
    await soon(timed_out.wait())
    for tick in range(3):
        await soon(call.write(sample(tick)))
    await soon(call.write(sample(3, TrialState.ENDED)))
    assert await code(call) is grpc.StatusCode.OK
    assert ticks == [0, 1, 2, 3]


async def test_two_loops_share_the_samples(world: World):
    """Each sample goes to one of two generators that wait at the same time; both end."""
    ticks: list[int] = []

    async def impl(session: Any) -> None:
        session.start()

        async def collect() -> None:
            async for each in session.all_samples():
                ticks.append(each.tick_id)
                await turns(1)

        await asyncio.gather(collect(), collect())

    call = await begin(world, impl)
    for tick in range(9):
        await soon(call.write(sample(tick)))
    await soon(call.write(sample(9, TrialState.ENDED)))
    await soon(call.done_writing())
    assert await code(call) is grpc.StatusCode.OK
    assert sorted(ticks) == list(range(10))


async def test_an_early_return_completes_the_call(world: World):
    """A function that has seen enough returns, while nothing comes or something does."""

    async def impl(session: Any) -> None:
        session.start()
        samples = session.all_samples()
        await anext(samples)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(anext(samples), 0.01)

    call = await begin(world, impl)
    await soon(call.write(sample(0)))
    assert await code(call) is grpc.StatusCode.OK


async def test_an_orchestrator_that_stops_sending_ends_the_loop(world: World, caplog: pytest.LogCaptureFixture):
    """A half-close before the last sample ends the loop, with a warning."""
    log = Log()
    call = await begin(world, log)
    await soon(call.write(sample(0)))
    await soon(call.done_writing())
    assert await code(call) is grpc.StatusCode.OK
    assert log.ticks == [0]
    assert "before the last sample" in caplog.text


async def test_samples_without_info_do_not_say_that_they_are_the_last(world: World, caplog: pytest.LogCaptureFixture):
    """When ``info`` is excluded from the samples, the half-close is the end, and nothing to warn of."""
    log = Log()
    call = await begin(world, log)
    await soon(call.write(datalog_pb2.RunTrialDatalogInput(sample=datalog_pb2.DatalogSample())))
    await soon(call.done_writing())
    assert await code(call) is grpc.StatusCode.OK
    assert log.ticks == [None]
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_lost_orchestrator_ends_the_loop(world: World):
    """A cancelled call ends the loop, and the function can finish what it does."""
    log = Log()
    call = await begin(world, log)
    await soon(call.write(sample(0)))
    while not log.ticks:
        await turns(1)
    call.cancel()
    await soon(log.returned.wait())
    assert log.ticks == [0]


async def test_a_lost_orchestrator_while_the_function_works(world: World):
    """A function that works on a sample when the call is lost comes back to a loop that ends."""
    working, proceed, returned = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def impl(session: Any) -> None:
        session.start()
        async for _ in session.all_samples():
            working.set()
            await proceed.wait()
        returned.set()

    call = await begin(world, impl)
    await soon(call.write(sample(0)))
    await soon(working.wait())
    call.cancel()
    await turns()
    proceed.set()
    await soon(returned.wait())


async def test_a_message_that_is_no_sample_is_ignored(world: World, caplog: pytest.LogCaptureFixture):
    """Parameters again, and nothing at all, are no samples."""
    log = Log()
    call = await begin(world, log)
    await soon(call.write(datalog_pb2.RunTrialDatalogInput(trial_params=PARAMETERS)))
    await soon(call.write(datalog_pb2.RunTrialDatalogInput()))
    await soon(call.write(sample(0, TrialState.ENDED)))
    assert await code(call) is grpc.StatusCode.OK
    assert log.ticks == [0]
    assert caplog.text.count("is no sample") == 2


async def test_an_exception_fails_the_call(world: World, caplog: pytest.LogCaptureFixture):
    """What the function raises is in the log once, and not in the answer."""

    async def impl(session: Any) -> None:
        raise ValueError("secret")

    call = await begin(world, impl)
    assert await code(call) is grpc.StatusCode.INTERNAL
    assert "secret" not in await soon(call.details())
    told = [record for record in caplog.records if record.exc_info and isinstance(record.exc_info[1], ValueError)]
    assert len(told) == 1


@pytest.mark.parametrize("message", [sample(0), datalog_pb2.RunTrialDatalogInput()])
async def test_the_parameters_come_first(world: World, message: Any):
    """A stream that does not start with the parameters is refused."""
    call = await world.datalog(Log())
    await soon(call.write(message))
    assert await code(call) is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stream_of_nothing(world: World):
    """A stream that ends before it starts is completed, and the function is not called."""
    log = Log()
    call = await world.datalog(log)
    await soon(call.done_writing())
    assert await code(call) is grpc.StatusCode.OK
    assert log.sessions == []


async def test_several_trials_at_once(world: World):
    """Each trial has a session of its own."""
    seen: dict[str, int] = {}

    async def impl(session: Any) -> None:
        session.start()
        async for _ in session.all_samples():
            seen[session.trial_id] = seen.get(session.trial_id, 0) + 1

    await world.datalog(impl)
    calls = []
    for index in range(3):
        call = await world.datalog(None, trial=str(index))
        await soon(call.write(datalog_pb2.RunTrialDatalogInput(trial_params=PARAMETERS)))
        calls.append(call)
    for call in calls:
        for tick in range(4):
            await soon(call.write(sample(tick)))
        await soon(call.write(sample(4, TrialState.ENDED)))
    for call in calls:
        assert await code(call) is grpc.StatusCode.OK
    assert seen == {"0": 5, "1": 5, "2": 5}


async def test_a_long_log(world: World):
    """A thousand samples come in order, however slowly they are taken."""
    ticks: list[int] = []

    async def impl(session: Any) -> None:
        session.start()
        async for each in session.all_samples():
            ticks.append(each.tick_id)
            if each.tick_id % 100 == 0:
                await turns(5)

    call = await begin(world, impl)

    async def write() -> None:
        for tick in range(1000):
            await call.write(sample(tick))
        await call.write(sample(1000, TrialState.ENDED))

    await soon(write())
    assert await code(call) is grpc.StatusCode.OK
    assert ticks == list(range(1001))


async def test_without_specs(make_world: Any, transport: str):
    """Without specs the parameters have none, and samples can be kept as bytes."""
    kept: list[bytes] = []

    async def impl(session: Any) -> None:
        session.start()
        async for each in session.all_samples():
            kept.append(each.serialize())
        assert not session.trial_parameters.has_specs()

    call = await begin(make_world(transport, settings=None), impl)
    await soon(call.write(sample(0, TrialState.ENDED)))
    assert await code(call) is grpc.StatusCode.OK
    assert kept == [sample(0, TrialState.ENDED).sample.SerializeToString()]


async def test_a_read_that_fails_when_nobody_waits_any_more_is_not_complained_of(caplog):
    """A function that gave up waiting has left: what gRPC says of the cancelled read is nobody's business."""
    waiting = asyncio.Event()

    async def messages() -> AsyncIterator[Any]:
        try:
            waiting.set()
            await asyncio.Event().wait()
            yield None
        except asyncio.CancelledError:
            raise RuntimeError("aborted") from None

    reader = MessageReader(messages())
    who = asyncio.create_task(reader.read())
    await soon(waiting.wait())
    who.cancel()
    await soon(asyncio.wait({who}))
    reader.stop("over")
    assert await soon(reader.read()) is None
    await turns()
    del reader, who  # and with them the read
    gc.collect()
    assert not caplog.records
