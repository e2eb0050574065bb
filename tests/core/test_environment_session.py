"""An environment's session, as its function sees it and as the Orchestrator does."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import DoubleValue, Int32Value, StringValue
from scripted import Hand, Recorder, ServiceLine, World, leave, soon

from cogment_core.api import common_pb2, environment_pb2
from cogment_core.api.common_pb2 import END, LAST, LAST_ACK, NORMAL
from cogment_core.enums import ActorStatus, EventType
from cogment_core.errors import CogmentError, DecodeError, SpecsError, UsageError

REFUSED = grpc.StatusCode.FAILED_PRECONDITION
ALL = [("*", StringValue(value="o"))]


async def started(
    world: World, *, auto: bool = True, observations: Any = None, **init: Any
) -> tuple[ServiceLine, Any, Hand]:
    """A session that was started, and is in the hands of the test."""
    line, session, hand = await world.in_hand("environment", **init)
    session.start(observations, auto_done_sending=auto)
    await line.expect(NORMAL, "init_output")
    return line, session, hand


# --- what the session says --------------------------------------------------------------------------------------------


async def test_what_a_session_knows(world: World):
    """Name, implementation, trial, tick, actors and config are those of the initial data."""
    config = common_pb2.SerializedMessage(content=StringValue(value="big").SerializeToString())
    line, session, hand = await started(world, trial="t", tick_id=7, config=config)
    assert (session.name, session.impl_name, session.get_trial_id()) == ("env", "envying", "t")
    assert session.get_tick_id() == 7
    assert session.config == StringValue(value="big")
    actors = session.get_active_actors()
    assert [(actor.actor_name, actor.actor_class_name) for actor in actors] == [("ann", "player"), ("bob", "player")]
    assert str(session) == "environment 'env' in trial 't'"
    await leave(line, hand)


async def test_a_config_that_cannot_be_read(world: World):
    """A config that is something else than the specs say is a DecodeError in the user's function."""
    line, session, hand = await started(world, config=common_pb2.SerializedMessage(content=b"\xff\xff"))
    with pytest.raises(DecodeError, match="config of environment 'env'"):
        _ = session.config
    await leave(line, hand)


# --- observations on the wire -----------------------------------------------------------------------------------------


async def test_the_first_observations_can_come_with_start(world: World):
    """start(observations) sends the empty initial output, and then the set, with tick -1 and the time."""
    before = time.time_ns()
    line, _, hand = await started(world, observations=ALL)
    sent = await line.expect(NORMAL, "observation_set")
    assert sent.tick_id == -1
    assert before <= sent.timestamp <= time.time_ns()
    assert list(sent.observations) == [StringValue(value="o").SerializeToString()]
    assert list(sent.actors_map) == [0, 0]
    await leave(line, hand)


async def test_start_can_be_told_of_the_acknowledgement_by_position(world: World):
    """start(observations, auto_done_sending) takes both by position."""
    line, session, hand = await world.in_hand("environment")
    session.start(None, False)
    session.end(ALL)
    for state, kind in ((NORMAL, "init_output"), (LAST, None), (NORMAL, "observation_set")):
        await line.expect(state, kind)
    await line.expect_nothing()
    await leave(line, hand)


async def test_wrong_first_observations_leave_the_session_as_it_was(world: World):
    """start() with wrong observations sends nothing, and can be called again."""
    line, session, hand = await world.in_hand("environment")
    with pytest.raises(UsageError, match="no actor 'eve'"):
        session.start([("eve", StringValue())])
    await line.expect_nothing()
    session.start(ALL)
    await line.expect(NORMAL, "init_output")
    await line.expect(NORMAL, "observation_set")
    await leave(line, hand)


async def test_wrong_observations_send_nothing(world: World):
    """Whatever is wrong, also after the end or before the start, is an error, and nothing is sent."""
    line, session, hand = await world.in_hand("environment")
    wrong = [("*", DoubleValue())]
    for call in (session.produce_observations, session.end):
        with pytest.raises(UsageError):
            call(wrong)
    session.start()
    await line.expect(NORMAL, "init_output")
    for call in (session.produce_observations, session.end):
        with pytest.raises(UsageError):
            call(wrong)
    await line.expect_nothing()
    assert not session.is_trial_over()
    await leave(line, hand)


