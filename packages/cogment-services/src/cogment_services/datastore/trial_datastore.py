"""The Trial Datastore: keeps what trials produce, in any process and event loop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cogment_core.endpoints import ServiceType
from cogment_core.errors import UsageError
from cogment_core.implementations import Component
from cogment_core.tasks import TaskOwner
from cogment_services.datastore.archive import Archive
from cogment_services.datastore.datalog import DatalogService, add_datalog
from cogment_services.datastore.memory_store import DEFAULT_BYTES, MemoryStore
from cogment_services.datastore.service import DatastoreService, add_trial_datastore
from cogment_services.datastore.sqlite_store import SqliteStore
from cogment_services.datastore.store import Store
from cogment_services.hosted_server import HostedServer
from cogment_services.listener import Service
from cogment_services.service_host import ServiceHost
from cogment_services.tls import Tls

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["DATALOG", "DATASTORE", "TrialDatastore"]

DATALOG = "cogmentAPI.DatalogSP"
DATASTORE = "cogmentAPI.TrialDatastoreSP"


class TrialDatastore(HostedServer):
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

    components = (Component(ServiceType.DATALOG), Component(ServiceType.DATASTORE))

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
        self._tasks = TaskOwner("datastore")
        self._archive = Archive(store, resume_within, prometheus_registry, self._on_ready)
        services = (
            Service(DATALOG, add_datalog, DatalogService(self._archive)),
            Service(DATASTORE, add_trial_datastore, DatastoreService(self._archive)),
        )
        super().__init__(ServiceHost("trial datastore", services, host=host, port=port, tls=tls), grace)
        self._opened = False

    async def _open(self) -> None:
        await self._archive.open()
        self._opened = True

    async def _let_go(self) -> None:
        if self._opened:
            await self._archive.close()
        await self._tasks.close()

    def _on_ready(self, ready: bool) -> None:
        self._tasks.spawn(self._host.announce(serving=ready), what="health")
