"""What the others see when a process is killed with ``kill -9``."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest
from harness.checks import Bystander, all_left, check_end, check_loss, state_of, wait_until_ended
from harness.clock import bounded
from harness.specs import CLIENT, ENVIRONMENT, EnvironmentPlan, Role, parameters

from cogment import TrialState
from cogment.errors import CogmentError


async def test_a_killed_environment_ends_its_trial_for_all_actors(stage) -> None:
    """A1: every actor gets one END with the reason within 2 s, and the last sample says ENVIRONMENT_LOST."""
    orchestrator, environment, actors = await stage.cast(environment="environment", actors=["actor", "datalog"])
    controller = stage.controller(orchestrator)
    bystander = await Bystander.start(stage, controller)
    roles = [Role(f"actor_{index}", actors.endpoint) for index in range(8)]
    trial = await controller.start_trial(trial_params=parameters(environment.endpoint, roles, datalog=actors.endpoint))
    await actors.expect("tick", tick=10, who="actor_7")
    killed = environment.kill()
    for left in await all_left(actors, [role.name for role in roles]):
        check_end(left, "Environment stream failure")
        assert left.at - killed < bounded(2.0), left
    logged = await actors.expect("logged")
    assert (logged.in_order, logged.state) == (True, "ENDED")
    assert "ENVIRONMENT_LOST" in actors.find("sample")[-1].events
    assert await state_of(controller, trial) is TrialState.ENDED
    await bystander.check()


async def test_a_killed_process_ends_each_of_its_hundred_trials(stage) -> None:
    """A2: 100 trials of one environment process end within 5 s of its death, and all of their 800 actors are told."""
    orchestrator, environment, actors = await stage.cast(environment="environment", actors="actor")
    controller = stage.controller(orchestrator)
    roles = [Role(f"actor_{index}", actors.endpoint) for index in range(8)]
    plan = EnvironmentPlan(period=0.5)
    trials = [
        await controller.start_trial(trial_params=parameters(environment.endpoint, roles, plan)) for _ in range(100)
    ]
    await actors.expect("tick", tick=0, count=800)
    killed = environment.kill()
    last = await actors.expect("left", count=800)
    assert last.at - killed < bounded(5.0)
    for left in actors.find("left"):
        check_end(left, "Environment stream failure")
    assert {(left.trial, left.who) for left in actors.find("left")} == {
        (trial, role.name) for trial in trials for role in roles
    }
    states = [info.state for info in await controller.get_trial_info(trials)]
    assert states == [TrialState.ENDED] * 100


async def test_an_environment_killed_before_it_is_ready_leaves_nothing_behind(stage) -> None:
    """A3: the trial ends within 2 s with a reason; once ended trials are forgotten its id can be used again."""
    orchestrator, environment, others = await asyncio.gather(
        stage.orchestrator("--gc_frequency=1"),
        stage.component("environment", "environment"),
        stage.component("others", "environment", "actor"),
    )
    controller = stage.controller(orchestrator)
    roles = [Role("actor", others.endpoint)]
    held = parameters(environment.endpoint, roles, EnvironmentPlan(hold=True))
    await controller.start_trial(trial_params=held, trial_id_requested="again")
    await environment.expect("started")
    assert await state_of(controller, "again") is TrialState.PENDING
    killed = environment.kill()
    left = await others.expect("left", who="actor")
    check_end(left, "Failed to initialize environment")
    assert left.at - killed < bounded(2.0)
    await wait_until_ended(controller, "again")
    well = parameters(others.endpoint, roles, EnvironmentPlan(steps=3, period=0.0))
    await controller.start_trial(trial_params=well)
    assert await state_of(controller, "again") is None
    assert await controller.start_trial(trial_params=well, trial_id_requested="again") == "again"
    check_end(await others.expect("left", trial="again", who="actor", over=True, count=2))


async def test_a_killed_required_actor_ends_its_trial(stage) -> None:
    """A5: the trial ends within 1 s with ACTOR_LOST and the name, for the environment and the seven other actors,
    whether the actor was called or has joined."""
    orchestrator, victim, others = await stage.cast(victim="actor", others=["environment", "actor", "datalog"])
    controller = stage.controller(orchestrator)
    bystander = await Bystander.start(stage, controller)
    names = [f"actor_{index}" for index in range(7)]
    trials = {"service": victim.endpoint, "client": CLIENT}
    for trial, address in trials.items():
        roles = [Role(name, others.endpoint) for name in names]
        roles.insert(3, Role("victim", address))
        params = parameters(others.endpoint, roles, datalog=others.endpoint)
        await controller.start_trial(trial_params=params, trial_id_requested=trial)
    victim.send(trial="client", endpoint=orchestrator.endpoint, name="victim")
    await victim.expect("tick", tick=10, count=2)
    killed = victim.kill()
    for trial in trials:
        for left in await all_left(others, [ENVIRONMENT, *names], trial=trial):
            check_end(left, "Required actors [victim] unavailable")
            assert left.at - killed < bounded(1.0), left
        logged = await others.expect("logged", trial=trial)
        assert (logged.in_order, logged.state) == (True, "ENDED")
        assert "ACTOR_LOST:victim" in others.find("sample", trial=trial)[-1].events
        assert await state_of(controller, trial) is TrialState.ENDED
    await bystander.check()


async def test_killed_optional_actors_are_done_without(stage) -> None:
    """A6, A7: after 1 s at the latest the default action stands in for one, or nothing does; the trial goes on."""
    orchestrator, victim, others = await stage.cast(victim="actor", others=["environment", "actor", "datalog"])
    controller = stage.controller(orchestrator)
    trials = {}
    for address, has_default in itertools.product((victim.endpoint, CLIENT), (True, False)):
        silent = Role("victim", address, optional=True, default_action=has_default)
        params = parameters(others.endpoint, [silent, Role("other", others.endpoint)], datalog=others.endpoint)
        trial = await controller.start_trial(trial_params=params)
        trials[trial] = "DEFAULT" if has_default else "UNAVAILABLE"
        if address == CLIENT:
            victim.send(trial=trial, endpoint=orchestrator.endpoint, name="victim")
    await victim.expect("tick", tick=10, count=4)
    killed = victim.kill()
    for trial, fate in trials.items():
        changed = await others.expect("actions", trial=trial, fates=[fate, "ACTED"])
        assert changed.at - killed < bounded(1.0)
        await others.expect("tick", trial=trial, who="other", tick=(changed.tick // 10 + 3) * 10)
    await controller.terminate_trial(list(trials))
    for trial, fate in trials.items():
        for left in await all_left(others, [ENVIRONMENT, "other"], trial=trial):
            check_end(left)
        told = [event.fates for event in others.find("actions", trial=trial)]
        assert told == [["ACTED", "ACTED"], [fate, "ACTED"]]
        logged = await others.expect("logged", trial=trial)
        assert (logged.in_order, logged.state) == (True, "ENDED")
        fates = [sample.fates for sample in others.find("sample", trial=trial)]
        without = fates.index([fate, "ACTIVE"])
        assert {tuple(pair) for pair in fates[without:-1]} == {(fate, "ACTIVE")}, "every later sample says so"


async def test_a_killed_orchestrator_is_noticed_by_everybody(stage) -> None:
    """A11: environments, actors of both kinds, datalogs and watchers are told within 2 s that they lost it."""
    orchestrator, environment, actors = await stage.cast(environment="environment", actors=["actor", "datalog"])
    controller = stage.controller(orchestrator)
    watching = asyncio.create_task(_watch_until_lost(controller))
    roles = [Role("service", actors.endpoint), Role("client", CLIENT)]
    for _ in range(20):
        params = parameters(environment.endpoint, roles, EnvironmentPlan(period=0.1), datalog=actors.endpoint)
        trial = await controller.start_trial(trial_params=params)
        actors.send(trial=trial, endpoint=orchestrator.endpoint, name="client")
    await actors.expect("tick", tick=10, count=40)
    killed = orchestrator.kill()
    await actors.expect("left", count=40)
    await environment.expect("left", count=20)
    for left in [*actors.find("left"), *environment.find("left")]:
        check_loss(left)
        assert left.at - killed < bounded(2.0), left
    logged = [await actors.expect("logged", count=count) for count in range(1, 21)]
    assert {(log.in_order, log.state) for log in logged} == {(True, "RUNNING")}
    await actors.expect("joining is over", count=20, error="")
    assert await asyncio.wait_for(watching, bounded(5.0)) - killed < bounded(2.0)


async def _watch_until_lost(controller) -> float:
    with pytest.raises(CogmentError):
        async for _ in controller.watch_trials():
            pass
    return time.monotonic()