async def test_observations_before_start_are_dropped(world: World, caplog: pytest.LogCaptureFixture):
    """produce_observations() and end() before start() warn and do nothing."""
    line, session, hand = await world.in_hand("environment")
    session.produce_observations(ALL)
    session.end(ALL)
    await line.expect_nothing()
    assert caplog.text.count("is not sent: the session is not started") == 2
    session.start()
    await line.expect(NORMAL, "init_output")
    session.produce_observations(ALL)
    await line.expect(NORMAL, "observation_set")
    await leave(line, hand)


# --- actions ----------------------------------------------------------------------------------------------------------


async def test_actions_are_in_the_order_of_the_actors(world: World):
    """One action for each actor, with the tick and the time of the set; the session's tick is theirs."""
    line, session, hand = await started(world)
    await line.act(10, 20, tick=5)
    event = await soon(anext(session.all_events()))
    pairs = list(zip(session.get_active_actors(), event.actions, strict=True))
    assert [(actor.actor_name, action.action.value) for actor, action in pairs] == [("ann", 10), ("bob", 20)]
    for index, action in enumerate(event.actions):
        assert (action.actor_index, action.tick_id, action.timestamp) == (index, 5, 2005)
        assert action.status is ActorStatus.ACTIVE
        assert action.action is action.action
        assert action.action_serialized == Int32Value(value=10 * (index + 1)).SerializeToString()
    assert session.get_tick_id() == 5
    assert (event.observation, event.rewards, event.messages) == (None, [], [])
    await leave(line, hand)


async def test_an_unavailable_actor_has_no_action(world: World):
    """Its status is UNAVAILABLE, its action None, its timestamp 0."""
    line, session, hand = await started(world)
    await line.act(10, 0, tick=5, unavailable=(1,))
    event = await soon(anext(session.all_events()))
    here, gone = event.actions
    assert (here.status, here.action.value) == (ActorStatus.ACTIVE, 10)
    assert (gone.status, gone.action, gone.action_serialized) == (ActorStatus.UNAVAILABLE, None, None)
    assert (gone.timestamp, gone.tick_id, gone.actor_index) == (0, 5, 1)
    await leave(line, hand)


async def test_an_empty_action_has_default_values(world: World):
    """What do_action(None) sends is an action with all fields at their defaults."""
    line, session, hand = await started(world)
    await line.send(action_set=environment_pb2.ActionSet(tick_id=0, actions=[b"", b""]))
    event = await soon(anext(session.all_events()))
    assert [action.action for action in event.actions] == [Int32Value(), Int32Value()]
    await leave(line, hand)


async def test_an_action_that_cannot_be_read_is_an_error_of_the_user_and_no_end(world: World):
    """Undecodable bytes raise a DecodeError where they are looked at; the other actions can be read."""
    line, session, hand = await started(world)
    good = Int32Value(value=1).SerializeToString()
    await line.send(action_set=environment_pb2.ActionSet(tick_id=0, actions=[b"\xff", good]))
    event = await soon(anext(session.all_events()))
    with pytest.raises(DecodeError, match="action of actor #0"):
        _ = event.actions[0].action
    assert event.actions[0].action_serialized == b"\xff"
    assert event.actions[1].action.value == 1
    await leave(line, hand)


@pytest.mark.parametrize(
    "action_set",
    [
        environment_pb2.ActionSet(actions=[]),
        environment_pb2.ActionSet(actions=[b""]),
        environment_pb2.ActionSet(actions=[b"", b"", b""]),
        environment_pb2.ActionSet(actions=[b"", b""], unavailable_actors=[2]),
        environment_pb2.ActionSet(actions=[b"", b""], unavailable_actors=[2**32 - 1]),
    ],
    ids=["none", "few", "many", "unavailable", "huge"],
)
async def test_a_malformed_set_of_actions_ends_the_session(world: World, action_set: Any):
    """The loop ends after what had arrived, without FINAL; session and Orchestrator are told what was wrong."""
    recorder = Recorder()
    line = await world.environment(recorder)
    await line.begin()
    await line.act(1, 2)
    await line.send(action_set=action_set)
    assert await line.code() is REFUSED
    assert "actor" in await line.details()
    session = await recorder.session()
    assert recorder.types == ["ACTIVE"]
    assert recorder.returned
    assert not session.is_trial_over()
    assert session.end_reason in await line.details()


