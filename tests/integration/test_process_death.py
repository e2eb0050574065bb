"""What the others see when a process is killed with ``kill -9``."""

from __future__ import annotations

import asyncio

from cogment import TrialState
from harness.specs import CLIENT, ActorPlan, EnvironmentPlan, Role, parameters
from harness.stage import Process




def check_end(left, *, reason: str = "") -> None:
    """A participant that lived to see the end saw exactly one, after ticks without a gap."""
    assert (left.over, left.finals, left.in_order) == (True, 1, True), left
    assert reason in left.reason, left


async def test_a1_a_killed_environment_ends_its_trial_for_all_actors(stage) -> None:
    """Every actor gets one END with the reason within 2 s, and the last sample says ENVIRONMENT_LOST."""
    orchestrator, environment, actors = await stage.cast(environment="environment", actors=["actor", "datalog"])
    controller = stage.controller(orchestrator)
    roles = [Role(f"actor_{index}", actors.endpoint) for index in range(8)]
    trial = await controller.start_trial(
        trial_params=parameters(environment.endpoint, roles, datalog=actors.endpoint)
    )
    await actors.expect("tick", tick=10, who="actor_7")
    killed = environment.kill()
    for role in roles:
        left = await actors.expect("left", who=role.name)
        check_end(left, reason="Environment stream failure")
        assert left.at - killed < 2.0, left
    logged = await actors.expect("logged")
    assert (logged.in_order, logged.state) == (True, "ENDED")
    assert "ENVIRONMENT_LOST" in actors.find("sample")[-1].events
    (info,) = await controller.get_trial_info([trial])
    assert info.state is TrialState.ENDED
