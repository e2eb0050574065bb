"""The Controller when the network, or the Orchestrator's process, goes away."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cogment_controller import Controller, connect
from cogment_core.channels import open_channel
from cogment_core.endpoints import Endpoint
from cogment_core.errors import UnavailableError

ORCHESTRATOR_PROCESS = """
import asyncio
import grpc.aio
from cogment_core.api import orchestrator_pb2, orchestrator_pb2_grpc

class Orchestrator(orchestrator_pb2_grpc.TrialLifecycleSPServicer):
    async def WatchTrials(self, request, context):
        yield orchestrator_pb2.TrialListEntry(trial_id="a", state=3)
        await asyncio.Event().wait()

async def main():
    server = grpc.aio.server()
    orchestrator_pb2_grpc.add_TrialLifecycleSPServicer_to_server(Orchestrator(), server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()

asyncio.run(main())
"""


@pytest.fixture
async def remote(network: Any, make_context: Any) -> AsyncIterator[tuple[Any, Controller]]:
    """A server, and a Controller connected to it."""
    server, endpoint = network
    async with open_channel(endpoint) as channel:
        yield server, connect(make_context(channel), endpoint)


async def test_lost_connection_is_an_error_of_the_watch(orchestrator: Any, remote: Any) -> None:
    """A watch whose connection is lost raises ``UnavailableError``: it does not end as if all were said."""
    server, controller = remote
    orchestrator.add_trial("a")
    watcher = controller.watch_trials()
    await anext(watcher)
    await server.stop(None)
    with pytest.raises(UnavailableError, match=r"WatchTrials at grpc://127\.0\.0\.1"):
        await asyncio.wait_for(anext(watcher), 5)
    assert await anext(watcher, None) is None


async def test_killed_orchestrator_is_an_error_of_the_watch(make_context: Any) -> None:
    """An Orchestrator that is killed (SIGKILL) ends the watch with ``UnavailableError`` at once."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", ORCHESTRATOR_PROCESS, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        port = int(await asyncio.wait_for(process.stdout.readline(), 20))
        endpoint = Endpoint(f"grpc://127.0.0.1:{port}")
        async with open_channel(endpoint) as channel:
            watcher = connect(make_context(channel), endpoint).watch_trials()
            assert (await asyncio.wait_for(anext(watcher), 10)).trial_id == "a"
            process.send_signal(signal.SIGKILL)
            with pytest.raises(UnavailableError):
                await asyncio.wait_for(anext(watcher), 5)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
def nowhere() -> Endpoint:
    """An address at which nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return Endpoint(f"grpc://127.0.0.1:{unused.getsockname()[1]}")


@pytest.mark.parametrize(
    "call",
    [
        lambda controller: controller.start_trial(timeout=5),
        lambda controller: controller.terminate_trial(["a"], timeout=5),
        lambda controller: controller.get_trial_info([], timeout=5),
        lambda controller: controller.get_actors("a", timeout=5),
        lambda controller: controller.get_remote_versions(timeout=5),
        lambda controller: anext(controller.watch_trials()),
    ],
)
async def test_unreachable_orchestrator_is_an_error(nowhere: Endpoint, make_context: Any, call: Any) -> None:
    """Each call to an address where nobody listens raises ``UnavailableError``, which names the address, soon."""
    async with open_channel(nowhere) as channel:
        with pytest.raises(UnavailableError, match=re.escape(nowhere.url)):
            await asyncio.wait_for(call(connect(make_context(channel), nowhere)), 10)


async def test_a_call_after_the_orchestrator_is_back_works(orchestrator: Any, make_context: Any, serve: Any) -> None:
    """A Controller outlives its Orchestrator: when one listens at the same address again, calls work again."""
    async with serve(orchestrator) as (_, endpoint):
        pass
    async with open_channel(endpoint) as channel:
        controller = connect(make_context(channel), endpoint)
        with pytest.raises(UnavailableError):
            await controller.start_trial(timeout=5)
        async with serve(orchestrator, endpoint.url.removeprefix("grpc://")):
            await asyncio.wait_for(channel.channel_ready(), 10)
            assert await controller.get_remote_versions(timeout=5)
