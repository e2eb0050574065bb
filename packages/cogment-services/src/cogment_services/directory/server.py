"""The Directory server: services register, and are found by what they are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cogment_core.api.directory_pb2_grpc import add_DirectorySPServicer_to_server
from cogment_core.logs import logger
from cogment_services.directory.health import Schedule
from cogment_services.directory.limits import DirectoryLimits
from cogment_services.directory.metrics import DirectoryMetrics
from cogment_services.directory.registry import Policy, ServiceRegistry
from cogment_services.directory.service import DirectoryService
from cogment_services.directory.store import Store
from cogment_services.hosted_server import HostedServer
from cogment_services.listener import Service
from cogment_services.service_host import ServiceHost
from cogment_services.tls import Tls

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["DirectoryServer"]

DIRECTORY = "cogmentAPI.DirectorySP"


class DirectoryServer(HostedServer):
    """Knows which services there are: they register, and are found by what they are.

    In the user's own process:

        async with DirectoryServer(port=9005) as directory:
            ...

    Args:
        path: File that entries are kept in; None to forget them at the end.
        port: Port to be reached at over gRPC; 0 lets the system choose one; None for no gRPC.
        host: Address to listen on: this machine only, by default.
        tls: For mutual TLS.
        policy: What it does beyond what it has to.
        limits: How much callers may ask of it.
        schedule: When it looks whether services are still there.
        prometheus_registry: Where metrics are kept; None for no metrics.
        grace: Seconds that calls have to end when the ``async with`` block does.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        port: int | None = None,
        host: str = "127.0.0.1",
        tls: Tls | None = None,
        policy: Policy | None = None,
        limits: DirectoryLimits | None = None,
        schedule: Schedule | None = None,
        prometheus_registry: CollectorRegistry | None = None,
        grace: float = 5.0,
    ) -> None:
        limits = limits or DirectoryLimits()
        self._registry = ServiceRegistry(
            Store(path), policy or Policy(), limits, schedule or Schedule(), DirectoryMetrics(prometheus_registry)
        )
        service = Service(DIRECTORY, add_DirectorySPServicer_to_server, DirectoryService(self._registry, limits))
        # Parsed before anybody can look at them: what is too long for a request must not get that far.
        options = [("grpc.max_receive_message_length", limits.request_size)]
        super().__init__(ServiceHost("directory", [service], host=host, port=port, tls=tls, options=options), grace)

    async def start(self) -> None:
        """Load what is on disk, look which of it is still there (for a few seconds at most), and listen.

        Raises:
            EndpointError: The port cannot be had, or what there is for TLS cannot be used.
            UsageError: The file cannot be used.
        """
        await super().start()
        if self.port:
            logger.info("Listening [port:%d]", self.port)  # what launch files wait for

    async def _open(self) -> None:
        await self._registry.open()

    def _wind_down(self) -> None:
        self._registry.stop_waiting()

    async def _let_go(self) -> None:
        await self._registry.close()
