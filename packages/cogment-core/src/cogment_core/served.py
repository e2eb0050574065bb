"""What a Context serves, over gRPC or in process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogment_core import channels
from cogment_core.inprocess import InProcessServer
from cogment_core.logs import logger
from cogment_core.metrics import RegistrationMetrics
from cogment_core.metrics_server import MetricsServer, serve_metrics
from cogment_core.services import mount
from cogment_core.serving import Health
from cogment_core.stopping import RunningServer

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from cogment_core.directory import Directory
    from cogment_core.endpoints import ServedEndpoint
    from cogment_core.implementations import Implementations
    from cogment_core.registration import Registrar
    from cogment_core.services.base import ComponentService
    from cogment_core.specs import CogSettings

__all__ = ["STOP_GRACE", "Served"]

STOP_GRACE = 1.0
"""Seconds that calls in progress have to end by themselves when the server stops."""


class Served:
    """The services of one Context, and the server they are in.

    Args:
        implementations: What is served.
        settings: The specs, if known.
        registry: Where metrics are kept; None for no metrics.

    Attributes:
        port: The port that it listens on; 0 before, and in process.
    """

    def __init__(
        self, implementations: Implementations, settings: CogSettings | None, registry: CollectorRegistry | None
    ) -> None:
        self._implementations = implementations
        self._settings = settings
        self._registry = registry
        self._metrics: MetricsServer | None = None
        self._health: Health | None = None
        self._services: Sequence[ComponentService] = ()
        self._server: RunningServer | InProcessServer | None = None
        self._registrar: Registrar | None = None
        # Not the server's ``wait_for_termination``: when that is cancelled, its ``stop`` is broken (measured).
        self._stopped = asyncio.Event()
        self.port = 0

    def in_process(self) -> InProcessServer:
        """Serve callers in this process."""
        self._server = server = InProcessServer("components")
        self._services = mount(server, self._implementations, self._settings, self._registry)
        return server

    async def listen(self, served_endpoint: ServedEndpoint, prometheus_port: int | None) -> None:
        """Serve at ``served_endpoint``, and metrics at ``prometheus_port`` if there is one.

        Raises:
            CogmentError: A port cannot be had.
        """
        server = channels.create_server()
        self._services = mount(server, self._implementations, self._settings, self._registry)
        names = [service.name for service in self._services]
        self._health = health = Health(server, names)
        # Metrics first: gRPC never gives back the port of a server that was not started (measured).
        self._serve_metrics(served_endpoint.host or "0.0.0.0", prometheus_port)
        self.port = channels.bind(server, served_endpoint)
        self._server = await RunningServer.start(server)
        await health.set_serving(True)
        where = served_endpoint.host or "all interfaces"
        logger.info("serving %s on %s, port %d", ", ".join(names), where, self.port)

    async def register(self, directory: Directory, served_endpoint: ServedEndpoint, host: str | None) -> None:
        """Register what is served, until it is stopped.

        Args:
            directory: Where to register it.
            served_endpoint: Where it listens.
            host: Name or address of this machine for those who look for it; None to find out.

        Raises:
            RefusedError: The Directory does not want it.
        """
        from cogment_core.offers import component_offers, reachable_host
        from cogment_core.registration import Registrar

        offers = component_offers(self._implementations.components(), self._settings, self.port)
        host = host or reachable_host(served_endpoint.host)
        metrics = RegistrationMetrics(self._registry)
        self._registrar = Registrar(directory, offers, host=host, ssl=served_endpoint.using_ssl(), metrics=metrics)
        await self._registrar.start()

    def _serve_metrics(self, host: str, port: int | None) -> None:
        if port is not None and self._registry is not None:
            self._metrics = serve_metrics(self._registry, port, host)

    async def wait(self) -> None:
        """Wait until `stop` was called."""
        await self._stopped.wait()

    async def stop(self, grace: float | None = STOP_GRACE) -> None:
        """Stop the server, and what runs on it. Does nothing more the second time.

        Args:
            grace: Seconds that calls in progress have to end by themselves.
        """
        if self._health is not None:
            await self._health.set_serving(False)
        # At the same time: a Directory that does not answer must not keep the calls in progress waiting.
        await asyncio.gather(self._deregister(), self._stop_server(grace))
        self._stopped.set()
        for service in self._services:
            await service.close()
        if self._metrics is not None:
            await self._metrics.close()

    async def _deregister(self) -> None:
        registrar, self._registrar = self._registrar, None
        if registrar is not None:
            await registrar.close()

    async def _stop_server(self, grace: float | None) -> None:
        if self._server is not None:
            await self._server.stop(grace)
