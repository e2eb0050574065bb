"""Prometheus metrics of a datastore.

``prometheus_client`` takes long to import: without a registry it never is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cogment_core.collectors import Total, shared_collectors
from cogment_services.datastore.store import Change, LateReward, NewSample

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["DatastoreMetrics"]


class DatastoreMetrics:
    """What a datastore counts and measures, together with others that use the same registry of metrics.

    Args:
        registry: Where the metrics are kept; None for no metrics.
        size: Tells how many bytes the store takes.
    """

    def __init__(self, registry: CollectorRegistry | None, size: Callable[[], int]) -> None:
        self._collectors = None if registry is None else shared_collectors(_Collectors, registry)
        self._size = size
        self._waiting = 0
        self._open_trials = 0
        if self._collectors is not None:
            self._collectors.size.add(size)

    def close(self) -> None:
        """What is told to the registry is as if this datastore were not there; what was counted stays."""
        self.waiting(0)
        self.open_trials(0)
        if self._collectors is not None:
            self._collectors.size.remove(self._size)

    def waiting(self, count: int) -> None:
        """So many changes wait to be committed."""
        if self._collectors is not None:
            self._collectors.waiting.inc(count - self._waiting)
        self._waiting = count

    def committed(self, changes: Sequence[Change], seconds: float) -> None:
        """``changes`` were committed within ``seconds``."""
        if self._collectors is not None:
            samples = [change for change in changes if isinstance(change, (NewSample, LateReward))]
            self._collectors.samples.inc(len(samples))
            self._collectors.bytes.inc(sum(sample.size for sample in samples))
            self._collectors.commits.observe(seconds)

    def sent(self, samples: int) -> None:
        """So many samples were sent to a reader."""
        if self._collectors is not None:
            self._collectors.sent.inc(samples)

    def open_trials(self, count: int) -> None:
        """So many trials are not over."""
        if self._collectors is not None:
            self._collectors.trials.inc(count - self._open_trials)
        self._open_trials = count


class _Collectors:
    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Gauge, Histogram

        prefix = "trial_datastore_"
        buckets = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)
        self.samples = Counter(f"{prefix}samples", "Samples that were stored", registry=registry)
        self.bytes = Counter(f"{prefix}sample_bytes", "Bytes of samples that were stored", registry=registry)
        self.sent = Counter(f"{prefix}sent_samples", "Samples that were sent to readers", registry=registry)
        self.waiting = Gauge(f"{prefix}waiting_changes", "Changes that wait to be committed", registry=registry)
        self.size = Total(Gauge(f"{prefix}size_bytes", "Bytes that the store takes", registry=registry))
        self.trials = Gauge(f"{prefix}open_trials", "Trials that are not over", registry=registry)
        self.commits = Histogram(
            f"{prefix}commit_duration_seconds", "Seconds that commits took", buckets=buckets, registry=registry
        )
