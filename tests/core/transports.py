"""A server and a channel to it, over either transport: for tests of what has to be the same on both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
import grpc.aio

from cogment_core.testing import InProcessServer
from cogment_core.tracking import TrackingChannel

PATH = "/test.Service/Do"

MAKERS: dict[str, Callable[..., Any]] = {
    "unary_unary": grpc.unary_unary_rpc_method_handler,
    "unary_stream": grpc.unary_stream_rpc_method_handler,
    "stream_unary": grpc.stream_unary_rpc_method_handler,
    "stream_stream": grpc.stream_stream_rpc_method_handler,
}
"""What makes handlers, by the kind of the method."""

AnyTransportT = TypeVar("AnyTransportT", bound="AnyTransport")


class OneMethod(grpc.GenericRpcHandler):
    """Serves one method of bytes."""

    def __init__(self, kind: str, method: Callable[..., Any]) -> None:
        self._handler = MAKERS[kind](method)

    def service(self, handler_call_details: Any) -> Any:
        return self._handler if handler_call_details.method == PATH else None


class AnyTransport:
    """A server, and the channel to it, until the end of an ``async with``.

    Args:
        name: ``grpc`` or ``inprocess``.
        tracked: Whether the channel is one that tells waiting calls that it was closed, as our clients have it.
    """

    def __init__(self, name: str, *, tracked: bool = False) -> None:
        self.name = name
        self.server: Any = None
        self.channel: Any = None
        self._tracked = tracked

    async def start(self, add: Callable[[Any], None]) -> None:
        """Serve what ``add`` adds to the server, and connect to it."""
        if self.name == "inprocess":
            self.server = InProcessServer("test")
            add(self.server)
            self.channel = self.server.channel()
            return
        self.server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        add(self.server)
        port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self.channel = TrackingChannel(channel) if self._tracked else channel

    async def serve_handlers(self, handlers: grpc.GenericRpcHandler) -> None:
        await self.start(lambda server: server.add_generic_rpc_handlers((handlers,)))

    async def __aenter__(self: AnyTransportT) -> AnyTransportT:
        return self

    async def __aexit__(self, *error: object) -> None:
        if self.channel is not None:
            await self.channel.close()
            await self.server.stop(None)


async def within(awaitable: Any, seconds: float = 10.0) -> Any:
    """The result of ``awaitable``, which has to come in time."""
    return await asyncio.wait_for(awaitable, seconds)
