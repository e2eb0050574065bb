# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""What a ModelRegistry takes and gives."""

from __future__ import annotations

import io
from pathlib import Path

from typing_extensions import assert_type

import cogment
from cogment.model_registry_v2 import LatestModel, ModelInfo, ModelIterationInfo, ModelRegistry


class Policy:
    """A model of a user."""

    @classmethod
    def load(cls, data: bytes) -> Policy:
        """Deserialize it."""
        return cls()


async def get_a_registry(context: cogment.Context) -> None:
    """With and without await it is a ModelRegistry."""
    registry = context.get_model_registry_v2(cogment.Endpoint("grpc://localhost:9002"))
    assert_type(registry, ModelRegistry)
    assert_type(await registry, ModelRegistry)
    async with context.get_model_registry_v2() as entered:
        assert_type(entered, ModelRegistry)


async def transfer(registry: ModelRegistry) -> None:
    """Models are like bytes, paths and files; text is none of these."""
    assert_type(await registry.store_model("m", b"1", {"a": "b"}), ModelIterationInfo)
    await registry.publish_model("m", bytearray(3))
    await registry.publish_model("m", memoryview(b"1"), progress=print, timeout=5)
    await registry.publish_model("m", Path("model.pt"))
    await registry.publish_model("m", io.BytesIO(b"1"))
    await registry.store_model("m", "text")  # type: ignore[arg-type]
    assert_type(await registry.retrieve_model("m"), bytes | None)
    assert_type(await registry.retrieve_model_to("m", Path("copy.pt"), -2), ModelIterationInfo | None)


async def ask(registry: ModelRegistry) -> None:
    """What there is."""
    assert_type(await registry.list_models(), list[ModelInfo])
    assert_type(await registry.list_iterations("m"), list[ModelIterationInfo])
    assert_type(await registry.get_model_info("m"), ModelInfo | None)
    assert_type(await registry.get_iteration_info("m", -1), ModelIterationInfo | None)
    async for info in registry.iteration_updates("m"):
        assert_type(info, ModelIterationInfo)


async def track(registry: ModelRegistry) -> None:
    """A tracked model is of the type that its function returns, and bytes without one."""
    assert_type(await registry.track_latest_model("m"), LatestModel[bytes])
    latest = await registry.track_latest_model("m", Policy.load, initial_wait=5)
    assert_type(latest, LatestModel[Policy])
    assert_type(await latest.get(), tuple[Policy, ModelIterationInfo])
