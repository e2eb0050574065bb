"""Steps per second of an actor that the SDK serves, against a raw grpc.aio echo.

A scripted peer is in the place of the Orchestrator, in the same process: it sends observations that are serialized
already, and reads actions without parsing them. The floor is the same number of bytes to and from a raw echo server in
the same process, in the same run, in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc.aio
from google.protobuf.wrappers_pb2 import BytesValue

import cogment
from baseline import echo_round_trips, serve_echo
from cogment.api import common_pb2
from processes import register
from workload import ACTOR_CLASS, SETTINGS, Workload

RUN_TRIAL = "/cogmentAPI.ServiceActorSP/RunTrial"


@dataclass
class Figure:
    """What one measurement gave."""

    streams: int
    payload: int
    steps_per_second: float
    floor_per_second: float
    ratio: float


async def scripted_steps(port: int, steps: int, payload: int, streams: int) -> float:
    """Seconds for ``steps`` on each of ``streams`` trials of one actor each."""
    content = BytesValue(value=b"o" * payload).SerializeToString()
    observation = _input(observation=common_pb2.Observation(tick_id=0, timestamp=time.time_ns(), content=content))

    async def one_trial(channel: Any, number: int) -> None:
        call = channel.stream_stream(RUN_TRIAL)(metadata=(("trial-id", f"trial-{number}"),))
        hello = common_pb2.ActorInitialInput(actor_name="actor", actor_class=ACTOR_CLASS, impl_name="echo")
        await call.write(_input(init_input=hello))
        await call.read()
        for _ in range(steps):
            await call.write(observation)
            await call.read()
        await call.write(_input(common_pb2.END))
        await call.read()

    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        await channel.channel_ready()
        begin = time.perf_counter()
        await asyncio.gather(*(one_trial(channel, number) for number in range(streams)))
        return time.perf_counter() - begin


def _input(state: common_pb2.CommunicationState.ValueType = common_pb2.NORMAL, **data: Any) -> bytes:
    return common_pb2.ActorRunTrialInput(state=state, **data).SerializeToString()


async def measure(streams: int, payload: int, seconds: float, repeats: int) -> Figure:
    """The median of ``repeats`` turns of the service and its floor, of about ``seconds`` each."""
    echo, echo_port = await serve_echo()
    async with cogment.Context("benchmark", SETTINGS, prometheus_registry=None) as context:
        register(context, Workload(), "actors")
        serving = asyncio.get_running_loop().create_task(context.serve_all_registered())
        port = await context.wait_until_serving()
        steps = max(50, int(200 / await scripted_steps(port, 200, payload, streams) * seconds))
        rates: list[float] = []
        floors: list[float] = []
        for _ in range(repeats):
            floors.append(streams * steps / await echo_round_trips([echo_port], steps, payload, streams))
            rates.append(streams * steps / await scripted_steps(port, steps, payload, streams))
    await serving
    await echo.stop(None)
    ratio = statistics.median(rate / bare for rate, bare in zip(rates, floors, strict=True))
    return Figure(streams, payload, statistics.median(rates), statistics.median(floors), ratio)


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one measurement (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each kind (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the figures here, too")
    options = parser.parse_args()
    figures: list[Figure] = []
    print(f"{'streams':>7} {'bytes':>7} {'steps/s':>9} {'floor/s':>9} {'ratio':>6}")
    for streams, payload in [(1, 64), (16, 64), (1, 65_536)]:
        figure = asyncio.run(measure(streams, payload, options.seconds, options.repeats))
        figures.append(figure)
        print(
            f"{streams:>7} {payload:>7,} {figure.steps_per_second:>9,.0f} {figure.floor_per_second:>9,.0f}"
            f" {figure.ratio:>6.2f}",
            flush=True,
        )
    if options.json:
        Path(options.json).write_text(json.dumps([asdict(figure) for figure in figures], indent=1))


if __name__ == "__main__":
    main()
