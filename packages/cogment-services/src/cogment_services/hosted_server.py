"""A server that keeps something: opened before it can be reached, let go of when nobody can any more."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from types import TracebackType
from typing import TypeVar

from cogment_core.implementations import Component
from cogment_core.inprocess import InProcessEndpoint, InProcessServer
from cogment_services.service_host import ServiceHost

__all__ = ["HostedServer"]

ServerT = TypeVar("ServerT", bound="HostedServer")


class HostedServer(ABC):
    """What the servers have in common: how they are reached, started and closed.

    Usable as ``async with``. Starts once, and closes once.

    Args:
        host: What it is reached by.
        grace: Seconds that calls have to end when the ``async with`` block does.
    """

    components: tuple[Component, ...] = ()
    """What it is, for those who look for it, as an Orchestrator does that it is attached to."""

    def __init__(self, host: ServiceHost, grace: float) -> None:
        self._host = host
        self._grace = grace
        self._closing: asyncio.Task[None] | None = None

    # --- where it is --------------------------------------------------------------------------------------------

    @property
    def endpoint(self) -> InProcessEndpoint:
        """Where it is for callers in this process and event loop."""
        return self._host.endpoint

    @property
    def port(self) -> int:
        """The port that it is reached at over gRPC; 0 if it does not listen."""
        return self._host.port

    @property
    def listening(self) -> str:
        """Where it can be reached, as tooling looks for it."""
        return self._host.listening

    def serve_in_process(self) -> InProcessServer:
        """The server for callers in this process, which serves from `start` on."""
        return self._host.in_process

    # --- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open what is kept, and listen if there is a port to listen on.

        Raises:
            CogmentError: What is kept cannot be used, or somebody else uses it; or the port cannot be had.
        """
        await self._open()
        await self._host.start()

    async def close(self, grace: float | None = None) -> None:
        """Take no more calls, and let go of everything.

        Calls in progress have ``grace`` seconds to end. Called again, it waits for the same end, with no more patience
        if ``grace`` is 0.

        Args:
            grace: Seconds; None for those of the constructor.
        """
        grace = self._grace if grace is None else grace
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(grace))
        elif grace <= 0 and not self._closing.done():
            await self._host.close(0.0)
        await asyncio.shield(self._closing)

    async def _close(self, grace: float) -> None:
        await self._host.announce_end()
        self._wind_down()
        await self._host.close(grace)
        await self._let_go()

    @abstractmethod
    async def _open(self) -> None:
        """Open what is kept, before anybody can reach the server."""

    def _wind_down(self) -> None:  # noqa: B027 - only some servers have somebody to tell
        """Tell calls that would last for ever to end."""

    @abstractmethod
    async def _let_go(self) -> None:
        """Close what is kept, or was about to be, after the last call has ended."""

    async def __aenter__(self: ServerT) -> ServerT:
        try:
            await self.start()
        except BaseException:
            await self.close(0.0)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
