"""Steps per second, in every layout of processes, against the floor under each.

A step is one set of observations answered by one set of actions. The floor of the layout in one process is two bare
coroutines that hand each other the protocol's envelopes; that of the others is a chain of raw grpc.aio round trips, one
for each process that a step goes to and comes back from. Everything is measured in the same run, in turns: machines
differ and drift, ratios hold.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cogment
import processes
from baseline import coroutine_steps, echo_round_trips
from cogment_services.orchestrator import Orchestrator
from cogment_services.polling import fast_polling
from processes import Child
from workload import CASES, SETTINGS, Case, Span, Workload, parameters, run_to_the_end


@dataclass
class Layout:
    """Who runs where, set up and ready for trials."""

    endpoint: cogment.Endpoint
    environment: str
    """Endpoint for the trial parameters."""
    actors: str
    """Endpoint for the trial parameters."""
    children: dict[str, Child] = field(default_factory=dict[str, Child])
    spans: Callable[[], list[Span]] = list
    """The spans of the trials so far."""


@dataclass
class Figure:
    """What one measurement gave."""

    case: str
    layout: str
    steps_per_second: float
    floor_per_second: float
    ratio: float
    cpu_ms_per_step: dict[str, float]


@contextlib.asynccontextmanager
async def in_process() -> AsyncGenerator[Layout, None]:
    """Everything in this process, no gRPC."""
    workload = Workload()
    context = cogment.Context(user_id="benchmark", cog_settings=SETTINGS, prometheus_registry=None)
    processes.register(context, workload, "both")
    async with Orchestrator() as orchestrator:
        orchestrator.attach(context)
        yield Layout(orchestrator.endpoint, "", "", spans=lambda: workload.spans)


@contextlib.asynccontextmanager
async def one_process() -> AsyncGenerator[Layout, None]:
    """Everything in this process, over gRPC."""
    workload = Workload()
    async with Orchestrator(port=0) as orchestrator:
        async with cogment.Context("benchmark", SETTINGS, prometheus_registry=None) as context:
            processes.register(context, workload, "both")
            serving = asyncio.get_running_loop().create_task(context.serve_all_registered())
            url = f"grpc://127.0.0.1:{await context.wait_until_serving()}"
            yield Layout(
                cogment.Endpoint(f"grpc://127.0.0.1:{orchestrator.port}"), url, url, spans=lambda: workload.spans
            )
        await serving


@contextlib.asynccontextmanager
async def two_processes() -> AsyncGenerator[Layout, None]:
    """Orchestrator and environment | actors."""
    children = {
        "orchestrator+environment": Child(processes.orchestrator_with_environment),
        "actors": Child(processes.components, "actors"),
    }
    main, actors = children.values()
    yield Layout(
        cogment.Endpoint(f"grpc://127.0.0.1:{main.port}"),
        "",
        f"grpc://127.0.0.1:{actors.port}",
        children,
        lambda: main.ask("result"),
    )


@contextlib.asynccontextmanager
async def three_processes() -> AsyncGenerator[Layout, None]:
    """Orchestrator | environment | actors."""
    children = {
        # As ``cogment services orchestrator`` runs.
        "orchestrator": Child(processes.orchestrator, polling=fast_polling()),
        "environment": Child(processes.components, "environment"),
        "actors": Child(processes.components, "actors"),
    }
    orchestrator, environment, actors = children.values()
    yield Layout(
        cogment.Endpoint(f"grpc://127.0.0.1:{orchestrator.port}"),
        f"grpc://127.0.0.1:{environment.port}",
        f"grpc://127.0.0.1:{actors.port}",
        children,
        lambda: environment.ask("result"),
    )


LAYOUTS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "in process": (in_process, ()),
    "one process, gRPC": (one_process, (0, 0)),
    "orchestrator+environment | actors": (two_processes, (0,)),
    "orchestrator | environment | actors": (three_processes, (0, 1)),
}
"""Each layout, and which echo server is in the place of each peer that a step goes to and comes back from."""


async def run_trials(layout: Layout, case: Case, steps: int) -> tuple[float, dict[str, float]]:
    """Steps per second of ``case``, and CPU seconds of each process."""
    known = len(layout.spans())
    async with cogment.Context("benchmark", SETTINGS, prometheus_registry=None) as context:
        controller = context.get_controller(layout.endpoint)
        before = {name: child.ask("usage").cpu for name, child in layout.children.items()}
        own = time.process_time()
        params = parameters(case, steps, layout.environment, layout.actors)
        await run_to_the_end(controller, params, case.trials)
        cpu = {name: child.ask("usage").cpu - before[name] for name, child in layout.children.items()}
        cpu = cpu or {"all": time.process_time() - own}
    spans = layout.spans()[known:]
    seconds = max(span.end for span in spans) - min(span.begin for span in spans)
    return sum(span.steps for span in spans) / seconds, cpu


async def floor(case: Case, ports: Sequence[int], steps: int) -> float:
    """Steps per second that the bare mechanism would make."""
    if not ports:
        return case.trials * steps / await coroutine_steps(case.trials * steps, case.payload)
    seconds = await echo_round_trips(ports, steps, case.payload, streams=case.trials * case.actors)
    return case.trials * steps / seconds


async def measure(name: str, case: Case, seconds: float, repeats: int, echoes: Sequence[Child]) -> Figure:
    """The median of ``repeats`` turns of layout and floor, of about ``seconds`` each."""
    make, peers = LAYOUTS[name]
    ports = [echoes[peer].port for peer in peers]
    async with make() as layout:
        try:
            rate, _ = await run_trials(layout, case, 50)
            steps = max(50, int(rate * seconds / case.trials))
            rates: list[float] = []
            floors: list[float] = []
            cpus: list[dict[str, float]] = []
            for _ in range(repeats):
                floors.append(await floor(case, ports, steps))
                rate, cpu = await run_trials(layout, case, steps)
                rates.append(rate)
                cpus.append(cpu)
        finally:
            for child in layout.children.values():
                child.stop()
    total = case.trials * steps
    cpu_ms = {key: statistics.median(cpu[key] for cpu in cpus) / total * 1000 for key in cpus[0]}
    ratio = statistics.median(rate / bare for rate, bare in zip(rates, floors, strict=True))
    return Figure(str(case), name, statistics.median(rates), statistics.median(floors), ratio, cpu_ms)


def show(figure: Figure) -> None:
    """Print a row."""
    cpu = ", ".join(f"{name} {ms:.3f}" for name, ms in figure.cpu_ms_per_step.items())
    print(
        f"{figure.case:<14} {figure.layout:<36} {figure.steps_per_second:>9,.0f} {figure.floor_per_second:>9,.0f}"
        f" {figure.ratio:>6.2f}   {cpu}",
        flush=True,
    )


async def measure_all(cases: list[Case], layouts: list[str], seconds: float, repeats: int) -> list[Figure]:
    """Measure and print each case in each layout."""
    figures: list[Figure] = []
    echoes = [Child(processes.echo), Child(processes.echo)]
    try:
        for case in cases:
            for name in layouts:
                figures.append(await measure(name, case, seconds, repeats, echoes))
                show(figures[-1])
    finally:
        for echo in echoes:
            echo.stop()
    return figures


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layout", choices=LAYOUTS, action="append", help="only this layout (may be repeated)")
    parser.add_argument("--case", choices=[str(case) for case in CASES], action="append", help="only this case")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one measurement (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each kind (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the figures here, too")
    options = parser.parse_args()
    cases = [case for case in CASES if not options.case or str(case) in options.case]
    print(f"{'trials x actors':<14} {'layout':<36} {'steps/s':>9} {'floor/s':>9} {'ratio':>6}   CPU ms per step")
    figures = asyncio.run(measure_all(cases, options.layout or list(LAYOUTS), options.seconds, options.repeats))
    if options.json:
        Path(options.json).write_text(json.dumps([asdict(figure) for figure in figures], indent=1))


if __name__ == "__main__":
    main()