async def test_messages_for_the_environment(world: World):
    """Messages are events of their own."""
    line, session, hand = await started(world)
    await line.message("psst", sender="ann")
    event = await soon(anext(session.all_events()))
    assert event.actions == []
    assert event.messages[0].sender_name == "ann"
    await leave(line, hand)


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_the_environment_ends_the_trial(world: World):
    """end() sends LAST, the final observations and LAST_ACK; what still comes is ENDING."""
    line, session, hand = await started(world)
    session.end(ALL)
    await line.expect(LAST)
    await line.expect(NORMAL, "observation_set")
    await line.expect(LAST_ACK)
    await line.message("late")
    await line.send(END)
    assert [event.type.name async for event in session.all_events()] == ["ENDING", "FINAL"]
    await leave(line, hand)


async def test_end_without_automatic_acknowledgement(world: World):
    """auto_done_sending=False: LAST_ACK waits for sending_done(), rewards and messages can come before it."""
    line, session, hand = await started(world, auto=False)
    session.end(ALL)
    session.add_reward(1, 1, "ann")
    session.send_message(StringValue(value="x"), "ann")
    session.sending_done()
    for state, kind in ((LAST, None), (NORMAL, "observation_set"), (NORMAL, "reward"), (NORMAL, "message")):
        await line.expect(state, kind)
    await line.expect(LAST_ACK)
    await leave(line, hand)


@pytest.mark.parametrize("call", ["end", "produce_observations"])
async def test_observations_while_ending_are_the_last(world: World, call: str):
    """After LAST from the Orchestrator both calls send the final set and LAST_ACK, without another LAST."""
    line, session, hand = await started(world)
    await line.send(LAST)
    await line.act(1, 2)
    event = await soon(anext(session.all_events()))
    assert event.type is EventType.ENDING
    getattr(session, call)(ALL)
    await line.expect(NORMAL, "observation_set")
    await line.expect(LAST_ACK)
    await leave(line, hand)


async def test_observations_while_ending_without_automatic_acknowledgement(world: World):
    """auto_done_sending=False: produce_observations() just sends, end() sends the final set."""
    line, session, hand = await started(world, auto=False)
    await line.send(LAST)
    await line.expect_nothing()
    session.produce_observations(ALL)
    session.end(ALL)
    session.sending_done()
    await line.expect(NORMAL, "observation_set")
    await line.expect(NORMAL, "observation_set")
    await line.expect(LAST_ACK)
    await leave(line, hand)


@pytest.mark.parametrize("auto", [True, False])
async def test_after_the_end_everything_is_a_warning(world: World, auto: bool, caplog: pytest.LogCaptureFixture):
    """A second end(), observations, rewards and messages after it raise nothing and send nothing."""
    line, session, hand = await started(world, auto=auto)
    session.end(ALL)
    if not auto:
        session.sending_done()
    for state, kind in ((LAST, None), (NORMAL, "observation_set"), (LAST_ACK, None)):
        await line.expect(state, kind)
    caplog.clear()
    session.end(ALL)
    session.produce_observations(ALL)
    session.add_reward(1, 1, "ann")
    session.send_message(None, "ann")
    await line.expect_nothing()
    assert [record.levelname for record in caplog.records if "not sent" in record.getMessage()] == ["WARNING"] * 4
    await leave(line, hand)


async def test_both_sides_may_end_the_trial_at_once(world: World, caplog: pytest.LogCaptureFixture):
    """LAST from the Orchestrator that crosses the environment's own is nothing to warn of."""
    recorder = Recorder(react=lambda session, event: session.end(ALL) if event.type is EventType.ACTIVE else None)
    line = await world.environment(recorder)
    await line.begin()
    await line.act(1, 2)
    for state, kind in ((LAST, None), (NORMAL, "observation_set"), (LAST_ACK, None)):
        await line.expect(state, kind)
    await line.send(LAST)
    await line.act(3, 4, tick=1)
    await line.finish()
    assert recorder.types == ["ACTIVE", "ENDING", "FINAL"]
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


