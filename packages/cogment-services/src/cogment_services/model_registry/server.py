"""The Model Registry: keeps models, in any process and event loop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cogment_core.channels import BULK_OPTIONS, Options
from cogment_core.directory import ServiceType
from cogment_core.implementations import Component
from cogment_services.hosted_server import HostedServer
from cogment_services.listener import Service
from cogment_services.model_registry.metrics import RegistryMetrics
from cogment_services.model_registry.service import ModelRegistryService
from cogment_services.model_registry.settings import Settings
from cogment_services.model_registry.storage import Storage
from cogment_services.model_registry.subscribers import Subscribers
from cogment_services.model_registry.wire import MODEL_REGISTRY, add_to_server
from cogment_services.service_host import ServiceHost
from cogment_services.tls import Tls

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["ModelRegistryServer"]

MESSAGE_LIMIT = 4 * 1024**2
"""Longest message that is taken, in bytes: data come in pieces. Each upload has up to five of them in memory."""

OPTIONS: Options = (*BULK_OPTIONS, ("grpc.max_receive_message_length", MESSAGE_LIMIT))


class ModelRegistryServer(HostedServer):
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

    components = (Component(ServiceType.MODEL_REG),)

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
        self._subscribers = Subscribers()
        self._storage = Storage(path, settings, self._subscribers)
        self._metrics = RegistryMetrics(prometheus_registry, self._subscribers.__len__)
        servicer = ModelRegistryService(self._storage, self._subscribers, self._metrics, settings)
        services = [Service(MODEL_REGISTRY, add_to_server, servicer)]
        super().__init__(ServiceHost("model_registry", services, host=host, port=port, tls=tls, options=OPTIONS), grace)

    async def _open(self) -> None:
        await self._storage.open()  # which removes what interrupted uploads left there

    def _wind_down(self) -> None:
        self._subscribers.close()

    async def _let_go(self) -> None:
        self._metrics.close()
        await self._storage.close()
