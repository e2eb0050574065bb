"""An actor's session, as its function sees it and as the Orchestrator does."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import BytesValue, Int32Value, StringValue
from scripted import Hand, Recorder, ServiceLine, World, leave, soon

from cogment_core.api import common_pb2
from cogment_core.api.common_pb2 import END, LAST, LAST_ACK, NORMAL
from cogment_core.enums import EventType
from cogment_core.errors import CogmentError, DecodeError, SpecsError, UsageError

REFUSED = grpc.StatusCode.FAILED_PRECONDITION


async def started(world: World, *, auto: bool = True, **init: Any) -> tuple[ServiceLine, Any, Hand]:
    """A session that was started, and is in the hands of the test."""
    line, session, hand = await world.in_hand("actor", **init)
    session.start(auto_done_sending=auto)
    await line.expect(NORMAL, "init_output")
    return line, session, hand


# --- what the session says --------------------------------------------------------------------------------------------


async def test_what_a_session_knows(world: World):
    """Names, class, environment, trial and config are those of the initial data."""
    config = common_pb2.SerializedMessage(content=StringValue(value="easy").SerializeToString())
    line, session, hand = await started(world, trial="trial:1.2", env_name="the env", config=config)
    assert (session.name, session.actor_class, session.class_name) == ("ann", "player", "player")
    assert (session.impl_name, session.env_name, session.get_trial_id()) == ("acting", "the env", "trial:1.2")
    assert session.config == StringValue(value="easy")
    assert session.config is session.config
    assert session.config_serialized == config.content
    assert str(session) == "actor 'ann' in trial 'trial:1.2'"
    assert session.end_reason is None
    await leave(line, hand)


async def test_without_config(world: World):
    """There is no config unless one was given."""
    line, session, hand = await started(world)
    assert session.config is None
    assert session.config_serialized is None
    await leave(line, hand)


async def test_a_config_that_the_specs_do_not_know(world: World):
    """A config for a class without config type is an error where it is looked at, and readable as bytes."""
    hand = Hand()
    world.context.register_actor(hand, "judging", ["judge"])
    config = common_pb2.SerializedMessage(content=b"abc")
    line = await world.actor(actor_class="judge", config=config)
    await line.join()
    session = await hand.session()
    with pytest.raises(SpecsError, match="config"):
        _ = session.config
    assert session.config_serialized == b"abc"
    await leave(line, hand)


async def test_a_config_that_cannot_be_read(world: World):
    """A config that is something else than the specs say is a DecodeError in the user's function."""
    line, session, hand = await started(world, config=common_pb2.SerializedMessage(content=b"\xff\xff"))
    with pytest.raises(DecodeError, match="config of actor 'ann'"):
        _ = session.config
    await leave(line, hand)


async def test_actors_are_not_told_who_else_takes_part(world: World):
    """get_active_actors() is an error for actors."""
    line, session, hand = await started(world)
    with pytest.raises(CogmentError):
        session.get_active_actors()
    await leave(line, hand)


# --- events -----------------------------------------------------------------------------------------------------------


async def test_one_message_is_one_event(world: World):
    """Observation, reward and message come as events of their own, in the order of arrival."""
    line, session, hand = await started(world)
    await line.observe("hello", tick=4)
    await line.reward(2.5, tick=3)
    await line.message("psst")
    events = session.all_events()
    first, second, third = [await soon(anext(events)) for _ in range(3)]
    assert first.observation.observation == StringValue(value="hello")
    assert (first.observation.tick_id, first.observation.timestamp) == (4, 1004)
    assert (first.actions, first.rewards, first.messages) == ([], [], [])
    (reward,) = second.rewards
    assert (reward.value, reward.tick_id, reward.receiver_name, reward.get_nb_sources()) == (2.5, 3, "ann", 0)
    assert list(reward.all_sources()) == []
    (message,) = third.messages
    assert (message.tick_id, message.sender_name, message.receiver_name) == (3, "bob", "ann")
    assert message.payload.Is(StringValue.DESCRIPTOR)
    assert {event.type for event in (first, second, third)} == {EventType.ACTIVE}
    await leave(line, hand)


