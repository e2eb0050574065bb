"""A server that keeps something: opened before it can be reached, let go of when nobody can any more."""

from __future__ import annotations

from abc import abstractmethod

from cogment_core.implementations import Component
from cogment_core.inprocess import InProcessEndpoint, InProcessServer
from cogment_services.lifetime import Lifetime
from cogment_services.service_host import ServiceHost

__all__ = ["HostedServer"]


class HostedServer(Lifetime):
    """What the servers that keep something have in common: how they are reached, started and closed.

    Args:
        host: What it is reached by.
        grace: Seconds that calls have to end when the ``async with`` block does.
    """

    components: tuple[Component, ...] = ()
    """What it is, for those who look for it, as an Orchestrator does that it is attached to."""

    def __init__(self, host: ServiceHost, grace: float) -> None:
        super().__init__(grace)
        self._host = host

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

    async def _close(self, grace: float) -> None:
        await self._host.announce_end()
        self._wind_down()
        await self._host.close(grace)
        await self._let_go()

    async def _hurry(self) -> None:
        await self._host.close(0.0)

    @abstractmethod
    async def _open(self) -> None:
        """Open what is kept, before anybody can reach the server."""

    def _wind_down(self) -> None:
        """Tell calls that would last for ever to end."""

    @abstractmethod
    async def _let_go(self) -> None:
        """Close what is kept, or was about to be, after the last call has ended."""
