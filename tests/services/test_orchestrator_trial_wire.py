"""Trials over real gRPC, message by message."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from cogment_core.api import common_pb2, environment_pb2
from cogment_core.api.common_pb2 import (
    END,
    ENDED,
    HEARTBEAT,
    INITIALIZING,
    LAST,
    LAST_ACK,
    NORMAL,
    PENDING,
    RUNNING,
    TERMINATING,
)

ALL_STATES = [INITIALIZING, PENDING, RUNNING, TERMINATING, ENDED]


async def states(watch, trial_id: str) -> list[int]:
    """The states of a trial, as they are watched, until it has ended."""
    seen = []
    while not seen or seen[-1] != ENDED:
        entry = await watch.next()
        if entry.trial_id == trial_id:
            seen.append(entry.state)
    return seen


async def test_a_trial_that_its_environment_ends(wire, peers) -> None:
    """Initial data, observations, actions, the last observations, acknowledgements and the end, in this order."""
    watch = await wire.watch()
    params = peers.params("alice", "bob", trial_config=common_pb2.SerializedMessage(content=b"trial"))
    params.actors[0].config.content = b"config"
    params.actors[0].implementation = "clever"
    trial_id = await wire.start(params)
    alice, bob = await peers.actor(), await peers.actor()
    for actor in (alice, bob):
        assert actor.metadata == [("trial-id", trial_id)]
    initial = await alice.begin()
    if initial.actor_name == "bob":
        alice, bob, initial = bob, alice, await bob.begin()
    else:
        await bob.begin()
    assert (initial.actor_name, initial.actor_class, initial.impl_name) == ("alice", "player", "clever")
    assert (initial.env_name, initial.config.content) == ("env", b"config")
    environment = await peers.environment()
    assert environment.metadata == [("trial-id", trial_id)]
    initial = await environment.begin(b"a0", b"b0")
    assert initial.name == "env"
    assert [(actor.name, actor.actor_class) for actor in initial.actors_in_trial] == [
        ("alice", "player"),
        ("bob", "player"),
    ]
    assert not initial.HasField("config")
    observed = await alice.expect(NORMAL, "observation")
    assert (observed.tick_id, observed.timestamp, observed.content) == (0, 7, b"a0")
    assert (await bob.expect(NORMAL, "observation")).content == b"b0"
    await bob.act(b"b!", tick=0)
    await alice.act(b"a!")
    actions = await environment.expect(NORMAL, "action_set")
    assert (actions.tick_id, list(actions.actions), list(actions.unavailable_actors)) == (0, [b"a!", b"b!"], [])
    await environment.end(b"a1", b"b1")
    for actor, content in ((alice, b"a1"), (bob, b"b1")):
        assert (await actor.finish()).content == content
    for line in (environment, alice, bob):
        await line.expect(END)
        assert await line.next() is None
    assert await states(watch, trial_id) == ALL_STATES


async def test_a_client_actor_takes_part(wire, peers) -> None:
    """A client says who it is, gets the initial data, plays, and its call is completed with OK after the end."""
    trial_id = await wire.start(peers.params(peers.client("alice")))
    client = wire.join(trial_id)
    await client.say(init_output=common_pb2.ActorInitialOutput(actor_class="player"))
    initial = await client.expect(NORMAL, "init_input")
    assert (initial.actor_name, initial.actor_class, initial.env_name) == ("alice", "player", "env")
    environment = await peers.environment()
    await environment.begin(b"0")
    await client.expect(NORMAL, "observation")
    await client.act(b"x")
    await environment.expect(NORMAL, "action_set")
    await environment.end(b"1")
    await client.finish()
    await client.expect(END)
    assert await client.next() is None
    assert await client.status() is grpc.StatusCode.OK


async def test_a_soft_end_lets_the_current_step_be_the_last(wire, peers) -> None:
    """LAST comes before the actions; the observations that answer them are final."""
    watch = await wire.watch()
    trial_id = await wire.start(peers.params("alice"))
    environment, alice = await peers.running()
    await wire.terminate(trial_id)
    await wire.terminate(trial_id)
    await alice.act()
    await environment.expect(LAST)
    assert (await environment.expect(NORMAL, "action_set")).tick_id == 0
    await environment.observe(b"1")
    await environment.say(LAST_ACK)
    assert (await alice.finish()).tick_id == 1
    for line in (environment, alice):
        assert (await line.expect(END)).details == ""
    assert await states(watch, trial_id) == ALL_STATES


async def test_a_soft_end_while_pending_ends_with_the_first_actions(wire, peers) -> None:
    """A trial that is asked to end before it runs plays one step."""
    trial_id = await wire.start(peers.params("alice"))
    await wire.terminate(trial_id)
    environment, alice = await peers.running()
    await alice.act()
    await environment.expect(LAST)


async def test_a_hard_end_tells_everybody_why(wire, peers) -> None:
    """END carries the reason, and the reply to the request comes after the trial has ended."""
    watch = await wire.watch()
    trial_id = await wire.start(peers.params("alice"))
    environment, alice = await peers.running()
    await wire.terminate(trial_id, hard=True)
    (info,) = await wire.info(trial_id)
    assert info.state == ENDED
    for line in (environment, alice):
        assert await line.expect(END, "details") == "Externally requested"
        assert await line.next() is None
    await wire.terminate(trial_id, hard=True)
    assert await states(watch, trial_id) == ALL_STATES


async def test_a_hard_end_while_pending_does_not_touch_the_environment(wire, peers) -> None:
    """Actors that are there get the end; the state goes from PENDING to ENDED, and the environment is never called."""
    watch = await wire.watch()
    trial_id = await wire.start(peers.params("alice", peers.client("bob")))
    alice = await peers.actor()
    await alice.begin()
    await wire.terminate(trial_id, hard=True)
    assert await alice.expect(END, "details") == "Externally requested"
    assert await states(watch, trial_id) == [INITIALIZING, PENDING, ENDED]
    assert peers.environments.empty()


async def test_max_steps_ends_the_trial(wire, peers) -> None:
    """With N steps there are action sets 0 to N, the last one after LAST."""
    await wire.start(peers.params("alice", max_steps=1))
    environment, alice = await peers.running()
    await alice.act()
    assert (await environment.expect(NORMAL, "action_set")).tick_id == 0
    await environment.observe(b"1")
    await alice.expect(NORMAL, "observation")
    await alice.act()
    await environment.expect(LAST)
    assert (await environment.expect(NORMAL, "action_set")).tick_id == 1
    await environment.observe(b"2")
    await environment.say(LAST_ACK)
    assert (await alice.finish()).tick_id == 2
    await alice.expect(END)


async def test_rewards_and_messages_find_their_way(wire, peers) -> None:
    """Rewards come with the next observation, before LAST; messages come at once, from whoever sent them."""
    await wire.start(peers.params("alice"))
    environment, alice = await peers.running()
    await alice.say(message=common_pb2.Message(tick_id=-1, receiver_name="env", sender_name="somebody else"))
    message = await environment.expect(NORMAL, "message")
    assert (message.sender_name, message.receiver_name, message.tick_id) == ("alice", "env", 0)
    reward = common_pb2.Reward(tick_id=-1, receiver_name="*", value=9)
    reward.sources.add(value=1, confidence=1)
    reward.sources.add(value=4, confidence=0.5)
    await environment.say(reward=reward)
    await environment.end(b"1")
    reward = await alice.expect(NORMAL, "reward")
    assert (reward.tick_id, reward.receiver_name, reward.value) == (0, "alice", 2.0)
    assert [source.sender_name for source in reward.sources] == ["env", "env"]
    await alice.finish()


async def test_an_environment_that_is_lost_ends_the_trial_at_once(wire, peers) -> None:
    """A stream that ends without END is a lost environment, whoever's turn it is."""
    for owes_observations in (False, True):
        trial_id = await wire.start(peers.params("alice"))
        alice = await peers.actor()
        await alice.begin()
        environment = await peers.environment()
        await environment.begin(b"0")
        await alice.expect(NORMAL, "observation")
        if owes_observations:
            await alice.act()
            await environment.expect(NORMAL, "action_set")
        environment.over.set()
        text = "Action processing requirement failure [Environment stream failure]"
        assert await alice.expect(END, "details") == text
        assert (await wire.info(trial_id))[0].state == ENDED