async def test_payloads_are_decoded_once_and_when_looked_at(world: World):
    """The same object is given each time, and the bytes are there without decoding."""
    line, session, hand = await started(world)
    await line.observe("hello")
    event = await soon(anext(session.all_events()))
    assert event.observation.observation_serialized == StringValue(value="hello").SerializeToString()
    assert event.observation.observation is event.observation.observation
    assert event.observation.snapshot is event.observation.observation
    await leave(line, hand)


async def test_an_observation_that_cannot_be_read_is_an_error_of_the_user_and_no_end(world: World):
    """Undecodable bytes raise a DecodeError where they are looked at; the session goes on."""
    line, session, hand = await started(world)
    await line.send(observation=common_pb2.Observation(tick_id=0, content=b"\xff\xff\xff"))
    await line.observe("good", tick=1)
    events = session.all_events()
    bad, good = await soon(anext(events)), await soon(anext(events))
    with pytest.raises(DecodeError, match="StringValue"):
        _ = bad.observation.observation
    assert bad.observation.observation_serialized == b"\xff\xff\xff"
    assert good.observation.observation.value == "good"
    await leave(line, hand)


async def test_a_decode_error_that_is_not_caught_ends_the_session(world: World):
    """Undecodable bytes that the user does not care for end the call with an error, and never hang."""

    def look(session: Any, event: Any) -> None:
        _ = event.observation.observation

    line = await world.actor(Recorder(react=look))
    await line.begin()
    await line.send(observation=common_pb2.Observation(tick_id=0, content=b"\xff\xff\xff"))
    assert await line.code() is grpc.StatusCode.INTERNAL


async def test_reward_sources(world: World):
    """Each source has its value, confidence and sender; user data is None if there was none."""
    data = AnyMessage()
    data.Pack(StringValue(value="why"))
    sources = (
        common_pb2.RewardSource(sender_name="env", value=1, confidence=2, user_data=data),
        common_pb2.RewardSource(sender_name="bob", value=4, confidence=1),
    )
    line, session, hand = await started(world)
    await line.reward(2, *sources)
    event = await soon(anext(session.all_events()))
    (reward,) = event.rewards
    first, second = reward.all_sources()
    assert reward.get_nb_sources() == 2
    assert (first.value, first.confidence, first.sender_name) == (1, 2, "env")
    unpacked = StringValue()
    assert first.user_data.Unpack(unpacked)
    assert unpacked.value == "why"
    assert (second.sender_name, second.user_data) == ("bob", None)
    await leave(line, hand)


async def test_the_tick_is_that_of_the_last_observation_received(world: World):
    """get_tick_id() is -1 at first, then the tick of the last observation, whether it was delivered or not."""
    line, session, hand = await started(world)
    assert session.get_tick_id() == -1
    for tick in range(3):
        await line.observe("x", tick=tick)
    await line.expect_nothing()
    assert session.get_tick_id() == 2
    await leave(line, hand)


async def test_events_after_last_are_ending_events(world: World):
    """The event's type is decided when it arrives: ENDING from LAST on."""
    line, session, hand = await started(world)
    await line.observe("a")
    await line.reward(1)
    await line.send(LAST)
    await line.observe("b", tick=1)
    await line.message("c")
    await line.send(END)
    types = [event.type.name async for event in session.all_events()]
    assert types == ["ACTIVE", "ACTIVE", "ENDING", "ENDING", "FINAL"]
    await leave(line, hand)


# --- acting -----------------------------------------------------------------------------------------------------------


