"""What becomes of samples when a Trial Datastore, or the Orchestrator, is killed or freezes."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from pathlib import Path

import pytest
from harness.checks import BYSTANDER_GAP, all_left, check_end, state_of
from harness.clock import bounded
from harness.specs import EnvironmentPlan, Role, parameters
from harness.stage import PATIENCE, Process
from harness.store import Reader, start_store

from cogment import TrialState
from cogment_core.api import common_pb2

LONG = bool(os.environ.get("COGMENT_LONG_TESTS"))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "trials.db"


async def begin(stage, file: Path, *options: str, actors: int = 8):
    """A trial at 50 Hz that is logged to a file."""
    orchestrator, components, store = await asyncio.gather(
        stage.orchestrator(*options), stage.component("components", "environment", "actor"), start_store(stage, file)
    )
    controller = stage.controller(orchestrator)
    names = [f"actor_{index}" for index in range(actors)]
    roles = [Role(name, components.endpoint) for name in names]
    params = parameters(components.endpoint, roles, datalog=store.endpoint)
    trial = await controller.start_trial(trial_params=params)
    await components.expect("tick", who="actor_0", tick=20)
    return orchestrator, components, store, controller, trial, names


async def read_ticks(store: Process, trial: str) -> list[int]:
    """The ticks that are stored, once the trial is complete there."""
    async with Reader(store) as reader:
        ticks = await reader.ticks(trial)
        (info,) = await reader.trials(trial)
        assert (info.samples_count, info.last_state) == (len(ticks), common_pb2.ENDED)
    return ticks


async def last_tick(components: Process, names: list[str]) -> int:
    """The last tick of a trial that has ended, which no actor has noticed anything of before."""
    left = await all_left(components, names)
    for each in left:
        check_end(each)
        assert each.gap < bounded(BYSTANDER_GAP), each
    (last,) = {each.last for each in left}
    return last


async def wait_for_tick(components: Process, more: int) -> None:
    """Wait for so many more ticks."""
    seen = components.find("tick", who="actor_0")[-1].tick
    await components.expect("tick", who="actor_0", tick=(seen + more) // 10 * 10)


async def test_a_datastore_that_is_killed_and_restarted_misses_nothing(stage, file) -> None:
    """A9: it comes back after 3 s; the trial does not notice, and in the end each tick is stored exactly once."""
    _, components, store, controller, trial, names = await begin(stage, file)
    store.kill()
    await store.exit()
    await asyncio.sleep(3.0)
    await wait_for_tick(components, 20)
    store = await start_store(stage, file, port=store.port)
    await wait_for_tick(components, 20)
    await controller.terminate_trial([trial])
    last = await last_tick(components, names)
    assert await read_ticks(store, trial) == list(range(last + 1))


async def test_a_trial_ends_when_its_datastore_does_not_come_back(stage, file) -> None:
    """A10, policy stop: all are told DATALOG_LOST when the buffer is full. What waits then is kept: a datastore that is
    started after all has the whole trial."""
    orchestrator, components, store, controller, trial, names = await begin(stage, file, "--datalog_buffer_samples=50")
    store.kill()
    await store.exit()
    everybody = await all_left(components, names)
    for left in everybody:
        check_end(left, "DATALOG_LOST: 50 samples wait for the datalog, there is no room for more")
    assert await state_of(controller, trial) is TrialState.ENDED
    await orchestrator.expect_log(f"trial [{trial}] is ended: 50 samples wait for the datalog")
    store = await start_store(stage, file, port=store.port)
    assert await read_ticks(store, trial) == list(range(everybody[-1].last + 1))


async def test_what_a_datastore_misses_is_counted_if_it_may(stage, file) -> None:
    """A10, policy drop: the trial goes on, and the log says how many samples are missing before which tick."""
    orchestrator, components, store, controller, trial, names = await begin(
        stage, file, "--datalog_buffer_samples=20", "--datalog_policy=drop"
    )
    store.kill()
    await store.exit()
    await orchestrator.expect_log("does not take samples as fast as they are made")
    await wait_for_tick(components, 40)
    store = await start_store(stage, file, port=store.port)
    await orchestrator.expect_log("samples were dropped before tick")
    await controller.terminate_trial([trial])
    last = await last_tick(components, names)
    ticks = await read_ticks(store, trial)
    told = re.search(r"(\d+) samples were dropped before tick (\d+)", "\n".join(orchestrator.log))
    assert told
    missing = range(int(told[2]) - int(told[1]), int(told[2]))
    assert ticks == [tick for tick in range(last + 1) if tick not in missing]
    await orchestrator.expect_log(f"{told[1]} samples were not sent to the datalog")


async def test_a_killed_orchestrator_leaves_complete_logs(stage, file) -> None:
    """A11: of 20 trials nothing is lost that was acknowledged, readers get to an end, and the trials are over."""
    orchestrator, components, store = await asyncio.gather(
        stage.orchestrator(),
        stage.component("components", "environment", "actor"),
        start_store(stage, file, resume_within=1.0),
    )
    controller = stage.controller(orchestrator)
    roles = [Role("actor", components.endpoint)]
    params = parameters(components.endpoint, roles, EnvironmentPlan(period=0.1), datalog=store.endpoint)
    trials = [await controller.start_trial(trial_params=params) for _ in range(20)]
    async with Reader(store) as reader:
        await components.expect("tick", who="actor", tick=10, count=20)
        following = asyncio.create_task(reader.follow(trials))
        await components.expect("tick", who="actor", tick=20, count=20)
        orchestrator.kill()
        await components.expect("left", who="actor", count=20)
        ticks = await asyncio.wait_for(following, PATIENCE)
        for trial in trials:
            (left,) = components.find("left", who="actor", trial=trial)
            assert ticks[trial] == list(range(len(ticks[trial])))
            assert len(ticks[trial]) >= left.last - 1, "only what was just being made may be missing"
        infos = await reader.trials(*trials)
        assert {info.last_state for info in infos} == {common_pb2.ENDED}
    again = await stage.orchestrator()
    controller = stage.controller(again)
    trial = await controller.start_trial(trial_params=params)
    await components.expect("tick", who="actor", tick=10, trial=trial)
    await controller.terminate_trial([trial])
    (left,) = await all_left(components, ["actor"], trial=trial)
    assert await read_ticks(store, trial) == list(range(left.last + 1))


@pytest.mark.parametrize("seconds", [2.0, *([15.0] if LONG else [])])
async def test_a_datastore_that_freezes_delays_nobody_and_misses_nothing(stage, file, seconds) -> None:
    """B4: whether or not its connection is given up meanwhile, each tick is stored once when it goes on."""
    _, components, store, controller, trial, names = await begin(stage, file)
    store.freeze()
    await asyncio.sleep(seconds)
    await wait_for_tick(components, 20)
    store.thaw()
    await wait_for_tick(components, 20)
    await controller.terminate_trial([trial])
    last = await last_tick(components, names)
    assert await read_ticks(store, trial) == list(range(last + 1))


async def test_an_orchestrator_that_is_told_to_end_loses_no_sample(stage, file) -> None:
    """G1: after SIGTERM 20 trials end, and all their samples are acknowledged before the process does."""
    orchestrator, components, store = await asyncio.gather(
        stage.orchestrator(), stage.component("components", "environment", "actor"), start_store(stage, file)
    )
    controller = stage.controller(orchestrator)
    params = parameters(components.endpoint, [Role("actor", components.endpoint)], datalog=store.endpoint)
    trials = [await controller.start_trial(trial_params=params) for _ in range(20)]
    await components.expect("tick", who="actor", tick=10, count=20)
    orchestrator.signal(signal.SIGTERM, ends=True)
    code, _ = await orchestrator.exit()
    assert code == 0
    assert not [line for line in orchestrator.log if "not acknowledged" in line or "not sent" in line]
    async with Reader(store) as reader:
        ticks = await reader.follow(trials)
    await components.expect("left", who="actor", count=20)
    for left in components.find("left", who="actor"):
        check_end(left)
        assert ticks[left.trial] == list(range(left.last + 1))
