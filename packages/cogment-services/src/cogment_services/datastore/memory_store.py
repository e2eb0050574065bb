"""Trials and samples in memory, up to a number of bytes.

When there are more, the samples of trials that are over make room: those of the trial first that was used least
recently. What is known of such a trial stays, and its samples are counted as before.
"""

from __future__ import annotations

import bisect
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from cogment_core.api.common_pb2 import ENDED, UNKNOWN
from cogment_services.datastore.conversion import merge_late
from cogment_services.datastore.reading import PAGE_BYTES, PAGE_SAMPLES
from cogment_services.datastore.store import (
    MAX_LATE_BYTES,
    Change,
    DeleteTrials,
    EndTrial,
    LateReward,
    NewSample,
    PutTrial,
    SamplePage,
    StoreFullError,
    TooLateError,
    TrialGoneError,
    TrialPage,
    TrialQuery,
    TrialRecord,
)

__all__ = ["DEFAULT_BYTES", "MemoryStore"]

DEFAULT_BYTES = 1 << 30
"""Bytes of samples that are kept by default."""


@dataclass
class _Trial:
    number: int
    put: PutTrial
    ticks: list[int] = field(default_factory=list[int])
    samples: list[NewSample] = field(default_factory=list[NewSample])
    late: dict[int, dict[bytes, LateReward]] = field(default_factory=dict[int, "dict[bytes, LateReward]"])
    size: int = 0
    samples_count: int = 0
    last_state: int = UNKNOWN
    end_reason: str | None = None
    evicted: bool = False

    @property
    def over(self) -> bool:
        return self.last_state == ENDED or self.end_reason is not None


class MemoryStore:
    """A `Store` that is gone with the process.

    Args:
        max_bytes: Bytes of samples that are kept.
    """

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._numbers: dict[str, int] = {}
        self._trials: dict[int, _Trial] = {}
        self._used: OrderedDict[int, None] = OrderedDict()
        """Trials with samples, those that were used least recently first."""
        self._last_number = 0
        self._size = 0
        self._lock = threading.Lock()

    def open(self) -> Sequence[int]:
        """See `Store`."""
        return ()

    def close(self) -> None:
        """See `Store`."""

    def recover(self) -> None:
        """See `Store`."""

    def tidy(self) -> bool:
        """See `Store`."""
        return False

    @property
    def size(self) -> int:
        """Bytes of samples."""
        return self._size

    # --- writing ------------------------------------------------------------------------------------------------

    def commit(self, changes: Sequence[Change]) -> Sequence[object]:
        """See `Store`."""
        with self._lock:
            return [self._apply(change) for change in changes]

    def _apply(self, change: Change) -> object:
        if isinstance(change, PutTrial):
            return self._put(change)
        if isinstance(change, DeleteTrials):
            return self._delete(change)
        trial = self._trials.get(change.trial)
        if trial is None:
            return TrialGoneError(f"trial number {change.trial} was deleted")
        if isinstance(change, EndTrial):
            if trial.last_state != ENDED and (change.reason is None or trial.end_reason is None):
                trial.end_reason = change.reason
            return None
        if trial.evicted:
            return TrialGoneError(f"trial [{trial.put.trial_id}]: the samples before this one were dropped from memory")
        if not self._make_room(change.size, trial.number):
            return StoreFullError(
                f"the memory of the datastore is full: trials that run have {self._size} of {self._max_bytes} bytes"
            )
        if isinstance(change, LateReward) and not _has_room(trial, change):
            return TooLateError(change.tick)
        added = _add_late(trial, change) if isinstance(change, LateReward) else _add_sample(trial, change)
        trial.size += added
        self._size += added
        self._used[trial.number] = None
        self._used.move_to_end(trial.number)
        return None

    def _put(self, change: PutTrial) -> int:
        number = self._numbers.get(change.trial_id)
        if number is None:
            self._last_number = number = self._last_number + 1
            self._numbers[change.trial_id] = number
            self._trials[number] = _Trial(number, change)
        else:
            self._trials[number].put = change
            self._trials[number].end_reason = None
        return number

    def _delete(self, change: DeleteTrials) -> list[int]:
        numbers = [self._numbers.pop(trial_id) for trial_id in change.trial_ids if trial_id in self._numbers]
        for number in numbers:
            self._size -= self._trials.pop(number).size
            self._used.pop(number, None)
        return numbers

    def _make_room(self, size: int, spared: int) -> bool:
        """Drop samples of trials that are over until ``size`` bytes fit. Returns whether they do."""
        if self._size + size <= self._max_bytes:
            return True
        for number in list(self._used):
            trial = self._trials[number]
            if number == spared or not trial.over:
                continue
            self._evict(trial)
            if self._size + size <= self._max_bytes:
                return True
        return False

    def _evict(self, trial: _Trial) -> None:
        del self._used[trial.number]
        self._size -= trial.size
        trial.size = 0
        trial.evicted = True
        trial.ticks, trial.samples, trial.late = [], [], {}

    # --- reading ------------------------------------------------------------------------------------------------

    def find(self, query: TrialQuery) -> TrialPage:
        """See `Store`."""
        wanted = set(query.trial_ids)
        properties = query.properties.items()
        found: list[TrialRecord] = []
        size = 0
        with self._lock:
            for trial in self._trials.values():
                put = trial.put
                if trial.number <= query.after or (wanted and put.trial_id not in wanted):
                    continue
                if not properties <= put.properties.items():
                    continue
                size += len(put.params)
                if (query.count and len(found) >= query.count) or (found and size > query.max_bytes):
                    return TrialPage(found, True)
                found.append(_record(trial))
        return TrialPage(found, False)

    def read(self, trial: int, after: int) -> SamplePage:
        """See `Store`."""
        with self._lock:
            found = self._trials.get(trial)
            if found is None:
                raise TrialGoneError(f"trial number {trial} was deleted")
            if found.evicted:
                raise TrialGoneError(
                    f"the samples of trial [{found.put.trial_id}] were dropped, to make room in memory"
                )
            if trial in self._used:
                self._used.move_to_end(trial)
            page = SamplePage(last=after, over=found.over, expected=found.samples_count)
            first = bisect.bisect_right(found.ticks, after)
            samples = found.samples[first : first + PAGE_SAMPLES]
            late = {tick: [reward.sample for reward in rewards.values()] for tick, rewards in found.late.items()}
        _fill(page, samples, late)
        return page

    def missing(self, trial: int) -> int:
        """See `Store`."""
        return 0


