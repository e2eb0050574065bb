"""A Directory over real gRPC, and services that register in it."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from cogment_services.directory import DirectoryServer

sys.path.insert(0, str(Path(__file__).parent))  # test folders are no packages

from directory_helpers import RARE, Caller, Peer


@pytest.fixture
async def run_peer() -> AsyncIterator[Callable[..., Any]]:
    """Starts services of actors."""
    peers: list[Peer] = []

    async def run(port: int = 0) -> Peer:
        peer = Peer()
        peers.append(peer)
        await peer.start(port)
        return peer

    yield run
    for peer in peers:
        await peer.stop()


@pytest.fixture
async def run_directory() -> AsyncIterator[Callable[..., Any]]:
    """Starts Directories, and gives a `Caller` of each, with the ``server`` in it."""
    callers: list[Any] = []

    async def run(path: Any = None, **settings: Any) -> Caller:
        server = DirectoryServer(path, **{"port": 0, "schedule": RARE, **settings})
        await server.start()
        caller = Caller(grpc.aio.insecure_channel(f"127.0.0.1:{server.port}"))
        caller.server = server
        callers.append(caller)
        return caller

    yield run
    for caller in callers:
        await caller.channel.close()
        await caller.server.close(0.0)


@pytest.fixture
async def directory(run_directory: Any) -> Caller:
    """A Directory without a file."""
    return await run_directory()
