"""What trials and actors cost as their number grows: it should be a straight line.

Each point runs in a process of its own, with the Orchestrator, environments and actors in it and no gRPC, so that what
is seen is the cost of Cogment: steps per second, seconds of a step (median and 99th percentile), and memory. The last
rows hold idle trials, whose participants are in another process: their memory is that of the Orchestrator alone.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import cogment
import processes
from cogment_services.orchestrator import Orchestrator
from processes import Child
from workload import SETTINGS, Case, Workload, parameters, run_to_the_end

TRIALS = [1, 10, 100, 1000]
ACTORS = [1, 10, 50, 200]


def resident_bytes() -> int:
    """Memory of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


async def run_point(trials: int, actors: int, actor_steps: int) -> dict[str, float]:
    """Run ``trials`` trials of ``actors`` actors at once; about ``actor_steps`` actor-steps in all."""
    steps = max(10, actor_steps // (trials * actors))
    workload = Workload(keep_latencies=True)
    context = cogment.Context(user_id="benchmark", cog_settings=SETTINGS, prometheus_registry=None)
    processes.register(context, workload, "both")
    async with Orchestrator() as orchestrator:
        orchestrator.attach(context)
        controller = context.get_controller(orchestrator.endpoint)
        params = parameters(Case(trials, actors, 64), steps)
        before = resident_bytes()
        begin = time.monotonic()
        await run_to_the_end(controller, params, trials)
        seconds = max(span.end for span in workload.spans) - begin
    latencies = sorted(latency for span in workload.spans for latency in span.latencies)
    return {
        "trials": trials,
        "actors": actors,
        "steps_per_second": trials * steps / seconds,
        "us_per_actor_step": seconds / (trials * steps * actors) * 1e6,
        "p50_ms": latencies[len(latencies) // 2] * 1000,
        "p99_ms": latencies[len(latencies) * 99 // 100] * 1000,
        "kb_per_trial": (resident_bytes() - before) / trials / 1000,
    }


async def idle_trials(trials: int) -> dict[str, float]:
    """Memory of the Orchestrator for each idle trial of one environment and one actor, both in another process."""
    components = Child(processes.components, "idle")
    try:
        url = f"grpc://127.0.0.1:{components.port}"
        async with Orchestrator() as orchestrator, cogment.Context("benchmark", SETTINGS) as context:
            controller = context.get_controller(orchestrator.endpoint)
            params = parameters(Case(trials, 1, 64), 0, url, url)
            await _start_idle(controller, params, 20)  # warms up what is shared
            gc.collect()
            before = resident_bytes()
            await _start_idle(controller, params, trials)
            gc.collect()
            per_trial = (resident_bytes() - before) / trials
            ids = [info.trial_id for info in await controller.get_trial_info([])]
            await controller.terminate_trial(ids, hard=True)
    finally:
        components.stop()
    return {"trials": trials, "actors": 1, "idle_kb_per_trial": per_trial / 1000}


async def _start_idle(controller: Any, params: Any, trials: int) -> None:
    wanted = {await controller.start_trial(trial_params=params) for _ in range(trials)}
    async for info in controller.watch_trials([cogment.TrialState.RUNNING]):
        wanted.discard(info.trial_id)
        if not wanted:
            return


def _in_own_process(function: Any, *args: Any) -> dict[str, float]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_run, function, args).result()


def _run(function: Any, args: tuple[Any, ...]) -> dict[str, float]:
    return asyncio.run(function(*args))


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100_000, help="actor-steps of each point (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the figures here, too")
    options = parser.parse_args()
    points = [(trials, 1) for trials in TRIALS] + [(1, actors) for actors in ACTORS[1:]]
    print("trials  actors   steps/s   us/actor-step   p50 ms   p99 ms   kB/trial")
    figures: list[dict[str, float]] = []
    for trials, actors in points:
        figure = _in_own_process(run_point, trials, actors, options.steps)
        figures.append(figure)
        print(
            f"{trials:>6}  {actors:>6}  {figure['steps_per_second']:>8,.0f}   {figure['us_per_actor_step']:>13.1f}"
            f"   {figure['p50_ms']:>6.2f}   {figure['p99_ms']:>6.2f}   {figure['kb_per_trial']:>8.1f}",
            flush=True,
        )
    for trials in (100, 1000):
        figures.append(_in_own_process(idle_trials, trials))
        print(
            f"{trials:>6}  idle trials: {figures[-1]['idle_kb_per_trial']:.1f} kB each in the Orchestrator", flush=True
        )
    if options.json:
        with open(options.json, "w") as file:
            json.dump(figures, file, indent=1)


if __name__ == "__main__":
    main()
