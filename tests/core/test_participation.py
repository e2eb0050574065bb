"""How a participant lives, from the first message to the last: the same for served actors and environments."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from scripted import Hand, Recorder, ServiceLine, World, soon, turns, until

from cogment_core import participation, served
from cogment_core.api import agent_pb2_grpc, environment_pb2_grpc
from cogment_core.api.common_pb2 import END, LAST, LAST_ACK, NORMAL, StatusRequest
from cogment_core.enums import EventType
from cogment_core.services import base
from cogment_core.sessions import base as session_base

OK = grpc.StatusCode.OK
INTERNAL = grpc.StatusCode.INTERNAL
REFUSED = grpc.StatusCode.FAILED_PRECONDITION


@pytest.fixture(params=["actor", "environment"])
def kind(request: pytest.FixtureRequest) -> str:
    """Who takes part."""
    return request.param


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost functions have next to no time to come back."""
    monkeypatch.setattr(participation, "RETURN_GRACE", 0.05)


async def sessions_of(world: World, kind: str) -> str:
    """What ``Status`` says about the number of sessions."""
    make: Any = agent_pb2_grpc.ServiceActorSPStub if kind == "actor" else environment_pb2_grpc.EnvironmentSPStub
    reply = await soon(make(await world.channel()).Status(StatusRequest(names=["nb_sessions"])))
    return reply.statuses["nb_sessions"]


# --- before the initial data ------------------------------------------------------------------------------------------


async def test_heartbeats_are_answered_in_every_phase(world: World, kind: str):
    """A HEARTBEAT is echoed before the initial data, while active, while ending, and after LAST_ACK."""
    hand = Hand()
    line = await world.participant(kind, hand)
    await line.expect_nothing()
    await line.join()
    await line.expect_nothing()
    session = await hand.session()
    session.start(auto_done_sending=False)
    await line.expect(NORMAL, "init_output")
    await line.expect_nothing()
    await line.send(LAST)
    await line.expect_nothing()
    session.sending_done()
    await line.expect(LAST_ACK)
    await line.expect_nothing()
    hand.release()
    await line.finish()


async def test_last_before_the_initial_data_is_acknowledged(world: World, kind: str):
    """LAST before the initial data is answered with LAST_ACK, and the function is never called."""
    hand = Hand()
    line = await world.participant(kind, hand)
    await line.send(LAST)
    await line.expect(LAST_ACK)
    await line.finish()
    assert hand.calls == 0


async def test_end_before_the_initial_data_ends_the_call(world: World, kind: str):
    """END before the initial data completes the call at once, without the function being called."""
    hand = Hand()
    line = await world.participant(kind, hand)
    await line.finish()
    assert hand.calls == 0


async def test_a_half_close_before_the_initial_data_ends_the_call(world: World, kind: str):
    """An Orchestrator that says nothing at all and closes its side gets its call completed."""
    hand = Hand()
    line = await world.participant(kind, hand)
    await line.stop_sending()
    assert await line.code() is REFUSED
    assert "stopped sending" in await line.details()
    assert hand.calls == 0


@pytest.mark.parametrize("nonsense", [(LAST_ACK, {}), (99, {}), (NORMAL, {}), (NORMAL, {"details": "hello"})])
async def test_nonsense_before_the_initial_data_ends_the_call(world: World, kind: str, nonsense: Any):
    """Anything but the initial data, a heartbeat or the end is refused, and the function is never called."""
    hand = Hand()
    line = await world.participant(kind, hand)
    state, data = nonsense
    await line.send(state, **data)
    assert await line.code() is REFUSED
    assert "instead of initial data" in await line.details()
    assert hand.calls == 0


async def test_initial_data_that_never_comes_ends_the_call(world: World, kind: str, monkeypatch: pytest.MonkeyPatch):
    """The Orchestrator has a bounded time to send the initial data."""
    monkeypatch.setattr(participation, "INIT_TIMEOUT", 0.05)
    hand = Hand()
    line = await world.participant(kind, hand)
    assert await line.code() is REFUSED
    assert "no initial data within 0.05 s" in await line.details()
    assert hand.calls == 0


