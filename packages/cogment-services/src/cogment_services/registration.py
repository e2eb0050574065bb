"""Servers that register themselves in a Directory.

A command has this in three places::

    @directory_options("MODEL_REGISTRY")        # of `cogment_services.cli.directory_options`
    ...
    def make(registry):
        server = ModelRegistryServer(...)
        return registered(
            server, directory_settings(options), lambda: {ServiceType.MODEL_REG: server.port}, host=..., tls=...,
            prometheus_registry=registry,
        )
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cogment_core.directory import Directory
from cogment_core.directory_settings import directory_address
from cogment_core.endpoints import Endpoint, ServiceType
from cogment_core.metrics import RegistrationMetrics
from cogment_core.offers import Offer, reachable_host, release
from cogment_core.registration import Registrar
from cogment_services.app import Server
from cogment_services.tls import Tls

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["DirectorySettings", "registered"]

LAST_PATIENCE = 2.0
"""Seconds that deregistering may take, if the server has that long."""

HURRY = 0.5
"""Seconds that it may take, if the server has no time."""

Services = Callable[[], Mapping[ServiceType, int]]
"""What a server serves, and at which port; called when it listens."""


@dataclass(frozen=True)
class DirectorySettings:
    """Where the Directory is, and what to register there."""

    endpoint: str
    """Its address, for example ``grpc://localhost:9005``."""
    token: str | None = field(default=None, repr=False)
    """What it lets us in with."""
    auto_register: bool = True
    """Whether the server registers itself."""
    host: str | None = None
    """Name or address of this machine, as others reach it; None for where the server listens."""
    properties: Mapping[str, str] = field(default_factory=dict[str, str])
    """What the server can be found by, besides what it is."""

    def address(self, tls: Tls | None) -> Endpoint:
        """Where the Directory is, and how it is connected to: as all that the server connects to.

        Raises:
            EndpointError: It is no address.
        """
        outgoing = Endpoint() if tls is None else tls.outgoing()
        return directory_address("directory_endpoint", outgoing.with_url(self.endpoint))

    def offers(self, services: Mapping[ServiceType, int]) -> list[Offer]:
        """What is registered of ``services``, given with their ports."""
        source = "Self-Implicit" if self.host is None else "Self-Command_Line"
        properties = {**self.properties, "__registration_source": source, "__version": release()}
        return [Offer(kind, port, properties) for kind, port in services.items()]


def registered(
    server: Server,
    settings: DirectorySettings | None,
    services: Services,
    *,
    host: str,
    tls: Tls | None = None,
    prometheus_registry: CollectorRegistry | None = None,
) -> Server:
    """``server``, registered in the Directory while it listens.

    A Directory that cannot be reached, or forgets, is tried again and again, and the server works meanwhile. One that
    refuses keeps the server from starting.

    Args:
        server: The server.
        settings: The Directory; None for none.
        services: What the server serves.
        host: Address that it listens on.
        tls: How it listens, and connects to others.
        prometheus_registry: Where metrics are kept; None for no metrics.

    Raises:
        EndpointError: The endpoint of the Directory is no address.
        UsageError: The token cannot be sent.
    """
    if settings is None or not settings.auto_register:
        return server
    return _RegisteredServer(server, settings, services, host, tls, RegistrationMetrics(prometheus_registry))


class _RegisteredServer:
    def __init__(
        self,
        server: Server,
        settings: DirectorySettings,
        services: Services,
        host: str,
        tls: Tls | None,
        metrics: RegistrationMetrics,
    ) -> None:
        self._server = server
        self._settings = settings
        self._services = services
        self._host = settings.host or reachable_host(host)
        self._ssl = tls is not None
        self._metrics = metrics
        self._directory = Directory(settings.address(tls), settings.token)
        self._registrar: Registrar | None = None
        self._leaving: asyncio.Task[None] | None = None

    @property
    def listening(self) -> str:
        """Where it can be reached."""
        return self._server.listening

    async def start(self) -> None:
        """Serve, and register."""
        await self._server.start()
        offers = self._settings.offers(self._services())
        self._registrar = Registrar(self._directory, offers, host=self._host, ssl=self._ssl, metrics=self._metrics)
        await self._registrar.start()

    async def close(self, grace: float) -> None:
        """Deregister and stop, at the same time."""
        if self._leaving is None:
            patience = min(LAST_PATIENCE, max(grace, HURRY))
            self._leaving = asyncio.get_running_loop().create_task(self._leave(patience))
        elif grace <= 0:
            self._leaving.cancel()
        try:
            await self._server.close(grace)
        finally:
            await asyncio.wait({self._leaving})

    async def _leave(self, patience: float) -> None:
        try:
            if self._registrar is not None:
                await self._registrar.close(patience)
        finally:
            await self._directory.close()