def _add_sample(trial: _Trial, sample: NewSample) -> int:
    """Add a sample. Returns how many bytes that takes."""
    place = bisect.bisect_left(trial.ticks, sample.tick)
    if place < len(trial.ticks) and trial.ticks[place] == sample.tick:
        if not sample.replaces and sample == trial.samples[place]:
            return 0
        late = trial.late.pop(sample.tick, {})
        added = sample.size - trial.samples[place].size - sum(reward.size for reward in late.values())
        trial.samples[place] = sample
    else:
        trial.ticks.insert(place, sample.tick)
        trial.samples.insert(place, sample)
        trial.samples_count += 1
        added = sample.size
    trial.last_state = trial.samples[-1].state
    if trial.last_state == ENDED:
        trial.end_reason = None
    return added


def _has_room(trial: _Trial, reward: LateReward) -> bool:
    rewards = trial.late.get(reward.tick, {})
    size = sum(each.size for each in rewards.values())
    return reward.digest in rewards or size + reward.size <= MAX_LATE_BYTES


def _add_late(trial: _Trial, reward: LateReward) -> int:
    rewards = trial.late.setdefault(reward.tick, {})
    if reward.digest in rewards:
        return 0
    rewards[reward.digest] = reward
    return reward.size


def _record(trial: _Trial) -> TrialRecord:
    put = trial.put
    return TrialRecord(
        trial.number,
        put.trial_id,
        put.user_id,
        put.params,
        trial.samples_count,
        trial.last_state,
        trial.end_reason,
    )


def _fill(page: SamplePage, samples: Sequence[NewSample], late: dict[int, list[bytes]]) -> None:
    size = 0
    for sample in samples:
        if size >= PAGE_BYTES:
            page.full = True
            return
        merged = merge_late(sample.sample, late[sample.tick]) if sample.tick in late else sample.sample
        page.samples.append(merged)
        page.last = sample.tick
        size += len(merged)
    page.full = len(samples) >= PAGE_SAMPLES
