"""Calls whose metadata do not say, or not clearly, which trial they are for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
import grpc.aio
from grpc import StatusCode

from cogment_core.api import (
    agent_pb2_grpc,
    datalog_pb2_grpc,
    environment_pb2_grpc,
    orchestrator_pb2,
    orchestrator_pb2_grpc,
)

AT_ONCE = 0.5
"""Seconds until a refusal, at least once in a few tries: 0.05 when the machine does nothing else, which it may."""

METADATA = {
    "none": [],
    "empty": [("trial-id", "")],
    "two": [("trial-id", "one"), ("trial-id", "two")],
    "too long": [("trial-id", "x" * 5_000)],
}
"""What a call for one trial must not have (D4)."""


async def status(call: Callable[[], Any], bound: float = AT_ONCE) -> StatusCode:
    """How a call ends, which has to be within ``bound`` seconds, before anything is sent on it."""
    code = None
    for _ in range(10):
        begin = time.monotonic()
        code = await asyncio.wait_for(call().code(), 5)
        if time.monotonic() - begin < bound:
            return code
    raise AssertionError(f"{code} comes late")


async def test_calls_for_no_certain_trial_are_refused(stage) -> None:
    """D4: no, an empty, two or a huge ``trial-id`` is INVALID_ARGUMENT for the Orchestrator and for what it calls; one
    that no metadata can carry is RESOURCE_EXHAUSTED; an unknown one is NOT_FOUND where that is news."""
    orchestrator, component = await stage.cast(component=["environment", "actor", "datalog"])
    async with (
        grpc.aio.insecure_channel(f"127.0.0.1:{orchestrator.port}") as there,
        grpc.aio.insecure_channel(f"127.0.0.1:{component.port}") as here,
    ):
        await there.channel_ready()
        await here.channel_ready()
        clients = orchestrator_pb2_grpc.ClientActorSPStub(there)
        lifecycle = orchestrator_pb2_grpc.TrialLifecycleSPStub(there)
        environments = environment_pb2_grpc.EnvironmentSPStub(here)
        actors = agent_pb2_grpc.ServiceActorSPStub(here)
        datalogs = datalog_pb2_grpc.DatalogSPStub(here)
        for what, metadata in METADATA.items():
            refused = [await status(partial(clients.RunTrial, metadata=metadata))]
            for method in (environments.RunTrial, actors.RunTrial, datalogs.RunTrialDatalog):
                refused.append(await status(partial(method, metadata=[*metadata, ("user-id", "me")])))
            if what != "two":  # these ask about any number of trials, and end them
                hard = orchestrator_pb2.TerminateTrialRequest(hard_termination=True)
                refused.append(await status(partial(lifecycle.TerminateTrial, hard, metadata=metadata)))
            assert set(refused) == {StatusCode.INVALID_ARGUMENT}, what
        huge = [("trial-id", "x" * 10_000)]
        for method in (clients.RunTrial, environments.RunTrial, actors.RunTrial):
            # It is gRPC that refuses these, and it takes its time.
            assert await status(partial(method, metadata=huge), 1.0) is StatusCode.RESOURCE_EXHAUSTED
        unknown = [("trial-id", "unknown")]
        assert await status(partial(clients.RunTrial, metadata=unknown)) is StatusCode.NOT_FOUND
        found = await lifecycle.GetTrialInfo(orchestrator_pb2.TrialInfoRequest(), metadata=unknown)
        assert list(found.trial) == []
