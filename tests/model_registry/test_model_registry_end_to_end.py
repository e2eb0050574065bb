"""The client and our own Model Registry together."""

from __future__ import annotations

import asyncio
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

import cogment
from cogment.errors import NotFoundError, RpcError
from cogment.model_registry_v2 import ModelRegistry
from cogment_model_registry import CHUNK_SIZE
from cogment_services.model_registry import ModelRegistryServer


def count(data: bytes) -> int:
    """A model that is the number of its bytes."""
    return len(data)


@pytest.mark.parametrize("over_grpc", [False, True], ids=["in process", "grpc"])
async def test_everything_once(tmp_path: Path, over_grpc: bool) -> None:
    """Store, publish, track, look up, retrieve and remove, as the documentation says."""
    data = bytes(range(256)) * 20_000
    async with ModelRegistryServer(tmp_path, port=0 if over_grpc else None) as server:
        endpoint = cogment.Endpoint(f"grpc://127.0.0.1:{server.port}") if over_grpc else server.endpoint
        async with cogment.Context("me", None) as context:
            registry = await context.get_model_registry_v2(endpoint)
            assert isinstance(registry, ModelRegistry)
            stored = await registry.store_model("m", data, {"score": "3"})
            assert (stored.iteration, stored.stored, stored.properties) == (1, True, {"score": "3"})
            latest = await registry.track_latest_model("m", count)
            assert (await asyncio.wait_for(latest.get(), 20))[0] == len(data)
            published = await registry.publish_model("m", data[:1000])
            assert (published.iteration, published.stored) == (2, False)
            await asyncio.wait_for(latest.wait_for_newer(1), 20)
            assert latest.get_no_wait() == (1000, published)
            assert await registry.retrieve_model("m", 1) == data
            assert await registry.retrieve_model("m", -1) == data[:1000]
            assert await registry.retrieve_model("m", 3) is None
            assert await registry.list_iterations("m") == [stored, published]
            await registry.update_model_info("m", {"kind": "test"})
            assert await registry.list_models() == [await registry.get_model_info("m")]
            target = tmp_path / "copy"
            assert await registry.retrieve_model_to("m", target, 1) == stored
            assert target.read_bytes() == data
            await registry.remove_model("m")
            with pytest.raises(NotFoundError):
                await registry.retrieve_model("m")
            await registry.close()


async def test_refusal_for_its_size_says_so(tmp_path: Path) -> None:
    """A model that is too large is refused with the limit, however far the upload is by then."""
    server = ModelRegistryServer(tmp_path, port=0, max_model_size=1000)
    async with server, cogment.Context("me", None) as context:
        registry = context.get_model_registry_v2(cogment.Endpoint(f"grpc://127.0.0.1:{server.port}"))
        with pytest.raises(RpcError, match="1000"):
            await registry.store_model("m", bytes(20 * CHUNK_SIZE))
        assert (await registry.store_model("m", bytes(1000))).iteration == 1


async def test_removed_model_is_made_again_by_the_next_iteration(tmp_path: Path) -> None:
    """A client that knew of a model goes on when another one has removed it."""
    async with ModelRegistryServer(tmp_path) as server, cogment.Context("me", None) as context:
        one, two = (context.get_model_registry_v2(server.endpoint) for _ in range(2))
        await one.store_model("m", b"1")
        await two.remove_model("m")
        await one.store_model("m", b"2")
        assert await two.retrieve_model("m") == b"2"


@pytest.mark.parametrize("over_grpc", [False, True], ids=["in process", "grpc"])
async def test_memory_does_not_grow_with_the_model(tmp_path: Path, over_grpc: bool) -> None:
    """A file is sent and received with a few chunks in memory, on both sides."""
    path = tmp_path / "model"
    size = 64 * CHUNK_SIZE
    with path.open("wb") as file:
        file.truncate(size)
    server = ModelRegistryServer(tmp_path / "registry", port=0 if over_grpc else None)
    async with server, cogment.Context("me", None) as context:
        endpoint = cogment.Endpoint(f"grpc://127.0.0.1:{server.port}") if over_grpc else server.endpoint
        registry = context.get_model_registry_v2(endpoint)
        await registry.store_model("m", b"warm up")
        tracemalloc.start()
        try:
            await registry.store_model("m", path)
            info: Any = await registry.retrieve_model_to("m", tmp_path / "copy")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert info.size == (tmp_path / "copy").stat().st_size == size
    assert peak < 20 * CHUNK_SIZE
