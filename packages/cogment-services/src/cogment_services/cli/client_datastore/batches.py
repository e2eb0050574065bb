"""Samples on their way into a datastore, several at a time."""

from __future__ import annotations

from collections.abc import Mapping

from cogment_core.api.common_pb2 import TrialParams
from cogment_core.api.trial_datastore_pb2 import StoredTrialSample
from cogment_services.cli.client_datastore.store import TrialStore

__all__ = ["Batches"]

_BUDGET = 8_000_000
"""Bytes of samples that wait at most, of all trials together."""


class Batches:
    """Adds trials to a datastore. Their samples may come in any order; they are sent in batches, as calls cost time.

    Args:
        store: The datastore.
        params: Parameters of the trials, by id.
        counts: How many samples each of them is going to get.
        prefix: What their ids begin with in the datastore.
        user_id: Whose trials they are.
    """

    def __init__(
        self,
        store: TrialStore,
        params: Mapping[str, TrialParams],
        counts: Mapping[str, int],
        *,
        prefix: str,
        user_id: str,
    ) -> None:
        self._store = store
        self._params = params
        self._missing = dict(counts)
        self._prefix = prefix
        self._user_id = user_id
        self._waiting: dict[str, list[StoredTrialSample]] = {}
        self._bytes_waiting = 0
        self._begun: set[str] = set()
        self.complete: list[str] = []
        """Trials that are in the datastore with all their samples, by their ids there."""

    @property
    def incomplete(self) -> list[str]:
        """Trials of which something may be in the datastore, but not everything."""
        return sorted(self._prefix + trial_id for trial_id in self._begun)

    async def add(self, sample: StoredTrialSample) -> None:
        """Add a sample to its trial."""
        trial_id = sample.trial_id
        self._waiting.setdefault(trial_id, []).append(sample)
        self._bytes_waiting += sample.ByteSize()
        self._missing[trial_id] -= 1
        if not self._missing[trial_id]:
            await self._send(trial_id)
        elif self._bytes_waiting >= _BUDGET:
            await self.flush()

    async def flush(self) -> None:
        """Send all that waits."""
        for trial_id in list(self._waiting):
            await self._send(trial_id)

    async def _send(self, trial_id: str) -> None:
        samples = self._waiting.pop(trial_id)
        name = self._prefix + trial_id
        if trial_id not in self._begun:
            self._begun.add(trial_id)
            await self._store.add_trial(name, self._user_id, self._params[trial_id])
        self._bytes_waiting -= sum(sample.ByteSize() for sample in samples)
        for sample in samples:
            sample.trial_id = ""  # it follows from the call
        await self._store.add_samples(name, samples)
        if not self._missing[trial_id]:
            self._begun.remove(trial_id)
            self.complete.append(name)
