"""D14: a request to start a trial, or the reply to it, is lost."""

from __future__ import annotations

import asyncio

import pytest
from harness.proxy import Proxy
from harness.specs import CLIENT, SETTINGS, Role, parameters
from harness.stage import PATIENCE, Stage

import cogment
from cogment.errors import RpcError

PACKAGES = 16
"""More than a connection needs until it has started a trial."""


async def test_d14_a_trial_with_a_requested_id_is_started_exactly_once(stage: Stage) -> None:
    """Wherever the connection breaks, the caller has the id or an error; asking again starts the trial if it was not,
    and says so if it was. There is one trial of that id, started once."""
    orchestrator, world = await stage.cast(world="environment")
    direct = stage.controller(orchestrator)
    outcomes: set[tuple[bool, bool]] = set()
    for limit in range(1, PACKAGES):
        trial_id = f"wanted-{limit}"
        params = parameters(world.endpoint, [Role("ann", CLIENT)])
        async with (
            Proxy(orchestrator.endpoint, limit) as proxy,
            cogment.Context("test", SETTINGS, prometheus_registry=None) as context,
        ):
            breaking = context.get_controller(cogment.Endpoint(proxy.endpoint))
            starting = breaking.start_trial(trial_params=params, trial_id_requested=trial_id)
            try:
                first = await asyncio.wait_for(starting, PATIENCE)
            except RpcError:
                first = None
        assert first in (None, trial_id)
        second = await direct.start_trial(trial_params=params, trial_id_requested=trial_id)
        assert second in (None, "", trial_id)
        assert not (first and second), "started twice"
        outcomes.add((bool(first), bool(second)))
        (info,) = await direct.get_trial_info([trial_id])
        assert info.state is cogment.TrialState.PENDING
    # Requests were lost, and replies were; with some limits nothing was.
    assert (False, True) in outcomes
    assert outcomes & {(True, False), (False, False)}
    known = await direct.get_trial_info([])
    assert sorted(info.trial_id for info in known) == sorted(f"wanted-{limit}" for limit in range(1, PACKAGES))
    for info in known:
        await direct.terminate_trial([info.trial_id], hard=True)


@pytest.mark.parametrize("together", [2, 20])
async def test_d14_of_several_who_want_an_id_one_gets_it(stage: Stage, together: int) -> None:
    """Requests for the same id at the same time, as repeated ones are, start one trial."""
    orchestrator, world = await stage.cast(world="environment")
    controller = stage.controller(orchestrator)
    params = parameters(world.endpoint, [Role("ann", CLIENT)])
    starts = [controller.start_trial(trial_params=params, trial_id_requested="wanted") for _ in range(together)]
    given = await asyncio.wait_for(asyncio.gather(*starts), PATIENCE)
    assert [trial_id for trial_id in given if trial_id] == ["wanted"]
    await controller.terminate_trial(["wanted"], hard=True)