async def test_an_environment_that_cannot_be_reached_ends_the_trial(wire, peers) -> None:
    """The start succeeds, and the trial ends as soon as its environment turns out not to be there."""
    params = peers.params("alice")
    params.environment.endpoint = "grpc://127.0.0.1:9"
    watch = await wire.watch()
    trial_id = await wire.start(params)
    alice = await peers.actor()
    await alice.begin()
    assert await alice.expect(END, "details") == "Failed to initialize environment"
    assert await states(watch, trial_id) == [INITIALIZING, PENDING, ENDED]


async def test_an_environment_that_refuses_ends_the_trial(wire, peers) -> None:
    """An environment whose stream ends before its first answer is not ready, and will not be."""
    await wire.start(peers.params("alice"))
    alice = await peers.actor()
    await alice.begin()
    environment = await peers.environment()
    environment.over.set()
    assert await alice.expect(END, "details") == "Failed to initialize environment"


async def test_a_required_service_actor_that_cannot_be_reached_ends_the_trial(wire, peers) -> None:
    """The start succeeds, and the trial ends as soon as an actor turns out not to be there."""
    watch = await wire.watch()
    lost = peers.service("lost")
    lost.endpoint = "grpc://127.0.0.1:9"
    trial_id = await wire.start(peers.params(peers.client("alice"), lost))
    assert await states(watch, trial_id) == [INITIALIZING, PENDING, ENDED]