async def test_an_action_answers_the_observation_that_was_delivered(world: World):
    """The action's tick is that of the last delivered observation, -1 before; its time is now, in nanoseconds."""
    line, session, hand = await started(world)
    session.do_action(Int32Value(value=1))
    for tick in range(2):
        await line.observe("x", tick=tick)
    await line.expect(NORMAL, "action")
    events = session.all_events()
    before = time.time_ns()
    for _ in range(2):
        await soon(anext(events))
        session.do_action(Int32Value(value=2))
    for tick in range(2):
        action = await line.expect(NORMAL, "action")
        assert action.tick_id == tick
        assert before <= action.timestamp <= time.time_ns()
        assert action.content == Int32Value(value=2).SerializeToString()
    await leave(line, hand)


async def test_no_action_is_an_empty_action(world: World):
    """do_action(None) sends an action without content."""
    line, session, hand = await started(world)
    session.do_action(None)
    action = await line.expect(NORMAL, "action")
    assert (action.tick_id, action.content) == (-1, b"")
    await leave(line, hand)


@pytest.mark.parametrize("wrong", [StringValue(value="x"), "text", 3, b"bytes"])
async def test_an_action_of_another_type_is_an_error(world: World, wrong: Any):
    """An action has to be of the action space; nothing is sent otherwise."""
    line, session, hand = await started(world)
    with pytest.raises(UsageError, match=r"an action has to be a 'google.protobuf.Int32Value', not"):
        session.do_action(wrong)
    await line.expect_nothing()
    await leave(line, hand)


async def test_messages_go_out_in_the_order_of_the_calls(world: World):
    """Rewards, actions and messages are sent as they were called."""
    line, session, hand = await started(world)
    session.do_action(Int32Value(value=1))
    session.add_reward(1, 1, "bob")
    session.send_message(StringValue(value="x"), "bob")
    session.do_action(Int32Value(value=2))
    kinds = [(await line.next()).WhichOneof("data") for _ in range(4)]
    assert kinds == ["action", "reward", "message", "action"]
    await leave(line, hand)


# --- rewards and messages ---------------------------------------------------------------------------------------------


async def test_a_reward_on_the_wire(world: World):
    """Each receiver gets a reward with one source: this actor, the value, the confidence, the packed user data."""
    line, session, hand = await started(world)
    session.add_reward(0.5, 2, ["bob", "player.*"], tick_id=7, user_data=StringValue(value="why"))
    for receiver in ("bob", "player.*"):
        reward = await line.expect(NORMAL, "reward")
        assert (reward.tick_id, reward.receiver_name, reward.value) == (7, receiver, 0.5)
        (source,) = reward.sources
        assert (source.sender_name, source.value, source.confidence) == ("ann", 0.5, 2)
        assert source.user_data.Is(StringValue.DESCRIPTOR)
    session.add_reward(1, 1, ["bob"])
    reward = await line.expect(NORMAL, "reward")
    assert reward.tick_id == -1
    assert not reward.sources[0].HasField("user_data")
    await leave(line, hand)


@pytest.mark.parametrize(
    ("to", "receivers"),
    [("env", ["env"]), ("*", ["*"]), ("judge.*", ["judge.*"]), (("a", "b"), ["a", "b"]), ([], []), ({"a": 1}, ["a"])],
)
async def test_a_text_is_one_receiver(world: World, to: Any, receivers: list[str]):
    """A str given as ``to`` is one receiver and not its letters; other iterables are several."""
    line, session, hand = await started(world)
    session.add_reward(1, 1, to)
    session.send_message(None, to)
    kinds = ["reward"] * len(receivers) + ["message"] * len(receivers)
    for kind, receiver in zip(kinds, receivers * 2, strict=True):
        assert (await line.expect(NORMAL, kind)).receiver_name == receiver
    await line.expect_nothing()
    await leave(line, hand)


