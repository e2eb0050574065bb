"""Connections to the services that take part in trials: one per address, for as long as somebody uses it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from cogment_core.api.common_pb2 import VersionInfo, VersionRequest
from cogment_core.channels import WATCHFUL_CLIENT_OPTIONS, open_channel
from cogment_core.endpoints import Endpoint
from cogment_core.errors import UsageError
from cogment_core.inprocess import InProcessChannel, InProcessEndpoint
from cogment_core.tasks import TaskOwner

__all__ = ["Pacer", "PeerChannels", "Route"]

IDLE_TIMEOUT = 30.0
"""Seconds that a connection is kept after its last use."""

PROBE_TIMEOUT = 2.0
"""Seconds that a server has to say which version it is."""

_WATCHFUL_SINCE = 3
"""Major version of the SDK from which on its servers let their clients ask every few seconds whether they live."""


class Pacer:
    """Spreads the opening of streams on one connection: servers refuse some of thousands that come at once (measured).

    Args:
        burst: How many may be opened at once.
        rate: How many per second after that.
    """

    def __init__(self, burst: int = 200, rate: float = 1000.0) -> None:
        self._interval = 1 / rate
        self._slack = burst / rate
        self._next = 0.0

    def delay(self, now: float) -> float:
        """Seconds to wait, from ``now``, before opening a stream."""
        self._next = max(self._next, now - self._slack) + self._interval
        return max(0.0, self._next - now)


class Route:
    """How a service is reached: within this process, or by a connection that is shared.

    Args:
        endpoint: Where it is.
        channels: Keeps the connections.
    """

    def __init__(self, endpoint: Endpoint, channels: PeerChannels) -> None:
        self._endpoint = endpoint
        self._channels = channels
        self.local: Any = channels.local(endpoint) if isinstance(endpoint, InProcessEndpoint) else None
        """The channel of a service within this process, which can be used at once; None for others."""

    @asynccontextmanager
    async def channel(self, service: str) -> AsyncIterator[Any]:
        """The channel, for as long as this context lasts.

        Args:
            service: Full name of the service that is used, for example ``cogmentAPI.EnvironmentSP``.
        """
        if self.local is not None:
            yield self.local
            return
        async with self._channels.use(self._endpoint, service) as channel:
            yield channel


class PeerChannels:
    """The connections of one Orchestrator."""

    def __init__(self) -> None:
        self._shared: dict[Hashable, _SharedChannel] = {}
        self._local: dict[Hashable, InProcessChannel] = {}
        self._tasks = TaskOwner("connections of the Orchestrator")
        self._closed = False

    def local(self, endpoint: InProcessEndpoint) -> InProcessChannel:
        """The channel to a server in this process."""
        self._check_open()
        if endpoint.server not in self._local:
            self._local[endpoint.server] = endpoint.server.channel()
        return self._local[endpoint.server]

    @asynccontextmanager
    async def use(self, endpoint: Endpoint, service: str) -> AsyncIterator[grpc.aio.Channel]:
        """The channel to a server elsewhere, once it may be used for one more stream."""
        self._check_open()
        shared = self._shared.get(endpoint.url)
        if shared is None:
            shared = self._shared[endpoint.url] = _SharedChannel(endpoint)
        shared.enter()
        try:
            yield await shared.get(service, self._tasks)
        finally:
            shared.leave(lambda: self._drop(endpoint.url, shared))

    async def close(self) -> None:
        """Close all connections; calls in progress are cancelled."""
        self._closed = True
        await self._tasks.close()
        for shared in self._shared.values():
            await shared.close()
        for local in self._local.values():
            await local.close()
        self._shared.clear()
        self._local.clear()

    def _drop(self, key: Hashable, shared: _SharedChannel) -> None:
        if self._shared.get(key) is shared:
            del self._shared[key]
            self._tasks.spawn(shared.close(), what="closing an idle connection")

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError("the Orchestrator is closed")


class _SharedChannel:
    """The connection to one address, whose server is asked once what it allows."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._pacer = Pacer()
        self._channel: grpc.aio.Channel | None = None
        self._opening: asyncio.Task[grpc.aio.Channel] | None = None
        self._reached = True
        self._users = 0
        self._idle: asyncio.TimerHandle | None = None

    def enter(self) -> None:
        """There is one more who uses it."""
        self._users += 1
        if self._idle is not None:
            self._idle.cancel()

    def leave(self, drop: Callable[[], None]) -> None:
        """There is one less; ``drop`` is called if nobody comes for a while, or comes for nothing."""
        self._users -= 1
        if not self._users:
            delay = IDLE_TIMEOUT if self._reached else 0.0
            self._idle = asyncio.get_running_loop().call_later(delay, drop)

    async def get(self, service: str, tasks: TaskOwner) -> grpc.aio.Channel:
        """The channel, once it may be used for one more stream."""
        delay = self._pacer.delay(asyncio.get_running_loop().time())
        if delay > 0:
            await asyncio.sleep(delay)
        if self._opening is None:
            self._opening = tasks.spawn(self._open(service), what=f"connection to {self._endpoint.url}")
        return await asyncio.shield(self._opening)

    async def _open(self, service: str) -> grpc.aio.Channel:
        """A channel that finds out within seconds when its server is frozen, if the server allows that.

        Others, with the options that gRPC has by itself, close connections on which they are asked that often.
        """
        self._channel = open_channel(self._endpoint, options=[("grpc.enable_retries", 0)])
        version = await _version(self._channel, service)
        self._reached = version is not None
        if version is not None and version >= _WATCHFUL_SINCE:
            plain, self._channel = self._channel, open_channel(self._endpoint, options=WATCHFUL_CLIENT_OPTIONS)
            await plain.close()
        return self._channel

    async def close(self) -> None:
        """Close the connection; calls in progress are cancelled."""
        if self._channel is not None:
            await self._channel.close()


async def _version(channel: grpc.aio.Channel, service: str) -> int | None:
    """Major version of the server's SDK, 0 if it is another server, None if it cannot be reached."""
    ask = channel.unary_unary(
        f"/{service}/Version",
        request_serializer=VersionRequest.SerializeToString,
        response_deserializer=VersionInfo.FromString,
    )
    try:
        reply = await ask(VersionRequest(), timeout=PROBE_TIMEOUT)
    except grpc.aio.AioRpcError as error:
        return None if error.code() is grpc.StatusCode.UNAVAILABLE else 0
    found = {version.name: version.version for version in reply.versions}.get("cogment_sdk", "")
    major = found.partition(".")[0]
    return int(major) if major.isdecimal() else 0
