"""Megabytes per second of models, up and down, against plain grpc.aio streams of the same bytes in the same run.

The Model Registry, the server of the streams and the client are processes of their own. Models come from a file and go
to ``/dev/null``. The memory that a transfer takes is measured in processes that have done nothing else. Then: how long
a new iteration takes to reach 100 subscribers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc.aio

import cogment
from cogment.model_registry_v2 import ModelRegistry
from cogment_model_registry import CHUNK_SIZE
from cogment_services.model_registry import ModelRegistryServer
from model_streams import careful_download, careful_upload, raw_download, raw_upload, serve_streams
from processes import Child, usage

MEGABYTE = 1_000_000
MEBIBYTE = 1024 * 1024


@dataclass
class Figure:
    """What one direction gave."""

    direction: str
    megabytes_per_second: float
    raw_megabytes_per_second: float
    """A stream of bytes, and nothing else."""
    careful_megabytes_per_second: float
    """The same with what every safe transfer has to do, see `model_streams`."""
    ratio: float
    """To the raw stream."""
    careful_ratio: float
    """To the careful stream."""
    client_extra_mib: float = 0.0
    """Peak of the client's memory during one transfer, beyond what it needed before."""
    registry_extra_mib: float = 0.0


# --- processes ------------------------------------------------------------------------------------------------------


async def model_registry(tell: Callable[[int], None], results: list[Any], folder: str) -> None:
    """A Model Registry on a free port."""
    async with ModelRegistryServer(folder, port=0, max_model_size=16 * 1024**3) as server:
        tell(server.port)
        await asyncio.Event().wait()


async def client(tell: Callable[[int], None], results: list[Any], port: int, path: str, kind: str) -> None:
    """Move a model once; the result is the bytes of memory that this takes at its peak beyond what there is before."""
    tell(0)
    async with cogment.Context("benchmark", None) as context:
        registry = context.get_model_registry_v2(cogment.Endpoint(f"grpc://127.0.0.1:{port}"))
        await registry.publish_model(kind, b"warm up")
        await registry.retrieve_model(kind)
        before = usage().peak_rss
        await move(registry, kind, path)
        results.append(usage().peak_rss - before)
        await asyncio.Event().wait()


# --- transfers ------------------------------------------------------------------------------------------------------


async def move(registry: ModelRegistry, kind: str, path: str | Path) -> None:
    """``publish`` or ``store`` a file, or ``retrieve`` what was stored last."""
    if kind == "retrieve":
        with Path("/dev/null").open("wb") as nowhere:  # noqa: ASYNC230
            await registry.retrieve_model_to("m", nowhere)
    elif kind == "store":
        await registry.store_model("m", Path(path))
    else:
        await registry.publish_model("m", Path(path))


async def seconds(work: Awaitable[Any]) -> float:
    """How long ``work`` takes."""
    begin = time.perf_counter()
    await work
    return time.perf_counter() - begin


async def measure(
    registry: ModelRegistry, channel: grpc.aio.Channel, path: Path, size: int, repeats: int
) -> list[Figure]:
    """The median of ``repeats`` transfers in each direction, in turns with those that it is compared with."""
    up, down = partial(raw_upload, channel, size), partial(raw_download, channel, size)
    directions: dict[str, tuple[Callable[[], Awaitable[Any]], Callable[[], Awaitable[Any]]]] = {
        "publish": (up, partial(careful_upload, channel, path, sync=False)),
        "store": (up, partial(careful_upload, channel, path, sync=True)),
        "retrieve": (down, partial(careful_download, channel, size)),
    }
    figures: list[Figure] = []
    for kind, (bare, careful) in directions.items():
        rates: list[tuple[float, float, float]] = []
        for _ in range(repeats):
            turn = [await seconds(bare()), await seconds(careful()), await seconds(move(registry, kind, path))]
            rates.append((size / MEGABYTE / turn[0], size / MEGABYTE / turn[1], size / MEGABYTE / turn[2]))
        figures.append(
            Figure(
                kind,
                statistics.median(ours for _, _, ours in rates),
                statistics.median(raw for raw, _, _ in rates),
                statistics.median(floor for _, floor, _ in rates),
                statistics.median(ours / raw for raw, _, ours in rates),
                statistics.median(ours / floor for _, floor, ours in rates),
            )
        )
    return figures


