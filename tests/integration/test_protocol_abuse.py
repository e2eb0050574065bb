"""Participants that break the protocol: it costs them, or their trial, and nobody else."""

from __future__ import annotations

import asyncio
import math

from harness.checks import Bystander, all_left, check_end, state_of, wait_until_ended
from harness.scripted import ScriptedServer
from harness.specs import ENVIRONMENT, ActorPlan, EnvironmentPlan, Role, parameters

from cogment import TrialState
from cogment_core.api import common_pb2
from cogment_core.api.common_pb2 import LAST_ACK

FIRST_OBSERVATIONS = {
    "map too short": dict(contents=[b"a", b"b"], actors_map=[0]),
    "map too long": dict(contents=[b"a", b"b"], actors_map=[0, 1, 1]),
    "map empty": dict(contents=[b"a", b"b"], actors_map=[]),
    "map negative": dict(contents=[b"a", b"b"], actors_map=[0, -1]),
    "map beyond": dict(contents=[b"a", b"b"], actors_map=[0, 2]),
    "map far beyond": dict(contents=[b"a", b"b"], actors_map=[0, 2**31 - 1]),
    "no observations": dict(contents=[], actors_map=[0, 0]),
    "first tick skipped": dict(contents=[b"a", b"b"], tick=1),
    "first tick negative": dict(contents=[b"a", b"b"], tick=-2),
}
"""What an environment must not begin with (D1, D2)."""

SECOND_OBSERVATIONS = {
    "tick repeated": dict(contents=[b"a", b"b"], tick=0),
    "tick skipped": dict(contents=[b"a", b"b"], tick=2),
    "tick in the far future": dict(contents=[b"a", b"b"], tick=2**63 - 1),
    "tick in the far past": dict(contents=[b"a", b"b"], tick=-(2**63)),
    "map beyond, later": dict(contents=[b"a", b"b"], actors_map=[2, 0]),
}
"""What it must not go on with."""


async def test_nonsense_from_an_environment_ends_its_trial_with_the_reason(stage) -> None:
    """D1, D2: observations that are not for each actor, or not for the next tick, end the trial with PROTOCOL_ERROR;
    the Orchestrator and its other trials go on."""
    orchestrator, actors = await stage.cast(actors=["actor", "datalog"])
    controller = stage.controller(orchestrator)
    bystander = await Bystander.start(stage, controller)

    async def environment(stream, context) -> None:
        await stream.begin()
        if stream.trial in FIRST_OBSERVATIONS:
            wrong = FIRST_OBSERVATIONS[stream.trial]
        else:
            await stream.observe(b"a", b"b")
            await stream.actions()
            wrong = SECOND_OBSERVATIONS[stream.trial]
        await stream.observe(*wrong["contents"], **{key: wrong[key] for key in wrong if key != "contents"})
        await stream.until(common_pb2.END, "details")

    roles = [Role("one", actors.endpoint), Role("two", actors.endpoint)]
    trials = [*FIRST_OBSERVATIONS, *SECOND_OBSERVATIONS]
    async with ScriptedServer(environment=environment) as peers:
        params = parameters(peers.endpoint, roles, datalog=actors.endpoint)
        for trial in trials:
            await controller.start_trial(trial_params=params, trial_id_requested=trial)
        for trial in trials:
            for left in await all_left(actors, ["one", "two"], trial=trial):
                check_end(left, "PROTOCOL_ERROR: ")
                assert left.last == (0 if trial in SECOND_OBSERVATIONS else -1), left
            logged = await actors.expect("logged", trial=trial)
            assert (logged.in_order, logged.state) == (True, "ENDED")
            events = actors.find("sample", trial=trial)[-1].events
            assert any(event.startswith("PROTOCOL_ERROR: ") for event in events), events
    await bystander.check()


async def test_only_the_first_action_for_the_tick_counts(stage) -> None:
    """D5: a second action for a tick, and actions for ticks that are over or to come, are ignored, and said to be."""
    orchestrator, environment = await stage.cast(environment=["environment", "datalog"])
    controller = stage.controller(orchestrator)
    seen: dict[int, bytes] = {}

    async def abuse(stream, context) -> None:
        await stream.begin()
        for tick in range(5):
            assert (await stream.observation()).tick_id == tick
            for wrong in (tick - 1, tick + 1, 2**62, -3) if tick else (1, 2**62, -3):
                await stream.act(b"\x0a\x05wrong", wrong)
            await stream.act(b"\x0a\x05right", tick)
            await stream.act(b"\x0a\x05again", tick)
            await stream.act(b"\x0a\x05again", -1)
        await stream.until(common_pb2.LAST)
        await stream.say(LAST_ACK)
        await stream.until(common_pb2.END)
        seen[0] = b"end"

    async with ScriptedServer(actor=abuse) as peers:
        plan = EnvironmentPlan(steps=5, report=1)
        params = parameters(environment.endpoint, [Role("abuser", peers.endpoint)], plan, datalog=environment.endpoint)
        trial = await controller.start_trial(trial_params=params)
        left = await environment.expect("left", who=ENVIRONMENT)
        check_end(left)
        assert left.count == 5
        await wait_until_ended(controller, trial)
    assert [tick.values for tick in environment.find("tick")] == [["right"]] * 5
    assert seen
    logged = await environment.expect("logged")
    assert (logged.count, logged.in_order, logged.state) == (6, True, "ENDED")
    await orchestrator.expect_log("[abuser] acted again")
    await orchestrator.expect_log("[abuser] acted for tick")


