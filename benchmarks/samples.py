"""Samples per second into and out of the Trial Datastore, and what a sample waits until it is durable.

The floors, measured in the same run: SQLite that commits rows of the same size, and raw grpc.aio streams that carry the
same bytes and answers between two processes. Ratios hold from machine to machine, figures do not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sqlite3
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

import cogment
from cogment.api import common_pb2, datalog_pb2, datalog_pb2_grpc, environment_pb2, trial_datastore_pb2
from cogment_core.channels import open_channel
from cogment_services.cli.trial_datastore import SWITCH_INTERVAL
from cogment_services.datastore import TrialDatastore
from cogment_services.polling import fast_polling
from processes import Child

PARAMS = common_pb2.TrialParams(actors=[common_pb2.ActorParams(name="actor", actor_class="player")])
LOG = "/cogmentAPI.DatalogSP/RunTrialDatalog"
READ = "/cogmentAPI.TrialDatastoreSP/RetrieveSamples"
DELETE = "/cogmentAPI.TrialDatastoreSP/DeleteTrials"
WINDOW = 200
"""Samples of one stream that may be unanswered."""
LONGEST_WAIT = 300.0
"""Seconds that a deleted half of the samples may take to leave the file."""


def sample(tick: int, last: bool) -> datalog_pb2.DatalogSample:
    """A sample that takes 500 bytes when it is stored."""
    return datalog_pb2.DatalogSample(
        info=datalog_pb2.SampleInfo(
            tick_id=tick, timestamp=time.time_ns(), state=common_pb2.ENDED if last else common_pb2.RUNNING
        ),
        observations=environment_pb2.ObservationSet(observations=[b"o" * 400], actors_map=[0]),
        actions=[common_pb2.Action(tick_id=tick, content=b"a" * 20)],
        rewards=[
            common_pb2.Reward(
                receiver_name="actor", sources=[common_pb2.RewardSource(sender_name="env", value=1, confidence=1)]
            )
        ],
    )


def inputs(count: int) -> list[datalog_pb2.RunTrialDatalogInput]:
    """The log of one trial."""
    first = datalog_pb2.RunTrialDatalogInput(trial_params=PARAMS)
    samples = [datalog_pb2.RunTrialDatalogInput(sample=sample(tick, tick == count - 1)) for tick in range(count)]
    return [first, *samples]


# --- servers in processes of their own --------------------------------------------------------------------------------


async def datastore(tell: Callable[[Any], None], results: list[Any], path: str) -> None:
    """A datastore as ``cogment services trial_datastore`` runs it."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    began = time.perf_counter()
    async with TrialDatastore(path, port=0) as server:
        results.append(time.perf_counter() - began)
        tell(server.port)
        await asyncio.Event().wait()


async def raw(tell: Callable[[Any], None], results: list[Any]) -> None:
    """Streams of bytes: ``Take`` answers each message with an empty one, ``Give`` sends as many as it is asked for."""

    async def take(requests: Any, context: Any) -> None:
        while await context.read() is not grpc.aio.EOF:
            await context.write(b"")

    async def give(request: bytes, context: Any) -> None:
        message = b"x" * 510
        for _ in range(int(request)):
            await context.write(message)

    server = grpc.aio.server()
    handlers: dict[str, Any] = {
        "Take": grpc.stream_stream_rpc_method_handler(take),
        "Give": grpc.unary_stream_rpc_method_handler(give),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("benchmark.Raw", handlers),))
    tell(server.add_insecure_port("127.0.0.1:0"))
    await server.start()
    await asyncio.Event().wait()


# --- writing ----------------------------------------------------------------------------------------------------------