async def test_a_call_that_is_cancelled_before_the_initial_data_leaves_nothing(world: World, kind: str):
    """The Orchestrator may change its mind; the same participant can be called again."""
    recorder = Recorder()
    line = await world.participant(kind, recorder)
    await line.expect_nothing()
    line.call.cancel()
    again = await world.participant(kind, None)
    await again.begin()
    await again.finish()


# --- starting ---------------------------------------------------------------------------------------------------------


async def test_starting_twice_is_an_error(world: World, kind: str):
    """start() can be called once."""
    line, session, hand = await world.in_hand(kind)
    session.start()
    with pytest.raises(Exception, match=r"start\(\) was called already"):
        session.start()
    await line.expect(NORMAL, "init_output")
    hand.release()
    await line.finish()


async def test_starting_after_the_end_is_an_error(world: World, kind: str):
    """start() says that the trial is over, and why."""
    line, session, hand = await world.in_hand(kind)
    await line.send(END, details="no more")
    await until(session.is_trial_over)
    with pytest.raises(Exception, match=r"cannot start, the trial is over \(no more\)"):
        session.start()
    hand.release()
    await line.expect_end()


async def test_nothing_goes_out_before_start(world: World, kind: str, caplog: pytest.LogCaptureFixture):
    """What is sent before start() is dropped with a warning each, and all_events() ends at once."""
    line, session, hand = await world.in_hand(kind)
    session.add_reward(1, 1, ["ann"])
    session.send_message(StringValue(value="x"), ["ann"])
    assert [event async for event in session.all_events()] == []
    await line.expect_nothing()
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert [("not started" in text or "before start()" in text) for text in warnings] == [True] * 3
    hand.release()
    await line.finish()


async def test_a_function_that_never_starts_acknowledges_nothing(world: World, kind: str):
    """Without start(), the announced end is not acknowledged."""
    hand = Hand()
    line = await world.participant(kind, hand)
    await line.join()
    await hand.session()
    await line.send(LAST)
    await line.expect_nothing()
    hand.release()
    await line.expect_end()


# --- returning and raising --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [0, 1, 2, 5])
async def test_a_function_that_returns_at_once_ends_the_call_with_everything_sent(world: World, kind: str, wait: int):
    """However early the function returns, all that it has sent goes out, and the call is completed with OK."""

    async def impl(session: Any) -> None:
        session.start()
        for value in range(5):
            session.add_reward(value, 1, "ann")
        session.send_message(StringValue(value="bye"), "ann")
        await turns(wait)

    line = await world.participant(kind, impl)
    await line.begin()
    for value in range(5):
        assert (await line.expect(NORMAL, "reward")).value == value
    await line.expect(NORMAL, "message")
    await line.expect_end()


@pytest.mark.parametrize("wait", [0, 1, 5])
async def test_a_function_that_raises_ends_the_call_with_everything_sent(world: World, kind: str, wait: int):
    """What was sent before an exception goes out; then the call fails, without the text of the exception."""

    async def impl(session: Any) -> None:
        session.start()
        for value in range(5):
            session.add_reward(value, 1, "ann")
        await turns(wait)
        raise ValueError("secret")

    line = await world.participant(kind, impl)
    await line.begin()
    for value in range(5):
        assert (await line.expect(NORMAL, "reward")).value == value
    assert await line.code() is INTERNAL
    assert "secret" not in await line.details()


async def test_an_exception_is_logged_with_its_traceback(world: World, kind: str, caplog: pytest.LogCaptureFixture):
    """The log tells what the function raised, and where, once."""

    async def impl(session: Any) -> None:
        session.start()
        raise ValueError("a mistake of the user")

    line = await world.participant(kind, impl)
    await line.begin()
    assert await line.code() is INTERNAL
    await turns()
    told = [record for record in caplog.records if record.exc_info and isinstance(record.exc_info[1], ValueError)]
    assert [record.levelname for record in told] == ["ERROR"]


async def test_a_session_that_failed_can_be_had_again(world: World, kind: str):
    """After an exception neither the number of sessions nor the trial's id remembers it."""

    async def impl(session: Any) -> None:
        session.start()
        raise ValueError("a mistake of the user")

    line = await world.participant(kind, impl)
    for _ in range(2):
        await line.begin()
        assert await line.code() is INTERNAL
        assert await sessions_of(world, kind) == "0"
        line = await world.participant(kind, None)
    line.call.cancel()


