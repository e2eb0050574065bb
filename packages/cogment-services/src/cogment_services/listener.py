"""A gRPC server of one of our services: its port, its health, and that it can be stopped at any time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cogment_core.channels import Options, bind, create_server
from cogment_core.endpoints import ServedEndpoint
from cogment_core.serving import Health, guarded
from cogment_core.stopping import RunningServer
from cogment_services.exposure import warn_if_open
from cogment_services.tls import Tls

__all__ = ["Listener", "Service"]


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
        tls: For TLS; None for plain text.
        options: gRPC options besides, or instead of, the usual ones.
    """

    def __init__(
        self, services: Sequence[Service], host: str, port: int, tls: Tls | None = None, options: Options = ()
    ) -> None:
        self._services = services
        self._options = options
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
        server = create_server(options=self._options)
        for service in self._services:
            service.mount(server)
        self._health = Health(server, [service.name for service in self._services])
        credentials = None if self._tls is None else self._tls.server_credentials()
        self.port = bind(server, ServedEndpoint(self._wanted_port, self._host), credentials)
        self._server = await RunningServer.start(server)
        await self._health.set_serving(True)
        warn_if_open(self._host, self._tls)

    async def announce_end(self) -> None:
        """Tell those who ask for the health of the server that it goes."""
        await self.announce(serving=False)

    async def announce(self, *, serving: bool) -> None:
        """Tell those who ask for the health of the server whether it serves."""
        if self._health is not None:
            await self._health.set_serving(serving)

    async def close(self, grace: float) -> None:
        """Stop listening; calls in progress have ``grace`` seconds to end."""
        if self._server is not None:
            await self._server.stop(grace)