async def test_nan_is_a_reward(world: World):
    """NaN travels: existing programs use it for "no reward"."""
    line, session, hand = await started(world)
    session.add_reward(math.nan, 1, "bob")
    assert math.isnan((await line.expect(NORMAL, "reward")).value)
    await line.reward(math.nan)
    event = await soon(anext(session.all_events()))
    assert math.isnan(event.rewards[0].value)
    await leave(line, hand)


@pytest.mark.parametrize("call", ["reward", "message"])
@pytest.mark.parametrize("to", [None, 3, [None], [b"bob"]])
async def test_receivers_that_are_no_text_are_an_error(world: World, call: str, to: Any):
    """What is no name, and no iterable of names, is refused with a CogmentError."""
    line, session, hand = await started(world)
    with pytest.raises(UsageError, match="to has to be"):
        session.add_reward(1, 1, to) if call == "reward" else session.send_message(None, to)
    await line.expect_nothing()
    await leave(line, hand)


@pytest.mark.parametrize("wrong", ["text", 3, {"a": 1}])
async def test_payloads_that_are_no_protobuf_messages_are_an_error(world: World, wrong: Any):
    """User data and message payloads are protobuf messages; anything else is refused with a CogmentError."""
    line, session, hand = await started(world)
    with pytest.raises(UsageError, match="protobuf message"):
        session.send_message(wrong, "bob")
    with pytest.raises(UsageError, match="protobuf message"):
        session.add_reward(1, 1, "bob", user_data=wrong)
    await line.expect_nothing()
    await leave(line, hand)


async def test_a_message_on_the_wire(world: World):
    """A message has tick -1, the sender, one receiver and the packed payload; without payload it has none."""
    line, session, hand = await started(world)
    session.send_message(StringValue(value="x"), ["bob", "env"])
    session.send_message(None, "bob")
    for receiver in ("bob", "env"):
        message = await line.expect(NORMAL, "message")
        assert (message.tick_id, message.sender_name, message.receiver_name) == (-1, "ann", receiver)
        assert message.payload.Is(StringValue.DESCRIPTOR)
    assert not (await line.expect(NORMAL, "message")).HasField("payload")
    await leave(line, hand)


@pytest.mark.parametrize(("flag", "receivers"), [(True, ["bob", "env"]), (False, ["bob"])])
async def test_to_environment_names_the_environment(world: World, flag: bool, receivers: list[str]):
    """The deprecated ``to_environment=True`` adds the environment to the receivers, and leaves the list alone."""
    line, session, hand = await started(world)
    to = ["bob"]
    session.send_message(BytesValue(value=b"x"), to, to_environment=flag)
    for receiver in receivers:
        assert (await line.expect(NORMAL, "message")).receiver_name == receiver
    await line.expect_nothing()
    assert to == ["bob"]
    await leave(line, hand)


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_the_end_is_acknowledged_when_the_last_observation_arrives(
    world: World, caplog: pytest.LogCaptureFixture
):
    """LAST_ACK goes out with the first observation after LAST; what the actor sends then is refused with a warning."""
    line, session, hand = await started(world)
    await line.send(LAST)
    await line.message("not yet")
    await line.expect_nothing()
    await line.observe("last", tick=9)
    await line.expect(LAST_ACK)
    await line.observe("another", tick=10)
    caplog.clear()
    session.do_action(Int32Value(value=1))
    assert "done sending" in caplog.text
    await line.expect_nothing()
    await line.send(END)
    types = [event.type.name async for event in session.all_events()]
    assert types == ["ENDING", "ENDING", "ENDING", "FINAL"]
    await leave(line, hand)


async def test_without_automatic_acknowledgement_the_user_has_the_last_word(world: World):
    """auto_done_sending=False: rewards and messages can follow the last observation, until sending_done()."""
    line, session, hand = await started(world, auto=False)
    await line.send(LAST)
    await line.observe("last")
    await line.expect_nothing()
    session.add_reward(1, 1, "bob")
    session.sending_done()
    await line.expect(NORMAL, "reward")
    await line.expect(LAST_ACK)
    await line.send(END)
    await leave(line, hand)