async def test_the_same_participant_runs_once_at_a_time(world: World, kind: str):
    """A second call for a trial and name that run here is refused, and the first is not disturbed."""
    recorder = Recorder()
    line = await world.participant(kind, recorder)
    await line.begin()
    second = await world.participant(kind, None)
    await second.join()
    assert await second.code() is REFUSED
    assert "runs here already" in await second.details()
    assert await sessions_of(world, kind) == "1"
    await line.finish()
    assert recorder.types == ["FINAL"]


async def test_a_function_that_is_cancelled_from_within_fails_its_call(world: World, kind: str):
    """A CancelledError of the function's own is a failure like any other: the Orchestrator gets an answer."""

    async def impl(session: Any) -> None:
        session.start()
        raise asyncio.CancelledError

    line = await world.participant(kind, impl)
    await line.begin()
    assert await line.code() is INTERNAL


async def test_returning_before_the_end_is_worth_a_warning(world: World, kind: str, caplog: pytest.LogCaptureFixture):
    """A function that leaves its trial early is told so in the log, and nothing of a lost connection."""

    async def impl(session: Any) -> None:
        session.start()

    line = await world.participant(kind, impl)
    await line.begin()
    await line.expect_end()
    await turns()
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "returned before the end of the trial" in warnings[0]


# --- the end of the trial ---------------------------------------------------------------------------------------------


async def test_a_soft_end_gives_one_final_event(world: World, kind: str):
    """LAST, then END: one FINAL event without data, and is_trial_over() is True when it is seen."""
    over: list[bool] = []
    recorder = Recorder(react=lambda session, event: over.append(session.is_trial_over()))
    line = await world.participant(kind, recorder)
    await line.begin()
    await line.send(LAST)
    await line.message("one more")
    await line.send(END)
    await line.expect_end()
    assert recorder.types == ["ENDING", "FINAL"]
    assert over[-1]
    final = recorder.events[-1]
    assert (final.observation, final.actions, final.rewards, final.messages) == (None, [], [], [])


