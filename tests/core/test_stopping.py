"""Stopping a gRPC server at any time."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import textwrap
from typing import Any

import grpc
import grpc.aio
import pytest

from cogment_core.stopping import RunningServer


async def start() -> tuple[RunningServer, int]:
    """A server of nothing, and its port."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port("127.0.0.1:0")
    return await RunningServer.start(server), port


def is_free(port: int) -> bool:
    """Whether ``port`` can be had."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.mark.parametrize("grace", [None, 0.0, 5.0])
async def test_a_server_is_stopped_once(grace: float | None):
    """The port is free afterwards; stopping again, and by several at once, does no harm."""
    before = asyncio.all_tasks()
    server, port = await start()
    assert not is_free(port)
    await asyncio.wait_for(asyncio.gather(server.stop(grace), server.stop(grace)), 5)
    await asyncio.wait_for(server.stop(grace), 5)
    assert is_free(port)
    left = asyncio.all_tasks() - before
    if left:
        _, left = await asyncio.wait(left, timeout=5)
    assert not left


async def test_who_comes_later_is_in_a_hurry():
    """Calls in progress are ended when the grace of somebody who stops the server later is over."""
    called = asyncio.Event()

    async def last_for_ever(request: bytes, context: Any) -> bytes:
        called.set()
        await asyncio.Event().wait()
        return b""

    server = grpc.aio.server()
    handlers = {"Method": grpc.unary_unary_rpc_method_handler(last_for_ever)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    running = await RunningServer.start(server)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/test/Method")(b"")
        await asyncio.wait_for(called.wait(), 20)
        patient = asyncio.create_task(running.stop(600.0))
        await asyncio.wait_for(asyncio.gather(*(running.stop(grace) for grace in (500.0, 0.01, None))), 20)
        await asyncio.wait_for(patient, 20)
        assert await asyncio.wait_for(call.code(), 20) in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


async def test_who_is_cancelled_alone_stops_the_server():
    """A task that stops the server because it is cancelled itself does stop it."""
    server, port = await start()

    async def serve() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await server.stop(None)

    serving = asyncio.create_task(serve())
    await asyncio.sleep(0)
    serving.cancel()
    await asyncio.wait({serving}, timeout=5)
    assert serving.cancelled()
    assert is_free(port)


def test_a_server_is_left_alone_once_everything_was_cancelled():
    """At the end of asyncio.run() a server is not stopped any more: the process would crash. It ends quietly."""
    program = """
        import asyncio, gc, grpc.aio
        from cogment_core.stopping import RunningServer

        async def serve():
            server = grpc.aio.server()
            server.add_insecure_port("127.0.0.1:0")
            running = await RunningServer.start(server)
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                await running.stop(1.0)

        async def main():
            global started
            started = asyncio.Event()
            servings = [asyncio.create_task(serve()) for _ in range(5)]
            await started.wait()

        for _ in range(5):
            asyncio.run(main())
            gc.collect()
        print("quiet")
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (0, "quiet\n", False), done.stderr
