"""Streams that a peer of the Orchestrator ends, with any status, at any point of its trial."""

from __future__ import annotations

from itertools import product

from grpc import StatusCode
from harness.checks import Bystander, check_end
from harness.clock import bounded
from harness.scripted import ScriptedServer
from harness.specs import ENVIRONMENT, ActorPlan, EnvironmentPlan, Role, parameters

from cogment import TrialState
from cogment_core.api.common_pb2 import LAST, LAST_ACK, NORMAL

BOUND = 1.0
"""Seconds from the end of the stream to the end of the trial, for everybody."""

NOT_READY = "Failed to initialize environment"
FAILED = "Environment stream failure"
NOT_ACKED = "Environment failed to end properly"
REGULARLY = "the trial ended"

ENVIRONMENT_POINTS = {
    "at once": NOT_READY,
    "called": NOT_READY,
    "ready": FAILED,
    "actors act": FAILED,
    "owing observations": FAILED,
    "said LAST": FAILED,
    "told LAST": FAILED,
    "owing LAST_ACK": NOT_ACKED,
    "done": REGULARLY,
}
"""Points at which an environment ends its stream, and why the trial ends then."""

NO_ACTORS = "Failed to initialize all actors"
UNAVAILABLE = "Required actors [scripted] unavailable"

ACTOR_POINTS = {
    "at once": NO_ACTORS,
    "called": NO_ACTORS,
    "ready": "",
    "owing an action": UNAVAILABLE,
    "acted": UNAVAILABLE,
    "told LAST": REGULARLY,
    "owing LAST_ACK": REGULARLY,
    "done": REGULARLY,
}
"""Points at which a required actor ends its stream, and why the trial ends then: one that was ready may be in either of
two states."""


def trials_of(points: dict[str, str]) -> dict[str, tuple[str, StatusCode]]:
    """A trial for each of the points and each of the statuses."""
    return {f"{point}, {code.name}": (point, code) for point, code in product(points, StatusCode)}


async def leave(context, code: StatusCode) -> None:
    """End the stream."""
    if code is not StatusCode.OK:
        await context.abort(code, "as the test says")


async def environment_up_to(point: str, stream) -> None:
    """Be an environment as far as that point."""
    if point == "at once":
        return
    if point == "called":
        await stream.until(NORMAL, "init_input")
        return
    await stream.begin()
    if point == "ready":
        return
    if point == "said LAST":
        await stream.say(LAST)
        return
    await stream.observe(b"")
    if point == "actors act":
        return
    if point == "told LAST":
        await stream.until(LAST)
        return
    await stream.actions()
    if point == "owing observations":
        return
    await stream.say(LAST)
    await stream.observe(b"")
    if point == "done":
        await stream.say(LAST_ACK)


async def actor_up_to(point: str, stream) -> None:
    """Be an actor as far as that point."""
    if point == "at once":
        return
    if point == "called":
        await stream.until(NORMAL, "init_input")
        return
    await stream.begin()
    if point == "ready":
        return
    await stream.observation()
    if point == "owing an action":
        return
    await stream.act(b"\x0a\x05acted")
    if point == "acted":
        return
    await stream.until(LAST)
    if point == "told LAST":
        return
    await stream.observation()
    if point == "done":
        await stream.say(LAST_ACK)


async def test_an_environment_may_leave_with_any_status_at_any_point(stage) -> None:
    """D13: each of the 16 error codes, and a clean end, at each point of the protocol, end that trial within 1 s, with
    one END for the actor that says why."""
    orchestrator, actors = await stage.cast(actors="actor")
    controller = stage.controller(orchestrator)
    bystander = await Bystander.start(stage, controller)
    trials = trials_of(ENVIRONMENT_POINTS)
    left_at: dict[str, float] = {}

    async def environment(stream, context) -> None:
        point, code = trials[stream.trial]
        await environment_up_to(point, stream)
        left_at[stream.trial] = stage.now()
        await leave(context, code)

    async with ScriptedServer(environment=environment) as peers:
        for trial, (point, _) in trials.items():
            # An actor that does not act keeps the trial where it is.
            plan = ActorPlan(acts=point != "actors act")
            params = parameters(peers.endpoint, [Role("actor", actors.endpoint, plan=plan)])
            await controller.start_trial(trial_params=params, trial_id_requested=trial)
            if point == "told LAST":
                await controller.terminate_trial([trial])
        await actors.until(lambda: len(left_at) == len(trials), "the environment has left all streams")
        for trial, (point, _) in trials.items():
            left = await actors.expect("left", trial=trial)
            check_end(left, ENVIRONMENT_POINTS[point])
            assert left.at - left_at[trial] < bounded(BOUND), left
    states = {info.state for info in await controller.get_trial_info([])} - {TrialState.RUNNING}
    assert states == {TrialState.ENDED}
    assert len(actors.find("left")) == len(trials)
    await bystander.check()


async def test_an_actor_may_leave_with_any_status_at_any_point(stage) -> None:
    """D13: each of the 16 error codes, and a clean end, at each point of the protocol, end that trial within 1 s, with
    one END for the environment and the other actor that says why."""
    orchestrator, others = await stage.cast(others=["environment", "actor"])
    controller = stage.controller(orchestrator)
    bystander = await Bystander.start(stage, controller)
    trials = trials_of(ACTOR_POINTS)
    left_at: dict[str, float] = {}

    async def actor(stream, context) -> None:
        point, code = trials[stream.trial]
        await actor_up_to(point, stream)
        left_at[stream.trial] = stage.now()
        await leave(context, code)

    async with ScriptedServer(actor=actor) as peers:
        for trial, (point, _) in trials.items():
            # An environment that is slow keeps the trial where it is.
            plan = EnvironmentPlan(steps=1 if "L" in point or point == "done" else 0, period=BOUND / 2)
            roles = [Role("scripted", peers.endpoint), Role("other", others.endpoint)]
            params = parameters(others.endpoint, roles, plan)
            await controller.start_trial(trial_params=params, trial_id_requested=trial)
        await others.until(lambda: len(left_at) == len(trials), "all have left their streams")
        await others.until(lambda: _all_that_started_left(others), "all are told")
        for left in others.find("left"):
            if left.trial in trials:
                check_end(left, ACTOR_POINTS[trials[left.trial][0]])
                assert left.at - left_at[left.trial] < bounded(BOUND), left
    started = {(told.trial, told.who) for told in others.find("started")}
    for trial, (point, _) in trials.items():
        assert ((trial, ENVIRONMENT) in started) == (point not in ("at once", "called")) or point == "ready", trial
    states = {info.state for info in await controller.get_trial_info([])} - {TrialState.RUNNING}
    assert states == {TrialState.ENDED}
    await bystander.check()


def _all_that_started_left(process) -> bool:
    started = {(told.trial, told.who) for told in process.find("started")}
    return started == {(told.trial, told.who) for told in process.find("left")}