async def memory(kind: str, path: Path, folder: Path) -> tuple[float, float]:
    """MiB that one transfer takes in a new client and in a new Model Registry."""
    with stopping(Child(model_registry, str(folder))) as server:
        if kind == "retrieve":
            async with cogment.Context("benchmark", None) as context:
                endpoint = cogment.Endpoint(f"grpc://127.0.0.1:{server.port}")
                await context.get_model_registry_v2(endpoint).store_model("m", path)
    with stopping(Child(model_registry, str(folder))) as server:
        before = server.ask("usage").peak_rss
        with stopping(Child(client, server.port, str(path), kind)) as user:
            while not (results := user.ask("result")):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        return results[0] / MEBIBYTE, (server.ask("usage").peak_rss - before) / MEBIBYTE


@contextmanager
def stopping(child: Child) -> Generator[Child, None, None]:
    """Stops ``child`` at the end."""
    try:
        yield child
    finally:
        child.stop()


def show(figure: Figure) -> None:
    """Print a row."""
    print(
        f"{figure.direction:<10} {figure.megabytes_per_second:>8,.0f} {figure.raw_megabytes_per_second:>8,.0f}"
        f" {figure.careful_megabytes_per_second:>12,.0f} {figure.ratio:>7.2f} {figure.careful_ratio:>11.2f}"
        f" {figure.client_extra_mib:>10,.1f} {figure.registry_extra_mib:>12,.1f}",
        flush=True,
    )


async def update_latency(registry: ModelRegistry, subscribers: int, repeats: int) -> list[float]:
    """Milliseconds from the beginning of a publication until the last of ``subscribers`` knows, for each repeat."""
    await registry.publish_model("news", b"first")
    latencies: list[float] = []
    async with AsyncExitStack() as stack:
        streams = [registry.iteration_updates("news") for _ in range(subscribers)]
        for stream in streams:
            await stack.enter_async_context(aclosing(stream))
            await anext(stream)
        for number in range(repeats):
            begin = time.perf_counter()
            waiting = asyncio.gather(*(anext(stream) for stream in streams))
            await registry.publish_model("news", b"%d" % number)
            await waiting
            latencies.append((time.perf_counter() - begin) * 1000)
    return latencies


def write_model(path: Path, size: int) -> Path:
    """Make a file of ``size`` bytes."""
    with path.open("wb") as file:
        for _ in range(size // CHUNK_SIZE):
            file.write(bytes(CHUNK_SIZE))
    return path


async def measure_all(size: int, repeats: int, subscribers: int, folder: Path) -> dict[str, Any]:
    """Measure and print everything."""
    path = write_model(folder / "model", size)
    with (
        stopping(Child(model_registry, str(folder / "registry"))) as server,
        stopping(Child(serve_streams, size, str(folder))) as streams,
    ):
        async with cogment.Context("benchmark", None) as context:
            registry = context.get_model_registry_v2(cogment.Endpoint(f"grpc://127.0.0.1:{server.port}"))
            await registry.publish_model("m", b"warm up")
            async with grpc.aio.insecure_channel(f"127.0.0.1:{streams.port}") as channel:
                figures = await measure(registry, channel, path, size, repeats)
            latencies = await update_latency(registry, subscribers, 20)
    print(
        f"{'':<10} {'MB/s':>8} {'raw MB/s':>8} {'careful MB/s':>12} {'to raw':>7} {'to careful':>11}"
        f" {'client MiB':>10} {'registry MiB':>12}"
    )
    for figure in figures:
        extra = await memory(figure.direction, path, folder / f"memory-{figure.direction}")
        figure.client_extra_mib, figure.registry_extra_mib = extra
        show(figure)
    print(
        f"an iteration reaches {subscribers} subscribers in {statistics.median(latencies):.1f} ms (median),"
        f" {max(latencies):.1f} ms (worst of {len(latencies)})"
    )
    return {"transfers": [asdict(figure) for figure in figures], "update_ms": latencies}


def main() -> None:
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=1024, help="size of the model (%(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each kind (%(default)s)")
    parser.add_argument("--subscribers", type=int, default=100, help="who follow a model (%(default)s)")
    parser.add_argument("--json", metavar="FILE", help="write the figures here, too")
    options = parser.parse_args()
    size = options.mib * MEBIBYTE // CHUNK_SIZE * CHUNK_SIZE
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure_all(size, options.repeats, options.subscribers, Path(folder)))
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
