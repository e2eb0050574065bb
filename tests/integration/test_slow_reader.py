"""What an actor that does not read costs the others."""

from __future__ import annotations

import asyncio

from harness.checks import BYSTANDER_GAP, Bystander, all_left, check_end
from harness.clock import bounded
from harness.scripted import ScriptedClient, ScriptedServer
from harness.specs import CLIENT, ENVIRONMENT, EnvironmentPlan, Role, parameters

FULL = 2 * 1024 * 1024
"""Bytes of an observation: a few of them fill what gRPC keeps of a stream that nobody reads."""

PERIOD = 0.25
"""Seconds between observations: in the 5 s that a write may take they stay below what may wait for an actor."""


async def test_an_actor_that_never_reads_is_done_without(stage) -> None:
    """B5: it is given up 5 s after its stream is full; before and after that, its trial and all others go on, and end,
    as if it were not there."""
    orchestrator, others = await stage.cast(others=["environment", "actor"])
    # What gRPC logs once the call of the client, which does not take its status either, breaks.
    orchestrator.forgiven = (
        "ExecuteBatchError raised in core by servicer method [/cogmentAPI.ClientActorSP/RunTrial]",
    )
    controller = stage.controller(orchestrator)
    bystander = await Bystander.start(stage, controller)
    enough = asyncio.Event()

    async def never_read(stream, context) -> None:
        await stream.begin()
        await enough.wait()

    def trial_with(address: str):
        silent = Role("silent", address, optional=True, response_timeout=0.1)
        return parameters(
            others.endpoint, [silent, Role("other", others.endpoint)], EnvironmentPlan(size=FULL, period=PERIOD)
        )

    async with ScriptedServer(actor=never_read) as peers, ScriptedClient(orchestrator.endpoint) as client:
        served = await controller.start_trial(trial_params=trial_with(peers.endpoint))
        joined = await controller.start_trial(trial_params=trial_with(CLIENT))
        forced = await controller.start_trial(trial_params=trial_with(peers.endpoint))
        await client.join(joined, "silent")
        for trial in (served, joined, forced):
            await others.expect("tick", trial=trial, who="other", tick=10)
        await controller.terminate_trial([forced], hard=True)
        for left in await all_left(others, [ENVIRONMENT, "other"], trial=forced):
            check_end(left, "Externally requested")
        for trial in (served, joined):
            await orchestrator.expect_log(
                f"trial [{trial}]: actor [silent] is gone: UNAVAILABLE: the peer did not take"
            )
        ends = [process_tick(others, trial) for trial in (served, joined)]
        for trial, tick in zip((served, joined), ends, strict=True):
            await others.expect("tick", trial=trial, who="other", tick=tick + 10)
        await controller.terminate_trial([served, joined])
        for trial in (served, joined):
            for left in await all_left(others, [ENVIRONMENT, "other"], trial=trial):
                check_end(left)
                assert left.gap < bounded(BYSTANDER_GAP), left
        await bystander.check()
        enough.set()


def process_tick(process, trial: str) -> int:
    """The last tick that an actor has told of."""
    return process.find("tick", trial=trial, who="other")[-1].tick
