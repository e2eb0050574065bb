"""Megabytes per second of models, up and down, against a raw grpc.aio stream of the same bytes in the same run.

The Model Registry, the raw server and the client are processes of their own. Models come from a file and go to
``/dev/null``, so that the memory that the client and the Model Registry need besides is seen. Then: how long a new
iteration takes to reach 100 subscribers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import grpc
import grpc.aio

import cogment
from cogment.model_registry_v2 import ModelRegistry
from cogment_model_registry import CHUNK_SIZE
from cogment_services.model_registry import ModelRegistryServer
from processes import Child, usage

MEGABYTE = 1_000_000
MEBIBYTE = 1024 * 1024

UPLOAD, DOWNLOAD = "/benchmark.Raw/Upload", "/benchmark.Raw/Download"


@dataclass
class Figure:
    """What one direction gave."""

    direction: str
    megabytes_per_second: float
    raw_megabytes_per_second: float
    ratio: float
    client_extra_mib: float
    """Peak of the client's memory during the transfers, beyond what it needed before."""
    registry_extra_mib: float


# --- processes ------------------------------------------------------------------------------------------------------


async def model_registry(tell: Callable[[int], None], results: list[Any], folder: str) -> None:
    """A Model Registry on a free port."""
    async with ModelRegistryServer(folder, port=0, max_model_size=16 * 1024**3) as server:
        tell(server.port)
        await asyncio.Event().wait()


async def raw(tell: Callable[[int], None], results: list[Any], size: int) -> None:
    """A raw grpc.aio server that takes and gives bytes, on a free port."""
    chunk = bytes(CHUNK_SIZE)

    async def upload(requests: Any, context: Any) -> bytes:
        received = 0
        while (message := await context.read()) is not grpc.aio.EOF:
            received += len(message)
        return str(received).encode()

    async def download(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for _ in range(size // CHUNK_SIZE):
            yield chunk

    server = grpc.aio.server()
    handlers: dict[str, Any] = {
        "Upload": grpc.stream_unary_rpc_method_handler(upload),
        "Download": grpc.unary_stream_rpc_method_handler(download),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("benchmark.Raw", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    tell(port)
    await server.wait_for_termination()


# --- transfers ------------------------------------------------------------------------------------------------------


async def raw_upload(channel: grpc.aio.Channel, size: int) -> None:
    """Send ``size`` bytes in chunks."""
    chunk = bytes(CHUNK_SIZE)
    call: Any = channel.stream_unary(UPLOAD)()
    for _ in range(size // CHUNK_SIZE):
        await call.write(chunk)
    await call.done_writing()
    assert int(await call) == size


async def raw_download(channel: grpc.aio.Channel, size: int) -> None:
    """Receive ``size`` bytes in chunks."""
    download: Any = channel.unary_stream(DOWNLOAD)
    call: Any = download(b"")
    received = 0
    async for chunk in call:
        received += len(chunk)
    assert received == size


def open_nowhere() -> BinaryIO:
    """A file that takes everything and keeps nothing."""
    return Path("/dev/null").open("wb")


async def seconds(work: Awaitable[Any]) -> float:
    """How long ``work`` takes."""
    begin = time.perf_counter()
    await work
    return time.perf_counter() - begin


async def measure(
    registry: ModelRegistry, server: Child, channel: grpc.aio.Channel, path: Path, size: int, repeats: int
) -> list[Figure]:
    """The median of ``repeats`` transfers of ``size`` bytes in each direction, in turns with raw ones."""
    with open_nowhere() as nowhere:
        directions: dict[str, tuple[Callable[[], Awaitable[Any]], Callable[[], Awaitable[Any]]]] = {
            "publish": (lambda: registry.publish_model("m", path), lambda: raw_upload(channel, size)),
            "store": (lambda: registry.store_model("m", path), lambda: raw_upload(channel, size)),
            "retrieve": (lambda: registry.retrieve_model_to("m", nowhere), lambda: raw_download(channel, size)),
        }
        figures: list[Figure] = []
        for name, (ours, bare) in directions.items():
            await bare()  # so that its memory is not counted as ours
            before, server_before = usage().peak_rss, server.ask("usage").peak_rss
            rates: list[float] = []
            floors: list[float] = []
            for _ in range(repeats):
                floors.append(size / MEGABYTE / await seconds(bare()))
                rates.append(size / MEGABYTE / await seconds(ours()))
            figure = Figure(
                name,
                statistics.median(rates),
                statistics.median(floors),
                statistics.median(rate / floor for rate, floor in zip(rates, floors, strict=True)),
                (usage().peak_rss - before) / MEBIBYTE,
                (server.ask("usage").peak_rss - server_before) / MEBIBYTE,
            )
            show(figure)
            figures.append(figure)
    return figures


def show(figure: Figure) -> None:
    """Print a row."""
    print(
        f"{figure.direction:<10} {figure.megabytes_per_second:>8,.0f} {figure.raw_megabytes_per_second:>8,.0f}"
        f" {figure.ratio:>6.2f} {figure.client_extra_mib:>10,.1f} {figure.registry_extra_mib:>12,.1f}",
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
    server, floor = Child(model_registry, str(folder / "registry")), Child(raw, size)
    try:
        async with cogment.Context("benchmark", None) as context:
            registry = context.get_model_registry_v2(cogment.Endpoint(f"grpc://127.0.0.1:{server.port}"))
            await registry.publish_model("m", b"warm up")
            print(f"{'':<10} {'MB/s':>8} {'raw MB/s':>8} {'ratio':>6} {'client MiB':>10} {'registry MiB':>12}")
            async with grpc.aio.insecure_channel(f"127.0.0.1:{floor.port}") as channel:
                figures = await measure(registry, server, channel, path, size, repeats)
            latencies = await update_latency(registry, subscribers, 20)
        print(
            f"an iteration reaches {subscribers} subscribers in {statistics.median(latencies):.1f} ms (median),", end=""
        )
        print(f" {max(latencies):.1f} ms (worst of {len(latencies)})")
        return {"transfers": [asdict(figure) for figure in figures], "update_ms": latencies}
    finally:
        server.stop()
        floor.stop()


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