async def test_a_required_service_actor_that_refuses_ends_the_trial(wire, peers) -> None:
    """The others get the end; the environment is never called."""
    await wire.start(peers.params("alice", "bob"))
    actors = {}
    for _ in range(2):
        actor = await peers.actor()
        actors[(await actor.expect(NORMAL, "init_input")).actor_name] = actor
    actors["bob"].over.set()
    assert await actors["alice"].expect(END, "details") == "Failed to initialize all actors"
    assert peers.environments.empty()


async def test_a_required_actor_that_is_lost_ends_the_trial(wire, peers) -> None:
    """All who are there are told which actor is missing."""
    await wire.start(peers.params("alice", "bob"))
    actors = {}
    for _ in range(2):
        actor = await peers.actor()
        actors[(await actor.begin()).actor_name] = actor
    environment = await peers.environment()
    await environment.begin(b"a", b"b")
    for actor in actors.values():
        await actor.expect(NORMAL, "observation")
    actors["bob"].over.set()
    text = "Action processing requirement failure [Required actors [bob] unavailable at tick [0]]"
    assert await environment.expect(END, "details") == text
    assert await actors["alice"].expect(END, "details") == text


async def test_optional_actors_may_be_lost(wire, peers) -> None:
    """The environment gets the default action, or is told that there is none, and the trial goes on."""
    default = common_pb2.SerializedMessage(content=b"default")
    params = peers.params(
        peers.service("alice"),
        peers.service("bob", optional=True, default_action=default),
        peers.service("carol", optional=True),
    )
    await wire.start(params)
    actors = {}
    for _ in range(3):
        actor = await peers.actor()
        actors[(await actor.begin()).actor_name] = actor
    environment = await peers.environment()
    await environment.begin(b"", b"", b"")
    actors["bob"].over.set()
    actors["carol"].over.set()
    await actors["alice"].expect(NORMAL, "observation")
    await actors["alice"].act(b"mine")
    actions = await environment.expect(NORMAL, "action_set")
    assert (list(actions.actions), list(actions.unavailable_actors)) == ([b"mine", b"default", b""], [2])


async def test_an_actor_that_does_not_respond_in_time_is_done_without(wire, peers) -> None:
    """The tick goes on without it, and the next observation is sent to it all the same."""
    slow = peers.service("slow", optional=True, response_timeout=0.05)
    await wire.start(peers.params(slow))
    actor = await peers.actor()
    await actor.begin()
    environment = await peers.environment()
    await environment.begin(b"0")
    actions = await environment.expect(NORMAL, "action_set")
    assert list(actions.unavailable_actors) == [0]
    await environment.observe(b"1")
    assert (await actor.expect(NORMAL, "observation")).tick_id == 0
    assert (await actor.expect(NORMAL, "observation")).tick_id == 1
    await actor.act(b"now")
    assert list((await environment.expect(NORMAL, "action_set")).actions) == [b"now"]


async def test_a_client_that_does_not_come_in_time_is_done_without(wire, peers) -> None:
    """An optional client actor whose time is over leaves its slot empty for good."""
    late = peers.client("late", optional=True, initial_connection_timeout=0.05)
    trial_id = await wire.start(peers.params("alice", late))
    alice = await peers.actor()
    await alice.begin()
    environment = await peers.environment()
    await environment.begin(b"a", b"b")
    await alice.expect(NORMAL, "observation")
    await alice.act()
    assert list((await environment.expect(NORMAL, "action_set")).unavailable_actors) == [1]
    client = wire.join(trial_id)
    await client.say(init_output=common_pb2.ActorInitialOutput(actor_name="late"))
    assert await client.status() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_client_that_does_not_come_at_all_ends_the_trial(wire, peers) -> None:
    """A required client actor whose time is over ends the start."""
    watch = await wire.watch()
    late = peers.client("late", initial_connection_timeout=0.05)
    trial_id = await wire.start(peers.params(late))
    assert await states(watch, trial_id) == [INITIALIZING, PENDING, ENDED]


