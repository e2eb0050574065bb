"""Trial Datastores over real gRPC."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

# Makes the kit importable: test folders are no packages.
sys.path.insert(0, str(Path(__file__).parent))

from storekit import Client, Command

from cogment_services.datastore import TrialDatastore


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Any]]:
    """Starts datastores in this process, and gives a `Client` of each, with the ``server`` in it."""
    clients: list[Any] = []

    async def serve(path: Path | None = None, **settings: Any) -> Client:
        server = TrialDatastore(path, **{"port": 0, "resume_within": 30.0, **settings})
        await server.start()
        client: Any = Client(grpc.aio.insecure_channel(f"127.0.0.1:{server.port}"))
        client.server = server
        clients.append(client)
        return client

    yield serve
    for client in clients:
        await client.channel.close()
        await client.server.close(0.0)


@pytest.fixture(params=["file", "memory"])
async def client(request: pytest.FixtureRequest, serve: Any, tmp_path: Path) -> Client:
    """A client of a datastore, once with a file and once in memory."""
    return await serve(tmp_path / "trials.db" if request.param == "file" else None)


@pytest.fixture
async def command() -> AsyncIterator[Callable[..., Any]]:
    """Starts ``cogment services trial_datastore`` on a free port."""
    running: list[Command] = []

    async def start(*args: str, **settings: Any) -> Command:
        started = await Command.start("--port=0", *args, **settings)
        running.append(started)
        return started

    yield start
    for each in running:
        await each.kill()