async def test_a_hard_end_gives_one_final_event_and_its_reason(
    world: World, kind: str, caplog: pytest.LogCaptureFixture
):
    """END without LAST ends the loop with one FINAL event; why is logged and stays readable."""
    recorder = Recorder()
    line = await world.participant(kind, recorder)
    await line.begin()
    await line.send(END, details="pulled the plug")
    await line.expect_end()
    session = await recorder.session()
    assert recorder.types == ["FINAL"]
    assert session.is_trial_over()
    assert session.end_reason == "pulled the plug"
    assert any("pulled the plug" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("wait", [0, 1, 3])
async def test_an_end_right_behind_the_initial_data_ends_the_call(world: World, kind: str, wait: int):
    """END as the next message after the initial data: the function sees FINAL, or is not called any more."""
    recorder = Recorder()
    line = await world.participant(kind, recorder)
    await line.join()
    await turns(wait)
    await line.send(END)
    assert await line.code() is OK
    assert recorder.types in (["FINAL"], [])
    assert await sessions_of(world, kind) == "0"


async def test_an_end_right_after_start_ends_the_call(world: World, kind: str):
    """END as soon as start() has been heard: one FINAL event, and the call is completed."""
    recorder = Recorder()
    line = await world.participant(kind, recorder)
    await line.begin()
    await line.finish()
    assert recorder.types == ["FINAL"]


async def test_a_late_consumer_gets_everything(world: World, kind: str):
    """Events that came before all_events() was first called, FINAL included, are delivered then."""
    line, session, hand = await world.in_hand(kind)
    session.start()
    await line.expect(NORMAL, "init_output")
    await line.message("one")
    await line.message("two")
    await line.send(END)
    await until(session.is_trial_over)
    types = [event.type async for event in session.all_events()]
    assert types == [EventType.ACTIVE, EventType.ACTIVE, EventType.FINAL]
    assert [event async for event in session.all_events()] == []
    hand.release()
    await line.expect_end()


async def test_events_before_start_are_kept(world: World, kind: str):
    """What arrives between the initial data and start() is delivered after it."""
    line, session, hand = await world.in_hand(kind)
    await line.message("early")
    await line.expect_nothing()
    session.start()
    event = await soon(anext(session.all_events()))
    assert event.messages[0].sender_name == "bob"
    await line.expect(NORMAL, "init_output")
    hand.release()
    await line.expect_end()


async def test_the_end_lets_a_function_take_its_time(world: World, kind: str, short_grace: None):
    """After END the function may go on for as long as it likes, even when the call is gone."""
    finished = asyncio.Event()
    proceed = asyncio.Event()

    async def impl(session: Any) -> None:
        session.start()
        async for _ in session.all_events():
            pass
        await proceed.wait()
        finished.set()

    line = await world.participant(kind, impl)
    await line.begin()
    await line.send(END)
    await line.stop_sending()
    await asyncio.sleep(0.1)
    line.call.cancel()
    await asyncio.sleep(0.1)
    proceed.set()
    await soon(finished.wait())


# --- the generator of events ------------------------------------------------------------------------------------------


async def started(world: World, kind: str) -> tuple[ServiceLine, Any, Hand]:
    """A session that was started, and is in the hands of the test."""
    line, session, hand = await world.in_hand(kind)
    session.start()
    await line.expect(NORMAL, "init_output")
    return line, session, hand


async def test_sending_false_ends_the_generator(world: World, kind: str):
    """asend(False) ends the loop; asend(True) and asend(None) give the next event."""
    line, session, hand = await started(world, kind)
    for text in ("one", "two", "three", "four"):
        await line.message(text)
    events = session.all_events()
    await soon(anext(events))
    await soon(events.asend(True))
    await soon(events.asend(None))
    with pytest.raises(StopAsyncIteration):
        await soon(events.asend(False))
    assert session.end_reason is None
    left = await soon(anext(session.all_events()))
    assert left.messages[0].payload.value == StringValue(value="four").SerializeToString()
    hand.release()
    await line.expect_end()


async def test_a_new_generator_resumes_where_the_last_one_stopped(world: World, kind: str):
    """Leaving the loop with break loses nothing."""
    line, session, hand = await started(world, kind)
    for text in ("one", "two"):
        await line.message(text)
    seen = []
    for _ in range(2):
        async for event in session.all_events():
            seen.append(event.messages[0].payload.value[2:])
            break
    assert seen == [b"one", b"two"]
    hand.release()
    await line.finish()


async def test_cancelling_the_loop_propagates_and_loses_nothing(world: World, kind: str):
    """wait_for() around the next event raises its timeout, and the event that comes later is there."""
    line, session, hand = await started(world, kind)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(anext(session.all_events()), 0.01)
    await line.message("late")
    event = await soon(anext(session.all_events()))
    assert event.messages
    hand.release()
    await line.finish()


async def test_two_loops_share_the_events(world: World, kind: str):
    """Each event goes to one of two generators that wait at the same time; both end."""
    line, session, hand = await started(world, kind)

    async def collect() -> int:
        return len([event async for event in session.all_events()])

    both = asyncio.gather(collect(), collect())
    await turns()
    for text in ("one", "two", "three"):
        await line.message(text)
    await line.send(END)
    assert sum(await soon(both)) == 4
    hand.release()
    await line.expect_end()


async def test_event_loop_is_all_events(world: World, kind: str, caplog: pytest.LogCaptureFixture):
    """The old name still works."""
    line, session, hand = await started(world, kind)
    await line.send(END)
    assert [event.type async for event in session.event_loop()] == [EventType.FINAL]
    hand.release()
    await line.expect_end()


# --- unexpected messages ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "unexpected", [(LAST_ACK, {}), (77, {}), (NORMAL, {}), (NORMAL, {"details": "hello"}), (LAST, {"details": "x"})]
)
async def test_unexpected_messages_are_only_logged(world: World, kind: str, unexpected: Any):
    """LAST_ACK, an unknown state, NORMAL without data and a text change nothing."""
    recorder = Recorder()
    line = await world.participant(kind, recorder)
    await line.begin()
    state, data = unexpected
    await line.send(state, **data)
    await line.expect_nothing()
    await line.message("goes on")
    await recorder.wait_for(1)
    await line.finish()
    assert recorder.types[-1] == "FINAL"


async def test_data_of_the_other_kind_is_ignored(world: World, kind: str, caplog: pytest.LogCaptureFixture):
    """A second set of initial data is no event."""
    recorder = Recorder()
    line = await world.participant(kind, recorder)
    await line.begin()
    await line.join()
    await line.expect_nothing()
    await line.finish()
    assert recorder.types == ["FINAL"]
    assert any("init_input" in record.getMessage() for record in caplog.records)


