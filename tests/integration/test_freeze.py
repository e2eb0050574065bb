"""What the others see when a process is frozen (SIGSTOP): its connections stay open, and nothing comes from it."""

from __future__ import annotations

import asyncio
import time

import pytest
from harness.checks import BYSTANDER_GAP, Bystander, all_left, check_end, check_loss, state_of, wait_until_ended
from harness.clock import bounded
from harness.specs import CLIENT, ENVIRONMENT, EnvironmentPlan, Role, parameters

from cogment import TrialState
from cogment.errors import CogmentError

BOUND = 8.5
"""Seconds until a frozen peer is known to be lost: a ping each 5 s, which has to be answered within 3 s."""


@pytest.mark.timeout(90)
async def test_frozen_participants_are_lost_within_the_bound_and_busy_ones_are_not(stage) -> None:
    """B1: whatever a frozen process is in a trial, the others know within 8.5 s, whether its streams were busy or not;
    one that only blocks its event loop for longer than that is waited for."""
    orchestrator, victim, quiet, busy, others = await stage.cast(
        victim=["environment", "actor", "datalog"],
        quiet=["environment", "actor"],
        busy=["environment", "actor"],
        others=["environment", "actor", "datalog"],
    )
    controller = stage.controller(orchestrator)
    bystander = await Bystander.start(stage, controller)
    here, there = others.endpoint, victim.endpoint
    other = Role("other", here)
    often, seldom = EnvironmentPlan(period=0.1), EnvironmentPlan(period=60.0)

    async def start(
        trial: str, environment: str, *roles: Role, plan: EnvironmentPlan = often, datalog: str = ""
    ) -> None:
        params = parameters(environment, roles, plan, datalog=datalog)
        assert await controller.start_trial(trial_params=params, trial_id_requested=trial) == trial

    await start("environment", there, other, datalog=here)
    await start("service", here, Role("victim", there), other)
    await start("client", here, Role("victim", CLIENT), other)
    victim.send(trial="client", endpoint=orchestrator.endpoint, name="victim")
    await start("quiet environment", quiet.endpoint, other, plan=EnvironmentPlan(hold=True))
    await start("quiet service", here, Role("victim", quiet.endpoint), other, plan=seldom)
    await start("quiet client", here, Role("victim", CLIENT), other, plan=seldom)
    quiet.send(trial="quiet client", endpoint=orchestrator.endpoint, name="victim")
    await start("optional", here, Role("victim", there, optional=True, default_action=True), other)
    await start("datalog", here, other, datalog=there)
    await start("busy", busy.endpoint, other, plan=EnvironmentPlan(period=0.1, block_at=10, block_for=BOUND + 2))
    for trial in ("environment", "service", "client", "optional", "datalog", "busy"):
        await others.expect("tick", trial=trial, who="other", tick=10)
    await quiet.expect("started", trial="quiet environment")
    for trial in ("quiet service", "quiet client"):
        await others.expect("tick", trial=trial, who=ENVIRONMENT, tick=0)

    victim.freeze()
    frozen = quiet.freeze()
    for trial, reason in [
        ("environment", "Environment stream failure"),
        ("service", "Required actors [victim] unavailable"),
        ("client", "Required actors [victim] unavailable"),
        ("quiet environment", "Failed to initialize environment"),
        ("quiet service", "Required actors [victim] unavailable"),
        ("quiet client", "Required actors [victim] unavailable"),
    ]:
        left = await others.expect("left", trial=trial, who="other")
        check_end(left, reason)
        assert left.at - frozen <= bounded(BOUND), left
        assert await state_of(controller, trial) is TrialState.ENDED
    for trial in ("service", "client"):
        left = await others.expect("left", trial=trial, who=ENVIRONMENT)
        check_end(left)
        assert left.at - frozen <= bounded(BOUND), left
    logged = await others.expect("logged", trial="environment")
    assert (logged.in_order, logged.state) == (True, "ENDED")
    assert "ENVIRONMENT_LOST" in others.find("sample", trial="environment")[-1].events
    defaulted = await others.expect("actions", trial="optional", fates=["DEFAULT", "ACTED"])
    assert defaulted.at - frozen <= bounded(BOUND), defaulted
    await bystander.check()

    await busy.expect("tick", tick=20)
    going = ["optional", "datalog", "busy"]
    assert [await state_of(controller, trial) for trial in going] == [TrialState.RUNNING] * 3
    await controller.terminate_trial(going)
    for trial in going:
        left = await others.expect("left", trial=trial, who="other")
        check_end(left)
        assert trial != "datalog" or left.gap < bounded(BYSTANDER_GAP), left
    await _check_thawed(victim, {"environment": ENVIRONMENT, "service": "victim", "client": "victim"})
    await victim.expect("logged", trial="datalog", state="RUNNING")
    await _check_thawed(quiet, {"quiet service": "victim", "quiet client": "victim"})


async def _check_thawed(process, roles: dict[str, str]) -> None:
    """A process that goes on after its trials have is told that it lost them."""
    process.thaw()
    for trial, who in roles.items():
        check_loss(await process.expect("left", trial=trial, who=who))
    await process.expect("joining is over", error="")


