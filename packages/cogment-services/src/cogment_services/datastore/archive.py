"""A store for services to use: asynchronous, with news of what changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar, cast

from cogment_core.api.common_pb2 import TrialParams
from cogment_core.logs import logger
from cogment_core.tasks import TaskOwner
from cogment_services.datastore.attendance import Attendance
from cogment_services.datastore.commits import CommitQueue
from cogment_services.datastore.conversion import check_params
from cogment_services.datastore.metrics import DatastoreMetrics
from cogment_services.datastore.news import News
from cogment_services.datastore.store import (
    Change,
    DeleteTrials,
    EndTrial,
    LateReward,
    NewSample,
    PutTrial,
    SamplePage,
    Store,
    StoreError,
    TrialPage,
    TrialQuery,
    TrialRecord,
)

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["Archive"]

T = TypeVar("T")

READERS = 4
"""How many readers read from the store at the same time."""

INTERRUPTED = "interrupted: nobody came back to add the missing samples"


class Archive:
    """Trials and samples.

    Args:
        store: Where they are.
        patience: Seconds that a trial without its last sample stays open when nobody adds to it.
        registry: Where metrics are kept; None for no metrics.
        on_ready: Called when it can take nothing any more, with False, and when it can again.
    """

    def __init__(
        self, store: Store, patience: float, registry: CollectorRegistry | None, on_ready: Callable[[bool], None]
    ) -> None:
        self._store = store
        self._readers = ThreadPoolExecutor(READERS, "cogment-datastore-reader")
        self._tasks = TaskOwner("datastore")
        self._is_open = False
        self.metrics = DatastoreMetrics(registry, lambda: store.size)
        """What is counted."""
        self.news = News()
        """What changes."""
        self.commits = CommitQueue(store, self.metrics, self._on_committed, on_ready)
        """Where changes go."""
        self.attendance = Attendance(patience, self._abandon)
        """Who adds to which trials."""

    async def open(self) -> None:
        """Make the store ready.

        Raises:
            StoreError: It cannot be used.
        """
        unfinished = await asyncio.get_running_loop().run_in_executor(self._readers, self._store.open)
        self.attendance.expect(unfinished)
        self.commits.start()
        self._is_open = True
        if unfinished:
            logger.info("datastore: %d trials are unfinished", len(unfinished))

    async def close(self) -> None:
        """Commit what was submitted, and let go of the store."""
        self.attendance.close()
        await self._tasks.close()
        await self.commits.close()
        self.metrics.close()
        self._is_open = False
        await asyncio.get_running_loop().run_in_executor(self._readers, self._store.close)
        self._readers.shutdown(wait=True)

    # --- writing ------------------------------------------------------------------------------------------------

    async def put_trial(self, trial_id: str, user_id: str, params: TrialParams) -> int:
        """Add a trial, or take one up again. Returns its number.

        Raises:
            UsageError: It has too many actors.
            StoreError: It cannot be stored.
        """
        check_params(trial_id, params)
        change = PutTrial(trial_id, user_id, params.SerializeToString(), dict(params.properties))
        return int(await self.commits.make(change))

    async def end_trial(self, number: int, reason: str | None) -> None:
        """Note that a trial is over without its last sample, or, without a reason, that it is not.

        Raises:
            StoreError: That cannot be stored.
        """
        await self.commits.make(EndTrial(number, reason))
        if reason is not None:
            self.attendance.forget(number)

    async def delete_trials(self, trial_ids: Sequence[str]) -> None:
        """Delete trials, as far as they are there.

        Raises:
            StoreError: They cannot be deleted.
        """
        numbers = await self.commits.make(DeleteTrials(tuple(trial_ids)))
        for number in numbers:
            self.attendance.forget(number)
        if numbers:
            self.commits.tidy()

    def _abandon(self, number: int) -> None:
        self._tasks.spawn(self._end_abandoned(number), what="ending a trial that was interrupted")

    async def _end_abandoned(self, number: int) -> None:
        try:
            await self.end_trial(number, INTERRUPTED)
        except StoreError as error:
            logger.warning("datastore: trial number %d cannot be ended now: %s", number, error)
            self.attendance.expect((number,))

    def _on_committed(self, changes: Sequence[Change], outcomes: Sequence[object]) -> None:
        self.metrics.open_trials(len(self.attendance))
        if any(isinstance(change, PutTrial) for change in changes):
            self.news.tell_new_trial()
        if self.news.anybody:
            self.news.tell(_touched(changes, outcomes))

    # --- reading ------------------------------------------------------------------------------------------------

    async def find(self, query: TrialQuery) -> TrialPage:
        """The trials that are looked for.

        Raises:
            StoreError: They cannot be read.
        """
        return await self._in_thread(self._store.find, query)

    async def get(self, trial_id: str) -> TrialRecord | None:
        """The trial with this id, None if there is none.

        Raises:
            StoreError: It cannot be read.
        """
        page = await self.find(TrialQuery((trial_id,)))
        return page.trials[0] if page.trials else None

    async def read(self, number: int, after: int, select: Callable[[bytes], bytes] | None) -> SamplePage:
        """The next samples of a trial, after a tick; -1 for the first.

        Args:
            number: The trial.
            after: The tick.
            select: What each sample becomes; None for as it is.

        Raises:
            StoreError: They cannot be read.
        """
        return await self._in_thread(self._read, number, after, select)

    def _read(self, number: int, after: int, select: Callable[[bytes], bytes] | None) -> SamplePage:
        page = self._store.read(number, after)
        if select is not None:
            page.samples = [select(sample) for sample in page.samples]
        return page

    async def missing(self, number: int) -> int:
        """How many samples of a trial cannot be found, although they were stored.

        Raises:
            StoreError: They cannot be read.
        """
        return await self._in_thread(self._store.missing, number)

    async def _in_thread(self, work: Callable[..., T], *args: Any) -> T:
        if not self._is_open:
            raise StoreError("the datastore is not started, or was stopped")
        return await asyncio.get_running_loop().run_in_executor(self._readers, work, *args)


def _touched(changes: Sequence[Change], outcomes: Sequence[object]) -> set[int]:
    """Numbers of the trials that have changed."""
    touched: set[int] = set()
    for change, outcome in zip(changes, outcomes, strict=True):
        if isinstance(change, (NewSample, LateReward, EndTrial)):
            touched.add(change.trial)
        elif isinstance(change, DeleteTrials):
            touched.update(cast("list[int]", outcome))
    return touched
