"""The in-process transport behaves as grpc.aio does; most of these tests run on both."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from cogment_core.api import agent_pb2_grpc, common_pb2
from cogment_core.errors import UsageError
from cogment_core.inprocess import QUEUE_LIMIT
from cogment_core.testing import InProcessChannel, InProcessEndpoint, InProcessServer

EOF = grpc.aio.EOF
MAKERS = {
    "unary_unary": grpc.unary_unary_rpc_method_handler,
    "unary_stream": grpc.unary_stream_rpc_method_handler,
    "stream_unary": grpc.stream_unary_rpc_method_handler,
    "stream_stream": grpc.stream_stream_rpc_method_handler,
}


class OneMethod(grpc.GenericRpcHandler):
    """Serves ``/test.Service/Do``."""

    def __init__(self, kind: str, method: Callable[..., Any]) -> None:
        self._handler = MAKERS[kind](method)

    def service(self, handler_call_details: Any) -> Any:
        return self._handler if handler_call_details.method == "/test.Service/Do" else None


Serve = Callable[..., Any]


@pytest.fixture(params=["grpc", "inprocess"])
async def serve(request: pytest.FixtureRequest) -> AsyncIterator[Serve]:
    """Serves one method of some kind, and gives what calls it. ``serve.server`` is the server."""
    channels: list[grpc.aio.Channel] = []
    servers: list[Any] = []

    async def over_grpc(handlers: grpc.GenericRpcHandler) -> grpc.aio.Channel:
        server = grpc.aio.server(handlers=[handlers], options=[("grpc.so_reuseport", 0)])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        return grpc.aio.insecure_channel(f"127.0.0.1:{port}")

    async def in_process(handlers: grpc.GenericRpcHandler) -> grpc.aio.Channel:
        server = InProcessServer("test")
        server.add_generic_rpc_handlers((handlers,))
        servers.append(server)
        return server.channel()

    async def serve(kind: str, method: Callable[..., Any], *, path: str = "/test.Service/Do") -> Any:
        channel = await (over_grpc if request.param == "grpc" else in_process)(OneMethod(kind, method))
        channels.append(channel)
        return getattr(channel, kind)(path)

    serve.channels = channels  # type: ignore[attr-defined]
    serve.servers = servers  # type: ignore[attr-defined]
    yield serve
    for channel in channels:
        await channel.close()
    for server in servers:
        await server.stop(None)


async def soon(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds."""
    async with_timeout = None  # noqa: F841