# --- losing the connection --------------------------------------------------------------------------------------------


async def test_a_half_close_without_end_ends_the_loop(world: World, kind: str):
    """An Orchestrator that stops sending has lost the trial: what came is delivered, and no FINAL."""
    recorder = Recorder()
    line = await world.participant(kind, recorder)
    await line.begin()
    await line.message("one")
    await line.stop_sending()
    await line.code()
    session = await recorder.session()
    assert recorder.types == ["ACTIVE"]
    assert not session.is_trial_over()
    assert "stopped sending" in session.end_reason


async def test_a_cancelled_call_ends_the_loop(world: World, kind: str):
    """A cancelled call ends the loop without FINAL, and the function still finishes what it does."""
    recorder = Recorder()
    line = await world.participant(kind, recorder)
    await line.begin()
    await line.message("one")
    await recorder.wait_for(1)
    line.call.cancel()
    await soon(recorder.done.wait())
    session = await recorder.session()
    assert recorder.types == ["ACTIVE"]
    assert not session.is_trial_over()
    assert session.end_reason
    await soon(wait_until_free(world, kind))


async def wait_until_free(world: World, kind: str) -> None:
    while await sessions_of(world, kind) != "0":
        await turns(1)


async def test_a_lost_channel_ends_the_loop(world: World, kind: str):
    """When the Orchestrator's channel is closed, the loop ends without FINAL, with the reason on the session."""
    recorder = Recorder()
    line = await world.participant(kind, recorder)
    await line.begin()
    reading = asyncio.create_task(line.next())  # old versions of gRPC only end calls that somebody waits for
    await turns()
    await (await world.channel()).close()
    await asyncio.wait({reading})
    assert reading.cancelled() or reading.exception() is not None
    await soon(recorder.done.wait())
    session = await recorder.session()
    assert (recorder.types, session.is_trial_over()) == ([], False)
    assert session.end_reason


async def test_a_lost_function_that_waits_for_something_else_is_cancelled(world: World, kind: str, short_grace: None):
    """A function that never comes back to its loop is cancelled after a while, and may clean up."""
    cleaned = asyncio.Event()

    async def impl(session: Any) -> None:
        session.start()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    line = await world.participant(kind, impl)
    await line.begin()
    line.call.cancel()
    await soon(cleaned.wait())
    await soon(wait_until_free(world, kind))


async def test_a_lost_function_that_fails_when_cancelled_is_logged(
    world: World, kind: str, short_grace: None, caplog: pytest.LogCaptureFixture
):
    """What a function raises when it is cancelled is in the log, and nowhere else."""

    async def impl(session: Any) -> None:
        session.start()
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("in the clean-up")

    line = await world.participant(kind, impl)
    await line.begin()
    line.call.cancel()
    await soon(wait_until_free(world, kind))
    await turns()
    assert any(record.exc_info and "in the clean-up" in str(record.exc_info[1]) for record in caplog.records)


async def test_a_lost_function_in_its_loop_can_take_its_time(world: World, kind: str, short_grace: None):
    """A function whose loop has ended knows of the loss: it is not cancelled while it finishes."""
    proceed, finished = asyncio.Event(), asyncio.Event()

    async def impl(session: Any) -> None:
        session.start()
        async for _ in session.all_events():
            pass
        await proceed.wait()
        finished.set()

    line = await world.participant(kind, impl)
    await line.begin()
    line.call.cancel()
    await asyncio.sleep(0.15)
    proceed.set()
    await soon(finished.wait())


async def test_a_lost_function_that_comes_back_in_time_is_not_cancelled(world: World, kind: str):
    """A function that works on an event when the connection is lost comes back to a loop that ends."""
    proceed = asyncio.Event()
    recorder = Recorder()

    async def impl(session: Any) -> None:
        session.start()
        async for event in session.all_events():
            recorder.events.append(event)
            await proceed.wait()
        recorder.done.set()

    line = await world.participant(kind, impl)
    await line.begin()
    await line.message("one")
    await line.message("two")
    await line.expect_nothing()
    line.call.cancel()
    await turns()
    proceed.set()
    await soon(recorder.done.wait())
    assert recorder.types == ["ACTIVE", "ACTIVE"]