def commits(path: Path, count: int, together: int) -> float:
    """Rows per second into SQLite, with so many rows in one durable commit."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE IF NOT EXISTS samples (id INTEGER PRIMARY KEY, sample BLOB)")
    row = (b"x" * 500,)
    began = time.perf_counter()
    for _ in range(count // together):
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO samples (sample) VALUES (?)", [row] * together)
        connection.execute("COMMIT")
    seconds = time.perf_counter() - began
    connection.close()
    return count / seconds


async def write(call: Any, messages: Sequence[Any], pace: float = 0.0) -> list[float]:
    """Send ``messages`` on one stream. Returns how long each was waited for until it was answered.

    Args:
        call: The stream.
        messages: What to send, the parameters first.
        pace: Seconds between two messages; 0 for as fast as they are taken.
    """
    room = asyncio.Semaphore(WINDOW)
    sent: deque[float] = deque()
    waited: list[float] = []

    async def answers() -> None:
        for _ in messages:
            if await call.read() is grpc.aio.EOF:
                raise RuntimeError("the stream ended early")
            waited.append(time.perf_counter() - sent.popleft())
            room.release()

    reading = asyncio.get_running_loop().create_task(answers())
    due = time.perf_counter()
    for message in messages:
        await room.acquire()
        if pace:
            due += pace
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
        sent.append(time.perf_counter())
        await call.write(message)
    await reading
    await call.done_writing()
    return waited[1:]


def figures(waited: Sequence[float], seconds: float) -> dict[str, float]:
    """Rate, and latencies in ms."""
    cuts = statistics.quantiles(waited, n=100)
    return {"per_second": len(waited) / seconds, "p50_ms": cuts[49] * 1e3, "p99_ms": cuts[98] * 1e3}


async def write_streams(
    start: Callable[[str], Any], name: str, samples: int, streams: int, *, encode: bool, rate: float = 0.0
) -> dict[str, float]:
    """Write so many samples on so many streams at a time; at ``rate`` samples per second if there is one."""
    messages: list[Any] = inputs(samples // streams)
    if encode:
        messages = [message.SerializeToString() for message in messages]
    pace = streams / rate if rate else 0.0
    began = time.perf_counter()
    waited = await asyncio.gather(*(write(start(f"{name} {number}"), messages, pace) for number in range(streams)))
    return figures([each for stream in waited for each in stream], time.perf_counter() - began)


# --- the measurements -------------------------------------------------------------------------------------------------


def connect(port: int) -> Any:
    """A channel to a port of this machine, with methods of any type."""
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}")


def start_log(method: Any, trial_id: str) -> Any:
    """Begin to log a trial."""
    return method(metadata=(("trial-id", trial_id),))


def start_raw(method: Any, name: str) -> Any:
    """Begin a raw stream."""
    return method()


async def measure_in_process(path: Path, samples: int) -> dict[str, dict[str, float]]:
    """The datastore in this process, without gRPC."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        async with TrialDatastore(path) as server, open_channel(server.endpoint) as channel:
            stub: Any = datalog_pb2_grpc.DatalogSPStub(channel)
            start = partial(start_log, stub.RunTrialDatalog)
            return {
                f"in process, {streams} streams": await write_streams(
                    start, f"in process {streams}", samples, streams, encode=False
                )
                for streams in (1, 8)
            }
    finally:
        sys.setswitchinterval(before)


async def measure_writes(port: int, raw_port: int, samples: int) -> dict[str, dict[str, float]]:
    """The datastore in its own process, and raw streams."""
    results: dict[str, dict[str, float]] = {}
    async with (
        connect(port) as channel,
        connect(raw_port) as raw_channel,
    ):
        for streams in (1, 8):
            floor = raw_channel.stream_stream("/benchmark.Raw/Take")
            results[f"raw gRPC, {streams} streams"] = await write_streams(
                partial(start_raw, floor), "raw", samples, streams, encode=True
            )
            start = partial(start_log, channel.stream_stream(LOG))
            written = await write_streams(start, f"gRPC {streams}", samples, streams, encode=True)
            results[f"gRPC, {streams} streams"] = written
            results[f"gRPC, {streams} streams, 2000/s"] = await write_streams(
                start, f"paced {streams}", min(samples, 6000), streams, encode=True, rate=2000
            )
    return results


async def measure_reads(port: int, raw_port: int, samples: int) -> dict[str, dict[str, float]]:
    """A trial read from the datastore, and a raw stream of as many bytes."""

    async def count(call: Any) -> float:
        began = time.perf_counter()
        messages = 0
        while await call.read() is not grpc.aio.EOF:
            messages += 1
        if messages != samples:
            raise RuntimeError(f"{messages} of {samples} messages came")
        return messages / (time.perf_counter() - began)

    async with (
        connect(port) as channel,
        connect(raw_port) as raw_channel,
    ):
        request = trial_datastore_pb2.RetrieveSamplesRequest(trial_ids=["gRPC 1 0"]).SerializeToString()
        floor = await count(raw_channel.unary_stream("/benchmark.Raw/Give")(b"%d" % samples))
        read = await count(channel.unary_stream(READ)(request))
    return {"read, raw gRPC": {"per_second": floor}, "read, gRPC": {"per_second": read, "ratio": read / floor}}


