"""A gRPC server of one of our services: its port, its health, and that it can be stopped at any time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cogment_core.channels import bind, create_server
from cogment_core.endpoints import ServedEndpoint
from cogment_core.logs import logger
from cogment_core.serving import Health, guarded
from cogment_core.stopping import RunningServer
from cogment_services.tls import Tls

__all__ = ["Listener", "Service"]

LOOPBACK = ("127.0.0.1", "::1", "[::1]", "localhost")


@dataclass(frozen=True)
class Service:
    """A servicer, and where it belongs."""

    name: str
    """Its full name in the protocol, for example ``cogmentAPI.TrialLifecycleSP``."""
    add: Callable[[Any, Any], None]
    """The generated ``add_…Servicer_to_server``."""
    servicer: object
    """What answers the calls."""

    def mount(self, server: Any) -> None:
        """Let ``server``, gRPC or in process, answer calls of this service; each method is guarded."""
        self.add(self.servicer, guarded(server))


class Listener:
    """Services at one port.

    Args:
        services: What is served.
        host: Address to listen on.
        port: The port; 0 lets the system choose.
        tls: For mutual TLS.
    """

    def __init__(self, services: Sequence[Service], host: str, port: int, tls: Tls | None = None) -> None:
        self._services = services
        self._host = host
        self._wanted_port = port
        self._tls = tls
        self._health: Health | None = None
        self._server: RunningServer | None = None
        self.port = 0
        """The port that it listens on; 0 before `start`."""

    async def start(self) -> None:
        """Listen.

        Raises:
            EndpointError: The port cannot be had, or what there is for TLS cannot be used.
        """
        server = create_server()
        for service in self._services:
            service.mount(server)
        self._health = Health(server, [service.name for service in self._services])
        self.port = bind(server, self._served())
        self._server = await RunningServer.start(server)
        await self._health.set_serving(True)
        if self._tls is None and self._host not in LOOPBACK:
            logger.warning("listening on %s without TLS: whoever reaches this address can use it", self._host)

    async def announce_end(self) -> None:
        """Tell those who ask for the health of the server that it goes."""
        if self._health is not None:
            await self._health.set_serving(False)

    async def close(self, grace: float) -> None:
        """Stop listening; calls in progress have ``grace`` seconds to end."""
        if self._server is not None:
            await self._server.stop(grace)

    def _served(self) -> ServedEndpoint:
        served = ServedEndpoint(self._wanted_port, self._host)
        if self._tls is not None:
            self._tls.secure(served)
        return served
