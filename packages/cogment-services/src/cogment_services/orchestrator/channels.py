"""Connections to the services that take part in trials: one per address, for as long as somebody uses it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from cogment_core.channels import identity, open_lasting
from cogment_core.endpoints import Endpoint
from cogment_core.errors import UnavailableError, UsageError
from cogment_core.inprocess import InProcessChannel, InProcessEndpoint, InProcessServer
from cogment_core.tasks import TaskOwner

__all__ = ["Pacer", "PeerChannels", "Route"]

IDLE_TIMEOUT = 30.0
"""Seconds that a connection is kept after its last use."""


class Pacer:
    """Spreads the opening of streams on one connection: servers refuse some of thousands that come at once (measured).

    Args:
        burst: How many may be opened at once.
        rate: How many per second after that.
    """

    def __init__(self, burst: int = 200, rate: float = 1000.0) -> None:
        self._interval = 1 / rate
        self._slack = burst / rate
        self._next = -math.inf

    def delay(self, now: float) -> float:
        """Seconds to wait, from ``now``, before opening a stream."""
        self._next = max(self._next, now - self._slack) + self._interval
        return max(0.0, self._next - now)


class Route:
    """How a service is reached: within this process, or by a connection that is shared.

    Args:
        endpoint: Where it is.
        channels: Keeps the connections.
        authority: The name that its certificate has to be for, if that is not the address of ``endpoint``.
        problem: Why it cannot be reached, if that is known already.
    """

    def __init__(self, endpoint: Endpoint, channels: PeerChannels, *, authority: str = "", problem: str = "") -> None:
        self._endpoint = endpoint
        self._channels = channels
        self._authority = authority
        self._problem = problem
        self.local: Any = channels.local(endpoint) if isinstance(endpoint, InProcessEndpoint) else None
        """The channel of a service within this process, which can be used at once; None for others."""

    @property
    def is_gone(self) -> bool:
        """Whether the service was within this process, and has stopped: it does not come back."""
        return self.local is not None and self.local.get_state() is not grpc.ChannelConnectivity.READY

    @asynccontextmanager
    async def channel(self, service: str) -> AsyncGenerator[Any, None]:
        """The channel, for as long as this context lasts.

        Args:
            service: Full name of the service that is used, for example ``cogmentAPI.EnvironmentSP``.

        Raises:
            UnavailableError: It cannot be reached.
        """
        if self.local is not None:
            yield self.local
            return
        if self._problem:
            raise UnavailableError(grpc.StatusCode.UNAVAILABLE, self._problem)
        async with self._channels.use(self._endpoint, service, self._authority) as channel:
            yield channel


class PeerChannels:
    """The connections of one Orchestrator."""

    def __init__(self) -> None:
        self._shared: dict[Hashable, _SharedChannel] = {}
        self._local: dict[InProcessServer, InProcessChannel] = {}
        self._tasks = TaskOwner("connections of the Orchestrator")
        self._closed = False

    def local(self, endpoint: InProcessEndpoint) -> InProcessChannel:
        """The channel to a server in this process."""
        self._check_open()
        if endpoint.server not in self._local:
            for server in [server for server in self._local if server.is_stopped]:
                del self._local[server]
            self._local[endpoint.server] = endpoint.server.channel()
        return self._local[endpoint.server]

    @asynccontextmanager
    async def use(
        self, endpoint: Endpoint, service: str, authority: str = ""
    ) -> AsyncGenerator[grpc.aio.Channel, None]:
        """The channel to a server elsewhere, once it may be used for one more stream.

        Args:
            endpoint: Where it is.
            service: Full name of the service that is used.
            authority: The name of the server, if it is not in ``endpoint``.

        Raises:
            UnavailableError: The server cannot be reached.
        """
        self._check_open()
        key = (identity(endpoint), authority)
        shared = self._shared.get(key)
        if shared is None:
            shared = self._shared[key] = _SharedChannel(endpoint, authority)
        shared.enter()
        try:
            yield await shared.get(service)
        finally:
            shared.leave(lambda: self._drop(key, shared))

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
    """The connection to one address."""

    def __init__(self, endpoint: Endpoint, authority: str) -> None:
        options = (("grpc.default_authority", authority),) if authority else ()
        self._channel = open_lasting(endpoint, options=options)
        self._pacer = Pacer()
        self._reached = True
        self._users = 0
        self._idle: asyncio.TimerHandle | None = None
        self.close = self._channel.close

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

    async def get(self, service: str) -> grpc.aio.Channel:
        """The channel, once it may be used for one more stream."""
        delay = self._pacer.delay(asyncio.get_running_loop().time())
        if delay > 0:
            await asyncio.sleep(delay)
        try:
            channel = await self._channel.get(service)
        except UnavailableError:
            self._reached = False
            raise
        self._reached = True
        return channel