async def test_rewards_that_make_no_sense_are_dropped(stage) -> None:
    """D7: unknown receivers, floods to a wildcard, and values and confidences that are no numbers neither end the trial
    nor spoil the rewards of others."""
    orchestrator, components = await stage.cast(components=["environment", "actor"])
    controller = stage.controller(orchestrator)
    bystander = await Bystander.start(stage, controller)

    def reward(receiver: str, value: float, confidence: float = 1.0, tick: int = -1) -> common_pb2.Reward:
        source = common_pb2.RewardSource(sender_name="forged", value=value, confidence=confidence)
        return common_pb2.Reward(tick_id=tick, receiver_name=receiver, value=value, sources=[source])

    got: list[common_pb2.Reward] = []

    async def abuse(stream, context) -> None:
        await stream.begin()
        await stream.observation()
        for receiver in ("nobody", "", "*.*", "player.nobody", ENVIRONMENT, "x" * 10_000):
            await stream.say(reward=reward(receiver, 1.0))
        for tick in (-2, 1, 2**62, -(2**63)):
            await stream.say(reward=reward("abuser", 666.0, tick=tick))
        for value, confidence in [(math.inf, 1.0), (-math.inf, 1.0), (5.0, math.nan), (5.0, math.inf), (5.0, -1.0)]:
            await stream.say(reward=reward("abuser", value, confidence))
        await stream.say(reward=reward("abuser", math.nan))
        await stream.say(reward=reward("abuser", 2.0))
        await stream.act()
        got.append((await stream.until(common_pb2.NORMAL, "reward")).reward)
        await stream.observation()
        flood = reward("*", 1.0)
        flood.sources.extend(10 * list(flood.sources))  # more than it may, however slow this machine is at the moment
        for _ in range(10_000):
            await stream.say(reward=flood)
        await stream.act()
        await stream.follow()

    async with ScriptedServer(actor=abuse) as peers:
        roles = [Role("abuser", peers.endpoint), *(Role(f"actor_{index}", components.endpoint) for index in range(8))]
        params = parameters(components.endpoint, roles, EnvironmentPlan(steps=30))
        trial = await controller.start_trial(trial_params=params)
        for left in await all_left(components, [ENVIRONMENT, *(role.name for role in roles[1:])]):
            check_end(left)
        assert await state_of(controller, trial) is TrialState.ENDED
    (first,) = got
    assert (first.receiver_name, first.tick_id, first.value) == ("abuser", 0, 2.0)
    assert {source.sender_name for source in first.sources} == {"abuser"}, "nobody sends in another's name"
    await orchestrator.expect_log("[abuser] sent a reward to")
    await orchestrator.expect_log("[abuser] sends more rewards and messages than it may")
    await bystander.check()


async def test_an_observation_that_cannot_be_decoded_ends_the_actor_that_looks_at_it(stage) -> None:
    """D12: the actor's function gets a DecodeError; the trial ends for want of the actor, and nobody hangs."""
    orchestrator, actors = await stage.cast(actors=["actor", "datalog"])
    actors.forgiven = ("Traceback",)  # of what the user's function raises
    controller = stage.controller(orchestrator)
    ended = asyncio.Event()

    async def environment(stream, context) -> None:
        await stream.begin()
        await stream.observe(b"\xff\xff", b"\x0a\x04good")
        await stream.until(common_pb2.END, "details")
        ended.set()

    roles = [Role("victim", actors.endpoint, plan=ActorPlan(looks=True)), Role("other", actors.endpoint)]
    async with ScriptedServer(environment=environment) as peers:
        await controller.start_trial(trial_params=parameters(peers.endpoint, roles, datalog=actors.endpoint))
        check_end(await actors.expect("left", who="other"), "Required actors [victim] unavailable")
        await asyncio.wait_for(ended.wait(), 5)
    await actors.expect_log("DecodeError")
    assert "ACTOR_LOST:victim" in (await actors.expect("sample", state="ENDED")).events


GARBAGE = {"nothing": b"", "ones": b"\xff" * 100, "zeros": b"\x00" * 1000}
"""Actions of no type, by the trial that they are used in."""


async def test_actions_are_passed_on_as_they_are(stage) -> None:
    """D12: the Orchestrator does not care what payloads are; what cannot be decoded is the environment's to handle."""
    orchestrator, actors = await stage.cast(actors="actor")
    controller = stage.controller(orchestrator)
    received: dict[str, bytes] = {}

    async def environment(stream, context) -> None:
        await stream.begin()
        await stream.observe(b"", b"")
        received[stream.trial] = (await stream.actions()).actions[0]
        await stream.end(b"", b"")

    async def actor(stream, context) -> None:
        await stream.begin()
        await stream.observation()
        await stream.act(GARBAGE[stream.trial])
        await stream.follow()

    async with ScriptedServer(environment=environment, actor=actor) as peers:
        params = parameters(peers.endpoint, [Role("scripted", peers.endpoint), Role("other", actors.endpoint)])
        for trial in GARBAGE:
            await controller.start_trial(trial_params=params, trial_id_requested=trial)
            check_end(await actors.expect("left", trial=trial, who="other"))
    assert received == GARBAGE
