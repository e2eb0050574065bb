"""E6: many who watch, some of whom do not read, over the network."""

from __future__ import annotations

import asyncio
import os
import time

import grpc.aio

from cogment_core.api.common_pb2 import ENDED, INITIALIZING, TrialState
from cogment_core.api.orchestrator_pb2 import TrialInfo, TrialListRequest
from cogment_core.api.orchestrator_pb2_grpc import TrialLifecycleSPStub
from cogment_services.orchestrator import Orchestrator

WATCHERS = 1000 if os.environ.get("COGMENT_LONG_TESTS") else 200
"""Half of them never read."""

TRIALS = 50
BOUND = 60.0


class _Trial:
    """All that watchers see of a trial."""

    def __init__(self, number: int) -> None:
        self.trial_id = f"trial-{number}"
        self.state: TrialState.ValueType = INITIALIZING

    def info(self) -> TrialInfo:
        return TrialInfo(trial_id=self.trial_id, state=self.state)


async def test_e6_watchers_that_never_read_delay_nobody() -> None:
    """E6: telling of a change takes the trials 10 ms at most, whoever reads; those who read get every change, in
    order."""
    async with Orchestrator(port=0) as orchestrator:
        watchers = orchestrator._trials.watchers
        channels = [grpc.aio.insecure_channel(f"127.0.0.1:{orchestrator.port}", _OWN) for _ in range(10)]
        calls = []
        for number in range(WATCHERS):
            calls.append(TrialLifecycleSPStub(channels[number % len(channels)]).WatchTrials(TrialListRequest()))
            if number % 100 == 99:  # more at once are refused now and then
                await asyncio.wait_for(asyncio.gather(*(call.initial_metadata() for call in calls[-100:])), BOUND)
        assert len(watchers) == WATCHERS
        readers = [asyncio.create_task(_read(call)) for call in calls[::2]]
        took = []
        for trial in map(_Trial, range(TRIALS)):
            for state in (INITIALIZING, ENDED):
                trial.state = state
                start = time.perf_counter()
                watchers.tell(trial)
                took.append(time.perf_counter() - start)
                await asyncio.sleep(0)
        took.sort()
        assert took[len(took) // 2] < 0.010, took
        expected = [(f"trial-{number}", state) for number in range(TRIALS) for state in (INITIALIZING, ENDED)]
        for seen in await asyncio.wait_for(asyncio.gather(*readers), BOUND):
            assert seen == expected
        for call in calls:
            call.cancel()
        for channel in channels:
            await channel.close()


async def _read(call) -> list[tuple[str, int]]:
    seen = []
    for _ in range(2 * TRIALS):
        entry = await call.read()
        seen.append((entry.trial_id, entry.state))
    return seen


_OWN = (("grpc.use_local_subchannel_pool", 1),)
"""Each channel has a connection of its own."""
