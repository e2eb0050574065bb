"""Reading over a real connection, by a real Context: loss, death, slowness."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path
from typing import Any

import pytest
from stored_trials import episode, sample_of, trial_params

import cogment
from cogment.datastore import Datastore
from cogment.errors import RpcError, UnavailableError

DYING_SERVER = Path(__file__).with_name("dying_datastore.py")


async def test_context_makes_a_datastore(server: Any, network: Any) -> None:
    """``get_datastore`` works with and without ``await``, and calls with the Context's metadata."""
    server.add_trial("t", trial_params(), episode(2))
    metadata = cogment.GrpcMetadata()
    metadata.add("x-project", "demo")
    async with cogment.Context("me", None, metadata=metadata) as context:
        datastore = await context.get_datastore(network[1])
        assert isinstance(datastore, Datastore)
        async with context.get_datastore(network[1]) as other:
            assert len(await other.get_trials()) == 1
        samples = [sample.tick_id async for sample in datastore.all_samples(await datastore.get_trials())]
    assert samples == [0, 1]
    sent = [pairs for (method, _), pairs in zip(server.calls, server.metadata, strict=True) if method != "Version"]
    assert [pairs["x-project"] for pairs in sent] == ["demo"] * 5


async def test_a_server_that_stops_is_an_error(server: Any, network: Any) -> None:
    """A server that stops while its samples are read does not look as if the trial had ended."""
    server.add_trial("t", trial_params(), episode(3))
    server.follows = True
    seen = []
    async with cogment.Context("me", None) as context:
        datastore = context.get_datastore(network[1])
        with pytest.raises(RpcError):
            async for sample in datastore.all_samples(await datastore.get_trials()):
                seen.append(sample.tick_id)
                if len(seen) == 3:
                    await network[0].stop(None)
    assert seen == [0, 1, 2]


async def test_a_server_that_dies_is_an_error() -> None:
    """A server that is killed while its samples are read is an `UnavailableError` after what had come."""
    process = await asyncio.create_subprocess_exec(sys.executable, DYING_SERVER, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        port = await asyncio.wait_for(process.stdout.readline(), 40)
        seen = []
        async with cogment.Context("me", None) as context:
            datastore = context.get_datastore(cogment.Endpoint(f"grpc://127.0.0.1:{int(port)}"))
            with pytest.raises(UnavailableError):
                async for sample in datastore.all_samples(await datastore.get_trials()):
                    seen.append(sample.tick_id)
                    if len(seen) == 5:
                        process.kill()
        assert seen[:5] == [0, 1, 2, 3, 4]
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await asyncio.wait_for(process.wait(), 40)


async def test_nobody_there_is_an_error() -> None:
    """A datastore that cannot be reached is an error that says where it was looked for."""
    async with cogment.Context("me", None) as context:
        datastore = context.get_datastore(cogment.Endpoint("grpc://127.0.0.1:1"))
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1"):
            await datastore.get_trials(timeout=20)


async def test_cancelled_reading_is_cancelled(server: Any, network: Any) -> None:
    """Cancelling the task that reads ends the task as cancelled, and the call."""
    server.add_trial("t", trial_params(), [sample_of(0)])
    server.follows = True
    async with cogment.Context("me", None) as context:
        datastore = context.get_datastore(network[1])
        infos = await datastore.get_trials()
        first = asyncio.Event()

        async def read() -> None:
            async for _ in datastore.all_samples(infos):
                first.set()

        task = asyncio.create_task(read())
        await asyncio.wait_for(first.wait(), 20)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 20)
        await asyncio.wait_for(server.left.wait(), 20)