@pytest.mark.parametrize(
    "observations",
    [
        environment_pb2.ObservationSet(tick_id=-1, observations=[b""], actors_map=[0, 0]),
        environment_pb2.ObservationSet(tick_id=-1, observations=[b""], actors_map=[]),
        environment_pb2.ObservationSet(tick_id=-1, observations=[b""], actors_map=[-1]),
        environment_pb2.ObservationSet(tick_id=-1, observations=[b""], actors_map=[1]),
        environment_pb2.ObservationSet(tick_id=5, observations=[b""], actors_map=[0]),
        environment_pb2.ObservationSet(tick_id=-5, observations=[b""], actors_map=[0]),
        environment_pb2.ObservationSet(tick_id=2**63 - 1, observations=[b""], actors_map=[0]),
    ],
)
async def test_nonsense_from_an_environment_ends_its_trial_only(wire, peers, observations) -> None:
    """Observations for nobody, or for another tick, end the trial with a reason; the Orchestrator goes on."""
    await wire.start(peers.params("alice"))
    alice = await peers.actor()
    await alice.begin()
    environment = await peers.environment()
    await environment.begin()
    await environment.say(observation_set=observations)
    assert "PROTOCOL_ERROR" in await alice.expect(END, "details")
    assert "PROTOCOL_ERROR" in await environment.expect(END, "details")
    assert await wire.start(peers.params("alice"))


async def test_only_the_first_right_action_of_a_tick_counts(wire, peers) -> None:
    """Actions for other ticks, and second ones, are ignored and not held against the actor."""
    await wire.start(peers.params("alice", "bob"))
    actors = {}
    for _ in range(2):
        actor = await peers.actor()
        actors[(await actor.begin()).actor_name] = actor
    environment = await peers.environment()
    await environment.begin(b"", b"")
    alice, bob = actors["alice"], actors["bob"]
    for line in (alice, bob):
        await line.expect(NORMAL, "observation")
    for tick, content in ((5, b"future"), (-2, b"past"), (0, b"first"), (0, b"second"), (-1, b"third")):
        await alice.act(content, tick=tick)
    await alice.say(message=common_pb2.Message(tick_id=-1, receiver_name="bob"))  # comes after all these actions
    await bob.expect(NORMAL, "message")
    await bob.act(b"bob")
    assert list((await environment.expect(NORMAL, "action_set")).actions) == [b"first", b"bob"]


async def test_heartbeats_are_answered(wire, peers) -> None:
    """Every heartbeat is answered by one, before and after the initial data."""
    trial_id = await wire.start(peers.params(peers.client("alice")))
    client = wire.join(trial_id)
    await client.say(HEARTBEAT)
    await client.expect(HEARTBEAT)
    await client.say(init_output=common_pb2.ActorInitialOutput(actor_name="alice"))
    await client.expect(NORMAL, "init_input")
    await client.say(HEARTBEAT)
    await client.expect(HEARTBEAT)
    environment = await peers.environment()
    await environment.say(HEARTBEAT)
    await environment.expect(NORMAL, "init_input")
    await environment.expect(HEARTBEAT)


async def test_an_inactive_trial_ends_by_itself(wire, peers) -> None:
    """After ``max_inactivity`` seconds without a step the trial is ended, with nobody asking."""
    watch = await wire.watch()
    trial_id = await wire.start(peers.params("alice", max_inactivity=1))
    alice = await peers.actor()
    await alice.begin()
    assert await alice.expect(END, "details") == "The trial was inactive for too long"
    assert await states(watch, trial_id) == [INITIALIZING, PENDING, ENDED]


async def test_a_peer_that_does_not_read_delays_nobody(run_orchestrator, peers, monkeypatch) -> None:
    """An actor whose stream is full is given up, and the others play on meanwhile."""
    from cogment_core import outbox

    monkeypatch.setattr(outbox, "WRITE_TIMEOUT", 0.3)
    wire = await run_orchestrator()
    trial_id = await wire.start(peers.params("alice", peers.client("deaf", optional=True, response_timeout=0.01)))
    call = wire.client_actors.RunTrial(metadata=[("trial-id", trial_id)])
    deaf = common_pb2.ActorInitialOutput(actor_name="deaf")
    await call.write(common_pb2.ActorRunTrialOutput(state=NORMAL, init_output=deaf))
    alice = await peers.actor()
    await alice.begin()
    environment = await peers.environment()
    await environment.begin(b"", bytes(1_000_000))
    world = wire.orchestrator._trials.find(trial_id)._world
    loop = asyncio.get_running_loop()
    longest, ticks_after = 0.0, 0
    while ticks_after < 5:
        ticks_after += world._actors[1] is None
        began = loop.time()
        await alice.expect(NORMAL, "observation")
        await alice.act()
        actions = await environment.expect(NORMAL, "action_set")
        longest = max(longest, loop.time() - began)
        await environment.observe(b"", bytes(1_000_000))
        assert list(actions.unavailable_actors) == [1]
    assert longest < 2.0
    call.cancel()
