"""Streams on which nothing is said for long."""

from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest
from harness.checks import check_end
from harness.scripted import ScriptedClient, ScriptedServer
from harness.specs import CLIENT, EnvironmentPlan, Role, parameters

from cogment import TrialState
from cogment_core.api import orchestrator_pb2, orchestrator_pb2_grpc

PACE = 10
"""How much faster than by default peers ask each other whether they live, and how much more often they may be asked."""


@pytest.mark.slow
@pytest.mark.timeout(120)
async def test_streams_survive_to_be_idle_at_default_options(stage) -> None:
    """B9: after 45 s without a message, trials go on, with components of ours and with those of other SDKs, whose
    servers and clients have stock options; watchers of both kinds are told of their ends. A server disconnects a client
    that asks too often for its options after 25 s (measured), and what has survived that survives."""
    await _idle(stage, 45.0)


@pytest.mark.parametrize("idle", [6.0, pytest.param(60.0, marks=[pytest.mark.slow, pytest.mark.timeout(120)])])
async def test_streams_survive_to_be_idle_for_long(stage, idle) -> None:
    """B9: the same, scaled: 6 s stand for 1 min, and, in the slow test, 60 s for 10 min, because peers ask each other
    whether they live, and servers allow it, ten times as often as by default. (Stock servers are asked each 5.5 min;
    that is not scaled.)"""
    stage.pace = PACE
    await _idle(stage, idle)


async def _idle(stage, seconds: float) -> None:
    orchestrator, ours = await stage.cast(ours=["environment", "actor"])
    controller = stage.controller(orchestrator)
    ended = asyncio.create_task(_watch(controller))

    async def environment(stream, context) -> None:
        await stream.begin()
        await stream.observe(b"", b"")
        await stream.actions()
        await asyncio.sleep(seconds)
        await stream.observe(b"", b"")
        await stream.actions()
        await stream.end(b"", b"")

    async def actor(stream, context) -> None:
        await stream.begin()
        await stream.follow()

    async with ScriptedServer(environment, actor) as stock, ScriptedClient(orchestrator.endpoint) as client:
        watching = asyncio.create_task(_watch_plainly(client.channel))
        plan = EnvironmentPlan(period=seconds, steps=2)
        roles = [Role("service", ours.endpoint), Role("client", CLIENT)]
        mine = await controller.start_trial(trial_params=parameters(ours.endpoint, roles, plan))
        ours.send(trial=mine, endpoint=orchestrator.endpoint, name="client")
        roles = [Role("service", stock.endpoint), Role("client", CLIENT)]
        others = await controller.start_trial(trial_params=parameters(stock.endpoint, roles))
        joined = await client.join(others, "client")
        following = asyncio.create_task(joined.follow())

        for who in ("service", "client"):
            left = await ours.expect("left", who=who, timeout=seconds + 20)
            check_end(left, "the trial ended")
            assert left.gap >= seconds
        assert (await asyncio.wait_for(following, 20)).details == ""
        for watch in (ended, watching):
            assert await asyncio.wait_for(watch, 20) == {mine, others}


async def _watch(controller) -> set[str]:
    """The first two trials that end."""
    seen: set[str] = set()
    async for info in controller.watch_trials([TrialState.ENDED]):
        seen.add(info.trial_id)
        if len(seen) == 2:
            break
    return seen


async def _watch_plainly(channel: grpc.aio.Channel) -> set[str]:
    """As `_watch`, by a client with stock options."""
    request = orchestrator_pb2.TrialListRequest(filter=[TrialState.ENDED.value])
    call = orchestrator_pb2_grpc.TrialLifecycleSPStub(channel).WatchTrials(request)
    return {(await call.read()).trial_id for _ in range(2)}