def file_size(path: str) -> int:
    """Bytes of a file."""
    return Path(path).stat().st_size


async def read_with_client(tell: Callable[[Any], None], results: list[Any], port: int) -> None:
    """Read as users do: one trial, then all of them."""
    tell(0)
    async with cogment.Context("benchmark", None, prometheus_registry=None) as context:
        store = context.get_datastore(cogment.Endpoint(f"grpc://127.0.0.1:{port}"))
        infos = await store.get_trials()
        for chosen in (infos[len(infos) // 2 :][:1], infos):
            began, count = time.perf_counter(), 0
            async for _ in store.all_samples(chosen):
                count += 1
            results.append(count / (time.perf_counter() - began))
    await asyncio.Event().wait()


async def write_many(port: int, trials: int) -> float:
    """Log trials of 1000 samples. Returns seconds."""
    async with connect(port) as channel:
        log = channel.stream_stream(LOG)
        messages = [message.SerializeToString() for message in inputs(1000)]
        began = time.perf_counter()
        for first in range(0, trials, 8):
            await asyncio.gather(
                *(write(start_log(log, f"{n}"), messages) for n in range(first, min(first + 8, trials)))
            )
        return time.perf_counter() - began


async def delete_half(port: int, trials: int, path: str) -> dict[str, float]:
    """Delete every other trial, and wait until the file has shrunk by 45 %."""
    wanted = file_size(path) * 0.55
    async with connect(port) as channel:
        request = trial_datastore_pb2.DeleteTrialsRequest(trial_ids=[str(n) for n in range(0, trials, 2)])
        began = time.perf_counter()
        await channel.unary_unary(DELETE)(request.SerializeToString())
        answered = time.perf_counter() - began
        while file_size(path) > wanted and time.perf_counter() - began < LONGEST_WAIT:  # noqa: ASYNC110 - a file tells nobody
            await asyncio.sleep(0.2)
        return {
            "delete_seconds": answered,
            "shrink_seconds": time.perf_counter() - began,
            "file_bytes_of_half": file_size(path),
        }


async def measure_million(folder: Path, count: int) -> dict[str, Any]:
    """Size and speed with many samples."""
    path = str(folder / "million.db")
    trials = count // 1000
    child = Child(datastore, path, polling=fast_polling())
    result: dict[str, Any] = {"samples": trials * 1000, "write_seconds": await write_many(child.port, trials)}
    result["writing_peak_rss"] = child.ask("usage").peak_rss
    child.stop()
    result["file_bytes"] = file_size(path)
    child = Child(datastore, path, polling=fast_polling())
    result["open_seconds"] = child.ask("result")[0]
    reader = Child(read_with_client, child.port)
    while len(rates := reader.ask("result")) < 2:  # noqa: ASYNC110 - the other process only answers
        await asyncio.sleep(0.5)
    result["one_trial_per_second"], result["all_per_second"] = rates
    result["client_peak_rss"] = reader.ask("usage").peak_rss
    reader.stop()
    result["reading_peak_rss"] = child.ask("usage").peak_rss
    result.update(await delete_half(child.port, trials, path))
    child.stop()
    return result


async def measure(samples: int, million: int) -> dict[str, Any]:
    """Everything."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        results: dict[str, Any] = {
            "SQLite, one row per commit": {"per_second": commits(folder / "raw.db", samples // 10, 1)},
            "SQLite, 100 rows per commit": {"per_second": commits(folder / "raw.db", samples, 100)},
            **await measure_in_process(folder / "embedded.db", samples),
        }
        child = Child(datastore, str(folder / "served.db"), polling=fast_polling())
        floor = Child(raw, polling=fast_polling())
        try:
            results.update(await measure_writes(child.port, floor.port, samples))
            results.update(await measure_reads(child.port, floor.port, samples))
            results["service"] = {"peak_rss": child.ask("usage").peak_rss}
        finally:
            child.stop()
            floor.stop()
        if million:
            results["many samples"] = await measure_million(folder, million)
        return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=20_000, help="samples in each measurement")
    parser.add_argument("--many", type=int, default=0, metavar="N", help="also with that many samples in one file")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    options = parser.parse_args()
    results = asyncio.run(measure(options.samples, options.many))
    for name, values in results.items():
        shown = "  ".join(
            f"{key} {value:,.2f}" if value < 100 else f"{key} {value:,.0f}" for key, value in values.items()
        )
        print(f"{name:32} {shown}")
    if options.json:
        options.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