async def test_an_environment_that_never_looks_at_the_type_of_events(world: World):
    """Existing programs answer every event with actions by produce_observations(), the ENDING one included."""

    def react(session: Any, event: Any) -> None:
        if event.actions:
            session.produce_observations(list({"*": StringValue(value="o")}.items()))

    recorder = Recorder(ALL, react=react)
    line = await world.environment(recorder)
    await line.begin()
    await line.expect(NORMAL, "observation_set")
    for tick in range(3):
        await line.act(1, 2, tick=tick)
        await line.expect(NORMAL, "observation_set")
    await line.send(LAST)
    await line.act(1, 2, tick=3)
    await line.expect(NORMAL, "observation_set")
    await line.expect(LAST_ACK)
    await line.finish()
    assert recorder.types == ["ACTIVE"] * 3 + ["ENDING", "FINAL"]


# --- messages ---------------------------------------------------------------------------------------------------------


async def test_a_message_on_the_wire(world: World):
    """A message of the environment has its name as the sender; to_environment has no effect."""
    line, session, hand = await started(world)
    session.send_message(StringValue(value="x"), "*", to_environment=True)
    message = await line.expect(NORMAL, "message")
    assert (message.tick_id, message.sender_name, message.receiver_name) == (-1, "env", "*")
    await line.expect_nothing()
    await leave(line, hand)


# --- who runs it ------------------------------------------------------------------------------------------------------


async def test_the_implementation_that_is_asked_for(world: World):
    """The implementation is chosen by its name, whatever is in it."""
    recorder = Recorder()
    world.context.register_environment(Recorder(), "CartPole-v1")
    world.context.register_environment(recorder, "ALE/Pong-v5")
    line = await world.environment(impl_name="ALE/Pong-v5")
    await line.begin()
    assert (await recorder.session()).impl_name == "ALE/Pong-v5"
    await line.finish()


async def test_the_first_implementation_is_the_default(world: World):
    """No implementation asked for: the one that was registered first."""
    recorder = Recorder()
    world.context.register_environment(recorder)
    world.context.register_environment(Recorder(), "second")
    line = await world.environment()
    await line.begin()
    assert (await recorder.session()).impl_name == "default"
    await line.finish()


async def test_an_unknown_implementation_is_refused(world: World):
    """Unlike actors, environments have no substitutes; the Orchestrator is told what there is."""
    line = await world.environment(Recorder(), impl_name="unheard of")
    await line.join()
    assert await line.code() is REFUSED
    assert "'unheard of' is not registered here (registered: envying)" in await line.details()


async def test_an_environment_without_a_name_is_refused(world: World):
    """The environment's name is what actors send their messages to."""
    line = await world.environment(Recorder(), name="")
    await line.join()
    assert await line.code() is REFUSED
    assert "has no name" in await line.details()


async def test_an_actor_class_that_is_not_in_the_specs_is_refused(world: World):
    """Actors of a class that the specs do not have cannot be observed or understood."""
    line = await world.environment(Recorder(), actors=(("ann", "unheard of"),))
    await line.join()
    assert await line.code() is REFUSED
    assert "'unheard of' is not in the specs" in await line.details()


# --- without specs ----------------------------------------------------------------------------------------------------


async def test_without_specs(make_world: Any, transport: str):
    """Without specs actions are bytes to read, and any protobuf message is an observation."""
    world = make_world(transport, settings=None)
    line, session, hand = await started(world, actors=(("ann", "anything"),))
    await line.act(1)
    event = await soon(anext(session.all_events()))
    assert event.actions[0].action_serialized == Int32Value(value=1).SerializeToString()
    with pytest.raises(SpecsError):
        _ = event.actions[0].action
    session.produce_observations([("ann", DoubleValue(value=2))])
    assert list((await line.expect(NORMAL, "observation_set")).observations) == [
        DoubleValue(value=2).SerializeToString()
    ]
    with pytest.raises(CogmentError):
        session.produce_observations([("ann", "text")])
    await leave(line, hand)


# --- load -------------------------------------------------------------------------------------------------------------


async def test_a_long_trial(world: World):
    """A thousand steps at once arrive in order, and so do the answers."""
    steps = 1000

    def react(session: Any, event: Any) -> None:
        if event.actions:
            session.produce_observations([("*", StringValue(value=str(event.actions[0].action.value)))])

    recorder = Recorder(react=react)
    line = await world.environment(recorder)
    await line.begin()

    async def act() -> None:
        for tick in range(steps):
            await line.act(tick, tick, tick=tick)

    acting = asyncio.create_task(act())
    for tick in range(steps):
        sent = await line.expect(NORMAL, "observation_set")
        assert list(sent.observations) == [StringValue(value=str(tick)).SerializeToString()]
    await acting
    await line.finish()
