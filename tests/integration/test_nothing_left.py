"""What is left of trials, well ended or broken: no task, no file descriptor, no exception that nobody saw."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from typing import Any

from harness import component
from harness.checks import wait_until_ended
from harness.proxy import Proxy
from harness.specs import ACTOR_CLASS, CLIENT, SETTINGS, ActorPlan, EnvironmentPlan, Role, parameters

import cogment
from cogment.errors import CogmentError
from cogment_services.orchestrator import Orchestrator

MARGIN = 8
"""File descriptors more than before that are no leak: gRPC, above all 1.62, has some more or less at times, up to six
were seen. What leaked would be one for each trial of a round, at least: there are more of these."""


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


async def settled(measure, limit: int) -> int:
    """Measure until it is at most ``limit``, or for 5 s: gRPC closes connections in threads of its own."""
    for _ in range(50):
        if measure() <= limit:
            break
        gc.collect()
        await asyncio.sleep(0.1)
    return measure()


async def round_of_trials() -> None:
    """Trials with all kinds of participants and ends, in one process, over gRPC."""
    async with Orchestrator(port=0, grace=1.0) as orchestrator, contextlib.AsyncExitStack() as stack:
        address = f"grpc://127.0.0.1:{orchestrator.port}"
        context = cogment.Context("all", SETTINGS, prometheus_registry=None)
        context.register_environment(component.environment)
        context.register_actor(component.actor, "player", [ACTOR_CLASS])
        context.register_datalog(component.datalog)
        served = cogment.ServedEndpoint(0)
        served.host = "127.0.0.1"
        serving = asyncio.create_task(context.serve_all_registered(served))
        here = f"grpc://127.0.0.1:{await context.wait_until_serving()}"
        controller = context.get_controller(cogment.Endpoint(address))
        joining = []
        for number in range(12):
            # Some connections are reset early, some late, some not at all.
            proxy = await stack.enter_async_context(Proxy(here, 4 + 5 * number))
            plan = EnvironmentPlan(steps=5 if number % 3 else 0, period=0.01)
            roles = [
                Role("service", proxy.endpoint, optional=number % 2 == 0),
                Role("client", CLIENT, connection_timeout=1.0, plan=ActorPlan(acts=number != 5)),
            ]
            params = parameters(here, roles, plan, datalog=proxy.endpoint)
            trial = await controller.start_trial(trial_params=params, trial_id_requested=str(number))
            joining.append(asyncio.create_task(_join(context, trial, address)))
        await controller.terminate_trial(["0"], hard=True)
        await wait_until_ended(controller, "0")
        # Those that would go on for ever, and the one whose actor does not act, end with the Orchestrator.
        await orchestrator.close(1.0)
        await asyncio.wait_for(asyncio.gather(*joining), 20)
        await context.close()
        await asyncio.wait({serving}, timeout=5)
        serving.result()


async def _join(context: cogment.Context, trial: str, address: str) -> None:
    with contextlib.suppress(CogmentError):
        await context.join_trial(trial, cogment.Endpoint(address), actor_name="client")


async def test_no_task_and_no_file_is_left_of_trials(caplog) -> None:
    """When an Orchestrator and a Context are closed, all that they started is gone, however the trials ended."""
    complaints: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    await round_of_trials()  # gRPC keeps some files and threads for good
    gc.collect()
    tasks, files = len(asyncio.all_tasks()), open_files()
    await round_of_trials()
    assert await settled(lambda: len(asyncio.all_tasks()), tasks) <= tasks
    assert await settled(open_files, files) <= files + MARGIN
    assert complaints == []
    errors = [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]
    assert [error for error in errors if "datalog" not in error] == [], "only lost datalogs are errors here"


async def test_an_orchestrator_forgets_the_processes_that_died(stage) -> None:
    """Each killed process of components leaves no file descriptor behind in the Orchestrator."""
    orchestrator, actors = await stage.cast(actors="actor")
    controller = stage.controller(orchestrator)

    async def lose_one() -> None:
        environment = await stage.component("environment", "environment")
        params = parameters(environment.endpoint, [Role("actor", actors.endpoint)])
        trial = await controller.start_trial(trial_params=params)
        await environment.expect("tick", tick=10)
        environment.kill()
        await wait_until_ended(controller, trial)

    await lose_one()
    files = orchestrator.open_files
    for _ in range(MARGIN + 2):
        await lose_one()
    assert await settled(lambda: orchestrator.open_files, files) <= files + MARGIN