async def test_sending_after_the_loss_is_a_warning(world: World, kind: str, caplog: pytest.LogCaptureFixture):
    """Once the connection is lost, what is sent is dropped, and the log says why."""
    line, session, hand = await started(world, kind)
    line.call.cancel()
    await until(lambda: session.end_reason)
    caplog.clear()
    session.add_reward(1, 1, "ann")
    assert "a reward is not sent" in caplog.text
    hand.release()


async def test_a_flood_ends_the_session(world: World, kind: str, monkeypatch: pytest.MonkeyPatch):
    """The events that wait for the user have a limit; beyond it the session ends after what it has."""
    monkeypatch.setattr(session_base, "EVENT_LIMIT", 5)
    line, session, hand = await world.in_hand(kind)
    session.start()
    await line.expect(NORMAL, "init_output")
    for _ in range(6):
        await line.message("x")
    await until(lambda: session.end_reason)
    assert "5 events wait" in session.end_reason
    assert [event.type.name async for event in session.all_events()] == ["ACTIVE"] * 5
    hand.release()
    assert await line.code() is REFUSED


# --- done sending -----------------------------------------------------------------------------------------------------


async def test_sending_done_by_the_user(world: World, kind: str, caplog: pytest.LogCaptureFixture):
    """Without automatic acknowledgement: an error while active, LAST_ACK once while ending, a warning after."""
    line, session, hand = await world.in_hand(kind)
    session.start(auto_done_sending=False)
    await line.expect(NORMAL, "init_output")
    with pytest.raises(Exception, match="only be called while the trial is ending"):
        session.sending_done()
    await line.send(LAST)
    await line.expect_nothing()
    session.add_reward(1, 1, "ann")
    session.sending_done()
    session.sending_done()
    session.add_reward(2, 1, "ann")
    await line.expect(NORMAL, "reward")
    await line.expect(LAST_ACK)
    await line.expect_nothing()
    await line.send(END)
    await until(session.is_trial_over)
    caplog.clear()
    session.sending_done()
    assert "too late" in caplog.text
    hand.release()
    await line.expect_end()


async def test_sending_done_is_refused_when_it_is_automatic(world: World, kind: str):
    """sending_done() is an error for sessions that do it themselves."""
    line, session, hand = await started(world, kind)
    await line.send(LAST)
    await line.expect_nothing()
    with pytest.raises(Exception, match="auto_done_sending=False"):
        session.sending_done()
    hand.release()
    await line.finish()


# --- metadata ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "metadata",
    [(), (("trial-id", ""),), (("trial-id", "a"), ("trial-id", "b")), (("trial-id", "x" * 5000),)],
    ids=["none", "empty", "two", "long"],
)
async def test_exactly_one_trial_id_is_needed(world: World, kind: str, metadata: Any):
    """A call without exactly one short trial-id is refused as INVALID_ARGUMENT."""
    line = await world.participant(kind, Hand(), metadata=metadata)
    assert await line.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "trial-id" in await line.details()


# --- shutting down ----------------------------------------------------------------------------------------------------


async def test_closing_the_context_ends_the_loops(world: World, kind: str, monkeypatch: pytest.MonkeyPatch):
    """When the server is stopped, sessions end as with any lost connection, and their functions finish."""
    monkeypatch.setattr(served, "STOP_GRACE", 0.05)
    recorder = Recorder()
    line = await world.participant(kind, recorder)
    await line.begin()
    await soon(world.context.close())
    assert recorder.returned
    session = await recorder.session()
    assert not session.is_trial_over()
    assert session.end_reason
    assert await line.code() is not OK


async def test_closing_the_context_cancels_what_does_not_end(world: World, kind: str, monkeypatch: pytest.MonkeyPatch):
    """A function that waits for something else when its Context is closed is cancelled soon."""
    monkeypatch.setattr(served, "STOP_GRACE", 0.05)
    monkeypatch.setattr(base, "CLOSE_GRACE", 0.05)
    cancelled = asyncio.Event()

    async def impl(session: Any) -> None:
        session.start()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    line = await world.participant(kind, impl)
    await line.begin()
    await soon(world.context.close())
    assert cancelled.is_set()