async def test_a_last_observation_before_start_is_acknowledged_by_it(world: World):
    """An actor that starts when the last observation is there already acknowledges at once, and still sees it."""
    line, session, hand = await world.in_hand("actor")
    await line.send(LAST)
    await line.observe("last")
    await line.expect_nothing()
    session.start()
    await line.expect(NORMAL, "init_output")
    await line.expect(LAST_ACK)
    event = await soon(anext(session.all_events()))
    assert (event.type, event.observation.observation.value) == (EventType.ENDING, "last")
    await leave(line, hand)


async def test_an_actor_that_returns_on_its_last_observation_ends_quietly(
    world: World, caplog: pytest.LogCaptureFixture
):
    """LAST_ACK was sent: leaving before END is no early return."""

    async def impl(session: Any) -> None:
        session.start()
        async for event in session.all_events():
            if event.type is EventType.ENDING:
                return

    line = await world.actor(impl)
    await line.begin()
    await line.send(LAST)
    await line.observe("last")
    await line.expect(LAST_ACK)
    await line.expect_end()
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


# --- who runs it ------------------------------------------------------------------------------------------------------


async def test_a_known_implementation_is_used(world: World):
    """The implementation that is asked for runs the actor, if it runs the class."""
    world.context.register_actor(Recorder(), "first", ["player"])
    second = Recorder()
    world.context.register_actor(second, "second", ["player"])
    line = await world.actor(impl_name="second")
    await line.begin()
    assert (await second.session()).impl_name == "second"
    await line.finish()


async def test_an_implementation_without_classes_runs_all(world: World):
    """An implementation that was registered without classes runs actors of any."""
    recorder = Recorder()
    world.context.register_actor(recorder, "any")
    line = await world.actor(impl_name="any", actor_class="judge")
    await line.begin()
    assert (await recorder.session()).actor_class == "judge"
    await line.finish()


async def test_an_implementation_that_does_not_run_the_class_is_refused(world: World):
    """Asking for an implementation and a class that do not fit is an error, which the Orchestrator is told."""
    world.context.register_actor(Recorder(), "judging", ["judge"])
    line = await world.actor(impl_name="judging")
    await line.join()
    assert await line.code() is REFUSED
    assert "'judging' does not run actors of class 'player'" in await line.details()


async def test_an_unknown_implementation_falls_back_with_a_warning(world: World, caplog: pytest.LogCaptureFixture):
    """An unknown implementation is replaced by any that runs the class; the log says so."""
    world.context.register_actor(Recorder(), "judging", ["judge"])
    line = await world.actor(Recorder(), impl_name="unheard of")
    await line.begin()
    assert any(
        record.levelno == logging.WARNING and "'unheard of' is unknown" in record.getMessage()
        for record in caplog.records
    )
    await line.finish()


async def test_an_empty_implementation_is_any(world: World, caplog: pytest.LogCaptureFixture):
    """No implementation asked for: any that runs the class, without a warning."""
    recorder = Recorder()
    line = await world.actor(recorder)
    await line.begin()
    assert (await recorder.session()).impl_name == "acting"
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    await line.finish()


@pytest.mark.parametrize("impl_name", ["", "unheard of"])
async def test_nobody_for_the_class_is_refused(world: World, impl_name: str):
    """An actor of a class that nobody runs here is refused, and the Orchestrator is told."""
    line = await world.actor(Recorder(), actor_class="judge", impl_name=impl_name)
    await line.join()
    assert await line.code() is REFUSED
    assert "'judge'" in await line.details()


async def test_a_class_that_is_not_in_the_specs_is_refused(world: World):
    """An actor class that the specs do not have is refused, and the Orchestrator is told."""
    world.context.register_actor(Recorder(), "any")
    line = await world.actor(actor_class="unheard of")
    await line.join()
    assert await line.code() is REFUSED
    assert "'unheard of' is not in the specs" in await line.details()


