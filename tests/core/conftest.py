"""The scripted Orchestrator, for tests of sessions and contexts."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # test folders are no packages

from scripted import World


@pytest.fixture(params=["grpc", "inprocess"])
def transport(request: pytest.FixtureRequest) -> str:
    """What carries the messages."""
    return request.param


@pytest.fixture
async def make_world() -> AsyncIterator[Callable[..., World]]:
    """Makes Worlds; in the end they are closed, and no task may be left."""
    before = asyncio.all_tasks()
    worlds: list[World] = []

    def make(*args: Any, **options: Any) -> World:
        worlds.append(World(*args, **options))
        return worlds[-1]

    yield make
    for world in worlds:
        await world.close()
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    if left:  # gRPC takes some turns to end its own
        _, left = await asyncio.wait(left, timeout=2)
    assert not left, f"tasks are left: {left}"


@pytest.fixture
async def world(make_world: Callable[..., World], transport: str) -> World:
    """A Context with specs and an Orchestrator, over each transport."""
    return make_world(transport)
