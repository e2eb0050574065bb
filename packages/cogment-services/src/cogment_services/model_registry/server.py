"""The Model Registry: keeps models, in any process and event loop."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from cogment_core.api.model_registry_pb2_grpc import add_ModelRegistrySPServicer_to_server
from cogment_core.directory import ServiceType
from cogment_core.implementations import Component
from cogment_core.inprocess import InProcessEndpoint, InProcessServer
from cogment_services.listener import Service
from cogment_services.model_registry.metrics import RegistryMetrics
from cogment_services.model_registry.service import ModelRegistryService
from cogment_services.model_registry.settings import Settings
from cogment_services.model_registry.storage import Storage
from cogment_services.model_registry.subscribers import Subscribers
from cogment_services.service_host import ServiceHost
from cogment_services.tls import Tls

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["ModelRegistryServer"]

MODEL_REGISTRY = "cogmentAPI.ModelRegistrySP"

MESSAGE_LIMIT = 16 * 1024**2
"""Longest message that is taken, in bytes; data come in pieces. Each upload has two of them in memory."""

ServerT = TypeVar("ServerT", bound="ModelRegistryServer")


class ModelRegistryServer:
    """Keeps models in numbered versions, and tells those who follow them of new ones.

    In the user's own process:

        async with ModelRegistryServer("models") as server:
            registry = context.get_model_registry_v2(server.endpoint)

    With a ``port`` it can be reached by others too, as the ``cogment services model_registry`` command can.

    A version that was answered is on the disk, whole, or transient. Numbers are given in order and never twice, to
    transient versions too, for as long as the model is there.

    Args:
        path: The directory that models are kept in, made if it is not there; None for one that ends with the server.
        port: Port to be reached at over gRPC; 0 lets the system choose one; None for no gRPC.
        host: Address to listen on: this machine only, by default.
        tls: For mutual TLS.
        cache_max_items: How many transient versions are kept; the ones that were not used for the longest time go
            first, but the newest of each model last.
        cache_max_bytes: How many bytes of transient versions are kept, on the disk.
        max_model_size: Most bytes of data that one version may have.
        chunk_size: Bytes of data in one message to a client.
        prometheus_registry: Where metrics are kept; None for no metrics.
        grace: Seconds that calls have to end when the ``async with`` block does.

    Raises:
        UsageError: One of the numbers makes no sense.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        port: int | None = None,
        host: str = "127.0.0.1",
        tls: Tls | None = None,
        cache_max_items: int = 100,
        cache_max_bytes: int = 8 * 1024**3,
        max_model_size: int = 2 * 1024**3,
        chunk_size: int = 2 * 1024**2,
        prometheus_registry: CollectorRegistry | None = None,
        grace: float = 5.0,
    ) -> None:
        settings = Settings(cache_max_items, cache_max_bytes, max_model_size, chunk_size)
        self._grace = grace
        self._subscribers = Subscribers()
        self._storage = Storage(path, settings, self._subscribers)
        metrics = RegistryMetrics(prometheus_registry, self._subscribers.__len__)
        servicer = ModelRegistryService(self._storage, self._subscribers, metrics, settings)
        services = [Service(MODEL_REGISTRY, add_ModelRegistrySPServicer_to_server, servicer)]
        options = [("grpc.max_receive_message_length", MESSAGE_LIMIT)]
        self._host = ServiceHost("model_registry", services, host=host, port=port, tls=tls, options=options)
        self._closing: asyncio.Task[None] | None = None

    # --- where it is --------------------------------------------------------------------------------------------

    @property
    def endpoint(self) -> InProcessEndpoint:
        """Where it is for callers in this process and event loop."""
        return self._host.endpoint

    @property
    def port(self) -> int:
        """The port that it can be reached at over gRPC; 0 if it does not listen."""
        return self._host.port

    @property
    def listening(self) -> str:
        """Where it can be reached, as tooling looks for it."""
        return self._host.listening

    @property
    def components(self) -> tuple[Component, ...]:
        """What it is, for those who look for it."""
        return (Component(ServiceType.MODEL_REG),)

    def serve_in_process(self) -> InProcessServer:
        """The server for callers in this process."""
        return self._host.in_process

    # --- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the directory, remove what interrupted uploads left there, and listen if there is a port.

        Raises:
            UsageError: The directory cannot be used, or another process uses it.
            EndpointError: The port cannot be had, or what there is for TLS cannot be used.
        """
        await self._storage.open()
        await self._host.start()

    async def close(self, grace: float | None = None) -> None:
        """Stop: take no more calls, and let go of everything.

        Uploads and downloads have ``grace`` seconds to end. Called again, it waits for the same end, with no more
        patience if ``grace`` is 0.

        Args:
            grace: Seconds; None for those of the constructor.
        """
        grace = self._grace if grace is None else grace
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(grace))
        elif grace <= 0:
            await self._host.close(0.0)
        await asyncio.shield(self._closing)

    async def _close(self, grace: float) -> None:
        await self._host.announce_end()
        self._subscribers.close()
        await self._host.close(grace)
        await self._storage.close()

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