async def test_two_actors_of_a_trial_and_two_trials_of_an_actor(world: World):
    """Sessions are told apart by trial and name."""
    recorders = [Recorder() for _ in range(3)]
    waiting = list(recorders)

    async def impl(session: Any) -> None:
        await waiting.pop(0)(session)

    lines = [
        await world.actor(impl),
        await world.actor(actor_name="bob"),
        await world.actor(trial="other"),
    ]
    for line in lines:
        await line.begin()
    for line in lines:
        await line.finish()
    assert [recorder.types for recorder in recorders] == [["FINAL"]] * 3


# --- without specs ----------------------------------------------------------------------------------------------------


async def test_without_specs(make_world: Any, transport: str):
    """Without specs payloads are bytes to read, and any protobuf message to send."""
    world = make_world(transport, settings=None)
    config = common_pb2.SerializedMessage(content=b"abc")
    hand = Hand()
    world.context.register_actor(hand, "any")
    line = await world.actor(actor_class="anything", config=config)
    await line.join()
    session = await hand.session()
    session.start()
    await line.expect(NORMAL, "init_output")
    await line.observe("hello")
    event = await soon(anext(session.all_events()))
    assert event.observation.observation_serialized == StringValue(value="hello").SerializeToString()
    with pytest.raises(SpecsError, match="serialized"):
        _ = event.observation.observation
    with pytest.raises(SpecsError):
        _ = session.config
    assert session.config_serialized == b"abc"
    session.do_action(BytesValue(value=b"x"))
    assert (await line.expect(NORMAL, "action")).content == BytesValue(value=b"x").SerializeToString()
    with pytest.raises(UsageError, match="protobuf message"):
        session.do_action("text")
    await leave(line, hand)


# --- how existing programs use it -------------------------------------------------------------------------------------


async def test_a_live_session_can_change_its_class(world: World):
    """Programs give a session that was started the class of a sub-class made on the fly, and add attributes."""

    class Helper:
        def act(self: Any, value: int) -> None:
            self.model = value
            self.do_action(Int32Value(value=value))

    async def impl(session: Any) -> None:
        session.start()
        session.__class__ = type("Wrapped", (session.__class__, Helper), {})
        async for event in session.all_events():
            if event.observation and event.type is EventType.ACTIVE:
                session.act(5)

    line = await world.actor(impl)
    await line.begin()
    await line.observe("go")
    assert (await line.expect(NORMAL, "action")).content == Int32Value(value=5).SerializeToString()
    await line.finish()


async def test_a_slow_start_after_start_loses_nothing(world: World):
    """A function that loads its model between start() and its loop sees the observations that came meanwhile."""
    loaded = asyncio.Event()
    seen: list[str] = []

    async def impl(session: Any) -> None:
        session.start()
        await loaded.wait()
        async for event in session.all_events():
            if event.observation:
                seen.append(event.observation.observation.value)

    line = await world.actor(impl)
    await line.begin()
    await line.observe("one")
    await line.send(LAST)
    await line.observe("two", tick=1)
    await line.expect(LAST_ACK)
    await line.send(END)
    loaded.set()
    await line.expect_end()
    assert seen == ["one", "two"]


async def test_bound_methods_closures_and_mocks_are_implementations(make_world: Any, transport: str):
    """Whatever can be awaited when it is called can be an implementation."""
    from unittest.mock import AsyncMock

    class Agent:
        async def impl(self, session: Any) -> None:
            session.start()
            async for _ in session.all_events():
                pass

    async def side_effect(session: Any) -> None:
        session.start()
        async for _ in session.event_loop():
            pass

    mock = AsyncMock(side_effect=side_effect)
    for impl in (Agent().impl, lambda session: side_effect(session), mock):
        line = await make_world(transport).actor(impl)
        await line.begin()
        await line.finish()
    mock.assert_awaited_once()
