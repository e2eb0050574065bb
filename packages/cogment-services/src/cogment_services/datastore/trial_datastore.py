"""The Trial Datastore: keeps what trials produce, in any process and event loop."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from cogment_core.endpoints import ServiceType
from cogment_core.errors import UsageError
from cogment_core.implementations import Component
from cogment_core.inprocess import InProcessEndpoint, InProcessServer
from cogment_core.tasks import TaskOwner
from cogment_services.datastore.archive import Archive
from cogment_services.datastore.datalog import DatalogService, add_datalog
from cogment_services.datastore.memory_store import DEFAULT_BYTES, MemoryStore
from cogment_services.datastore.service import DatastoreService, add_trial_datastore
from cogment_services.datastore.sqlite_store import SqliteStore
from cogment_services.datastore.store import Store
from cogment_services.listener import Service
from cogment_services.service_host import ServiceHost
from cogment_services.tls import Tls

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["DATALOG", "DATASTORE", "TrialDatastore"]

DATALOG = "cogmentAPI.DatalogSP"
DATASTORE = "cogmentAPI.TrialDatastoreSP"

DatastoreT = TypeVar("DatastoreT", bound="TrialDatastore")


class TrialDatastore:
    """Stores the trials that are logged to it, and gives them back.

    Usable as ``async with TrialDatastore("trials.db") as datastore``. An Orchestrator in the same process finds it as
    the datalog ``cogment://discover`` after ``orchestrator.attach(datastore)``; clients reach it at `endpoint`, and
    over gRPC at `port` if it has one.

    Args:
        path: File to store in, made if it is not there; None to store in memory, which is lost at the end.
        port: Port to listen on; 0 lets the system choose; None for no gRPC.
        host: Address to listen on.
        tls: For mutual TLS.
        memory_bytes: Bytes of samples that are kept in memory, without a file: beyond that, samples of trials that
            are over are dropped, those that were used least recently first.
        resume_within: Seconds that a trial whose log broke off stays open for whoever logs it to come back; after
            that it is over, without a last sample. The same goes for trials that were running when the datastore was
            stopped.
        prometheus_registry: Where metrics are kept; None for no metrics.
        grace: Seconds that calls have to end when the ``async with`` block does.
        store: Another store to use, instead of a file or memory.

    Raises:
        UsageError: ``resume_within`` is negative.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        port: int | None = None,
        host: str = "127.0.0.1",
        tls: Tls | None = None,
        memory_bytes: int = DEFAULT_BYTES,
        resume_within: float = 60.0,
        prometheus_registry: CollectorRegistry | None = None,
        grace: float = 1.0,
        store: Store | None = None,
    ) -> None:
        if not resume_within >= 0:
            raise UsageError(f"resume_within has to be a number of seconds, not {resume_within}")
        if store is None:
            store = MemoryStore(memory_bytes) if path is None else SqliteStore(path)
        self._grace = grace
        self._tasks = TaskOwner("datastore")
        self._archive = Archive(store, resume_within, prometheus_registry, self._on_ready)
        services = (
            Service(DATALOG, add_datalog, DatalogService(self._archive)),
            Service(DATASTORE, add_trial_datastore, DatastoreService(self._archive)),
        )
        self._host = ServiceHost("trial datastore", services, host=host, port=port, tls=tls)
        self._opened = False
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

    @property
    def components(self) -> tuple[Component, ...]:
        """What it is for those that it is attached to: a datalog, and a datastore."""
        return (Component(ServiceType.DATALOG), Component(ServiceType.DATASTORE))

    def serve_in_process(self) -> InProcessServer:
        """The server for callers in this process, which serves from `start` on."""
        return self._host.in_process

    # --- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the store, and listen if there is a port to listen on.

        Raises:
            StoreError: The store cannot be used, or somebody else uses it.
            EndpointError: The port cannot be had, or what there is for TLS cannot be used.
        """
        await self._archive.open()
        self._opened = True
        await self._host.start()

    async def close(self, grace: float | None = None) -> None:
        """Take no more calls, store what was taken, and let go of the store.

        Args:
            grace: Seconds that calls have to end by themselves; None for those of the constructor.
        """
        grace = self._grace if grace is None else grace
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(grace))
        elif grace <= 0 and not self._closing.done():
            await self._host.close(0.0)
        await asyncio.shield(self._closing)

    async def _close(self, grace: float) -> None:
        await self._host.announce_end()
        await self._host.close(grace)
        if self._opened:
            await self._archive.close()
        await self._tasks.close()

    def _on_ready(self, ready: bool) -> None:
        self._tasks.spawn(self._host.announce(serving=ready), what="health")

    async def __aenter__(self: DatastoreT) -> DatastoreT:
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