@pytest.mark.timeout(90)
async def test_a_frozen_orchestrator_is_lost_within_the_bound(stage) -> None:
    """B1: environments, actors of both kinds, datalogs and watchers know within 8.5 s that it is frozen, whether their
    streams were busy or quiet."""
    orchestrator, busy, quiet = await stage.cast(
        busy=["environment", "actor", "datalog"], quiet=["environment", "actor", "datalog"]
    )
    controller = stage.controller(orchestrator)
    watching = asyncio.create_task(_watch_until_lost(controller))
    for process, period in [(busy, 0.1), (quiet, 3.0)]:
        roles = [Role("service", process.endpoint), Role("client", CLIENT)]
        plan = EnvironmentPlan(period=period, report=1)
        params = parameters(process.endpoint, roles, plan, datalog=process.endpoint)
        trial = await controller.start_trial(trial_params=params)
        process.send(trial=trial, endpoint=orchestrator.endpoint, name="client")
    await quiet.expect("tick", tick=0, count=3)
    await busy.expect("tick", tick=10, count=3)
    frozen = orchestrator.freeze()
    for process in (busy, quiet):
        for left in await all_left(process, [ENVIRONMENT, "service", "client"]):
            check_loss(left)
            assert left.at - frozen <= bounded(BOUND), left
        logged = await process.expect("logged")
        assert logged.at - frozen <= bounded(BOUND), logged
        await process.expect("joining is over", error="")
    assert await asyncio.wait_for(watching, bounded(BOUND)) - frozen <= bounded(BOUND)


async def _watch_until_lost(controller) -> float:
    with pytest.raises(CogmentError):
        async for _ in controller.watch_trials():
            pass
    return time.monotonic()


async def test_a_response_timeout_does_not_wait_for_the_connection(stage) -> None:
    """B2: a required actor with ``response_timeout=1`` that freezes ends its trial after 1.0 to 1.3 s."""
    orchestrator, victim, others = await stage.cast(victim="actor", others=["environment", "actor"])
    controller = stage.controller(orchestrator)
    trials = {"service": victim.endpoint, "client": CLIENT}
    for trial, address in trials.items():
        roles = [Role("victim", address, response_timeout=1.0), Role("other", others.endpoint)]
        params = parameters(others.endpoint, roles)
        await controller.start_trial(trial_params=params, trial_id_requested=trial)
    victim.send(trial="client", endpoint=orchestrator.endpoint, name="victim")
    await victim.expect("tick", tick=10, count=2)
    frozen = victim.freeze()
    for trial in trials:
        for left in await all_left(others, [ENVIRONMENT, "other"], trial=trial):
            check_end(left, "Required actors [victim] unavailable")
            # It may have acted already when it froze: its time runs from the next observation, 20 ms later.
            assert 0.95 <= left.at - frozen <= bounded(1.3), left
        assert await state_of(controller, trial) is TrialState.ENDED


async def test_an_optional_actor_that_freezes_is_done_without_in_each_tick(stage) -> None:
    """B2: with a ``response_timeout``, the trial goes on at that pace until the connection is known to be lost."""
    orchestrator, victim, others = await stage.cast(victim="actor", others=["environment", "actor"])
    controller = stage.controller(orchestrator)
    roles = [Role("victim", victim.endpoint, optional=True, response_timeout=0.1), Role("other", others.endpoint)]
    params = parameters(others.endpoint, roles, EnvironmentPlan(period=0.0, report=1))
    trial = await controller.start_trial(trial_params=params)
    await victim.expect("tick", tick=10)
    victim.freeze()
    without = await others.expect("actions", fates=["UNAVAILABLE", "ACTED"])
    later = await others.expect("tick", who=ENVIRONMENT, tick=without.tick + 10)
    assert 0.9 <= later.at - without.at <= bounded(2.0)
    await controller.terminate_trial([trial])
    for left in await all_left(others, [ENVIRONMENT, "other"]):
        check_end(left)


async def test_a_process_that_blocks_when_it_is_first_called_is_watched_all_the_same(stage) -> None:
    """B1: a server that takes long to answer at first is not taken for one that must not be asked whether it lives."""
    stage.pace = 10
    bound = 0.5 + 3.0 + 0.5
    orchestrator, second, victim, others = await asyncio.gather(
        stage.orchestrator(),
        stage.orchestrator(),
        stage.component("victim", "environment", "actor"),
        stage.component("others", "actor"),
    )
    controller, watching = stage.controller(orchestrator), stage.controller(second)
    roles = [Role("other", others.endpoint)]
    # A trial makes the process block; another Orchestrator meets it while it does.
    blocks = EnvironmentPlan(block_at=0, block_for=3.0)
    await controller.start_trial(trial_params=parameters(victim.endpoint, roles, blocks))
    await victim.expect("tick", tick=0)
    trial = await watching.start_trial(trial_params=parameters(victim.endpoint, roles))
    await victim.expect("tick", trial=trial, tick=10)
    frozen = victim.freeze()
    left = await others.expect("left", trial=trial, who="other")
    check_end(left, "Environment stream failure")
    assert left.at - frozen <= bound, left
    await wait_until_ended(watching, trial)
