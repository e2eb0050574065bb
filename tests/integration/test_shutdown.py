"""Orchestrators that are asked to end, and ports that are taken."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import textwrap

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from harness.checks import check_end
from harness.clock import bounded
from harness.specs import ENVIRONMENT, ActorPlan, EnvironmentPlan, Role, parameters

from cogment.errors import UnavailableError
from cogment_core.api import orchestrator_pb2, orchestrator_pb2_grpc

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
STOPS = "The Orchestrator stops"


class Health:
    """Watches the health of a server."""

    def __init__(self, stage, process, service: str = "") -> None:
        self._stage = stage
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{process.port}")
        request = health_pb2.HealthCheckRequest(service=service)
        self._call = health_pb2_grpc.HealthStub(self._channel).Watch(request)

    async def until(self, status: int) -> float:
        """Wait until it is that. Returns when."""
        while (await asyncio.wait_for(self._call.read(), 10)).status != status:
            pass
        return self._stage.now()

    async def __aenter__(self) -> Health:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()


async def test_sigterm_lets_trials_end(stage) -> None:
    """G1: health says NOT_SERVING first, no trial starts any more, 20 trials end softly with all their samples, one
    that does not is ended when the grace is over, and the process ends with 0 within a second of that."""
    grace = 2.0
    orchestrator, components = await asyncio.gather(
        stage.orchestrator(f"--grace={grace}"), stage.component("components", "environment", "actor", "datalog")
    )
    controller = stage.controller(orchestrator)
    here = components.endpoint
    trials = []
    for _ in range(20):
        params = parameters(here, [Role("actor", here)], EnvironmentPlan(period=0.1), datalog=here)
        trials.append(await controller.start_trial(trial_params=params))
    stuck = parameters(here, [Role("stuck", here, plan=ActorPlan(acts=False))], datalog=here)
    stuck_trial = await controller.start_trial(trial_params=stuck)
    await components.expect("tick", who="actor", tick=10, count=20)
    await components.expect("tick", who="stuck", tick=0)
    async with Health(stage, orchestrator, "cogmentAPI.TrialLifecycleSP") as health:
        await health.until(SERVING)
        asked = orchestrator.signal(signal.SIGTERM, ends=True)
        not_serving = await health.until(NOT_SERVING)
        with pytest.raises(UnavailableError, match="stops"):
            await controller.start_trial(trial_params=stuck)
        code, ended = await orchestrator.exit()
    assert code == 0
    assert ended - asked <= grace + 1.0
    await components.expect("left", count=42)
    for trial in trials:
        for who in (ENVIRONMENT, "actor"):
            left = components.find("left", trial=trial, who=who)[0]
            check_end(left, "the trial ended")
            assert not_serving < left.at < asked + grace, left
        logged = await components.expect("logged", trial=trial)
        assert (logged.in_order, logged.state) == (True, "ENDED")
        assert logged.count == components.find("left", trial=trial, who="actor")[0].count, "a sample for each tick"
    for who in (ENVIRONMENT, "stuck"):
        left = components.find("left", trial=stuck_trial, who=who)[0]
        check_end(left, STOPS)
        assert left.at - asked >= grace
    logged = await components.expect("logged", trial=stuck_trial)
    assert (logged.in_order, logged.state, logged.count) == (True, "ENDED", 1)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_a_second_signal_ends_at_once(stage, second) -> None:
    """G2: the process ends within 1 s, and participants are told that it does."""
    orchestrator, components = await stage.cast(components=["environment", "actor"])
    controller = stage.controller(orchestrator)
    here = components.endpoint
    params = parameters(here, [Role("stuck", here, plan=ActorPlan(acts=False))])
    await controller.start_trial(trial_params=params)
    await components.expect("tick", who="stuck", tick=0)
    async with Health(stage, orchestrator) as health:
        orchestrator.signal(signal.SIGTERM, ends=True)
        await health.until(NOT_SERVING)
        hurried = orchestrator.signal(second)
        code, ended = await orchestrator.exit()
    assert code == 0
    assert ended - hurried <= bounded(1.0)
    for who in (ENVIRONMENT, "stuck"):
        check_end(await components.expect("left", who=who), STOPS)


async def test_an_idle_orchestrator_ends_at_once(stage) -> None:
    """G1: with watchers and without trials there is nothing to wait for; watchers are told by a regular end."""
    orchestrator = await stage.orchestrator()
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{orchestrator.port}")
    call = orchestrator_pb2_grpc.TrialLifecycleSPStub(channel).WatchTrials(orchestrator_pb2.TrialListRequest())
    await asyncio.wait_for(call.initial_metadata(), 10)
    asked = orchestrator.signal(signal.SIGTERM, ends=True)
    code, ended = await orchestrator.exit()
    assert code == 0
    assert ended - asked <= bounded(1.0)
    assert await asyncio.wait_for(call.code(), 10) is grpc.StatusCode.OK
    await channel.close()


async def test_a_port_has_one_server(stage) -> None:
    """G4: an Orchestrator, or a component, on a port that is taken refuses to start and says why; the first goes on."""
    orchestrator, components = await stage.cast(components=["environment", "actor"])
    taken = orchestrator.port
    controller = stage.controller(orchestrator)
    ports = [(taken, taken), (taken, 0), (0, taken), (components.port, components.port)]
    attempts = await asyncio.gather(
        *(stage.orchestrator_at(port, actor_port) for port, actor_port in ports),
        stage.start_component("late", "environment", port=taken),
    )
    for attempt in attempts:
        attempt.expected_end = True
        attempt.forgiven = ("Traceback",)
        code, _ = await attempt.exit()
        assert code != 0
        assert not attempt.find("ready")
        assert any("already" in line or "in use" in line for line in attempt.log), attempt.transcript()
    here = components.endpoint
    params = parameters(here, [Role("actor", here)], EnvironmentPlan(steps=5, period=0.0))
    await controller.start_trial(trial_params=params)
    check_end(await components.expect("left", who="actor"))


async def test_the_port_of_a_killed_orchestrator_is_free(stage) -> None:
    """G4: after ``kill -9`` the next one can have the port, and a Controller finds it there."""
    orchestrator, components = await stage.cast(components=["environment", "actor"])
    controller = stage.controller(orchestrator)
    here = components.endpoint
    params = parameters(here, [Role("actor", here)], EnvironmentPlan(steps=5, period=0.0))
    await controller.start_trial(trial_params=params)
    check_end(await components.expect("left", who="actor"))
    orchestrator.kill()
    await orchestrator.exit()
    port = orchestrator.port
    again = await stage.orchestrator_at(port, port)
    await again.expect("ready", port=port)
    with contextlib.suppress(UnavailableError):  # the news of the loss may be that new
        await controller.get_remote_versions()
    await controller.start_trial(trial_params=params)
    check_end(await components.expect("left", who="actor", count=2))


FORKS = """
    import asyncio, os, sys
    import cogment

    context = cogment.Context("parent", None, prometheus_registry=None)
    controller = context.get_controller(cogment.Endpoint(sys.argv[1]))
    asyncio.run(controller.get_remote_versions())

    def use(where):
        try:
            asyncio.run(controller.get_remote_versions())
        except cogment.CogmentError as error:
            print(where, type(error).__name__, error, flush=True)

    use("loop:")
    if os.fork() == 0:
        use("fork:")
        os._exit(0)
    os.wait()
    os._exit(0)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs fork")
async def test_a_context_belongs_to_one_loop_and_one_process(stage) -> None:
    """G5: a Context that is used in a second event loop, or after a fork, says so; it neither hangs nor breaks."""
    orchestrator = await stage.orchestrator()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(FORKS), orchestrator.endpoint, stdout=asyncio.subprocess.PIPE
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 20)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
    loop, fork = output.decode().splitlines()
    assert loop.startswith("loop: UsageError")
    assert "another event loop" in loop
    assert fork.startswith("fork: UsageError")
    assert "spawn" in fork
