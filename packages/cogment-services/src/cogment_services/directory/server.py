"""The Directory server: services register, and are found by what they are."""

from __future__ import annotations

import asyncio
import os
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from cogment_core.api.directory_pb2_grpc import add_DirectorySPServicer_to_server
from cogment_core.inprocess import InProcessEndpoint
from cogment_core.logs import logger
from cogment_services.directory.health import Schedule
from cogment_services.directory.limits import DirectoryLimits
from cogment_services.directory.metrics import DirectoryMetrics
from cogment_services.directory.registry import Policy, ServiceRegistry
from cogment_services.directory.service import DirectoryService
from cogment_services.directory.store import Store
from cogment_services.listener import Service
from cogment_services.service_host import ServiceHost
from cogment_services.tls import Tls

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["DirectoryServer"]

DIRECTORY = "cogmentAPI.DirectorySP"

ServerT = TypeVar("ServerT", bound="DirectoryServer")


class DirectoryServer:
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
        self._grace = grace
        self._registry = ServiceRegistry(
            Store(path), policy or Policy(), limits, schedule or Schedule(), DirectoryMetrics(prometheus_registry)
        )
        service = Service(DIRECTORY, add_DirectorySPServicer_to_server, DirectoryService(self._registry, limits))
        # Parsed before anybody can look at them: what is too long for a request must not get that far.
        options = [("grpc.max_receive_message_length", limits.request_size)]
        self._host = ServiceHost("directory", [service], host=host, port=port, tls=tls, options=options)
        self._closing: asyncio.Task[None] | None = None

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

    async def start(self) -> None:
        """Load what is on disk, look which of it is still there (for a few seconds at most), and listen.

        Raises:
            EndpointError: The port cannot be had, or what there is for TLS cannot be used.
            UsageError: The file cannot be used.
        """
        await self._registry.open()
        await self._host.start()
        if self.port:
            logger.info("Listening [port:%d]", self.port)  # what launch files wait for

    async def close(self, grace: float | None = None) -> None:
        """Stop. Calls in progress have ``grace`` seconds to end; called again with 0, they have no more.

        Args:
            grace: Seconds; None for those of the constructor.
        """
        if self._closing is None:
            grace = self._grace if grace is None else grace
            self._closing = asyncio.get_running_loop().create_task(self._close(grace))
        elif grace is not None and grace <= 0:
            await self._host.close(0.0)
        await asyncio.shield(self._closing)

    async def _close(self, grace: float) -> None:
        await self._host.announce_end()
        self._registry.stop_waiting()
        await self._host.close(grace)
        await self._registry.close()

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
