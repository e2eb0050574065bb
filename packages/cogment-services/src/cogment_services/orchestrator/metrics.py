"""Prometheus metrics of an Orchestrator.

``prometheus_client`` takes long to import: without a registry it never is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cogment_core.api.common_pb2 import UNKNOWN, TrialState

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["OrchestratorMetrics"]


class OrchestratorMetrics:
    """What an Orchestrator counts and measures.

    Args:
        registry: Where the metrics are kept; None for no metrics.
    """

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._collectors = None if registry is None else _Collectors(registry)

    @property
    def on_tick(self) -> Callable[[float], None] | None:
        """To be called with the seconds between two action sets of a trial; None if nobody wants to know."""
        return None if self._collectors is None else self._collectors.tick.observe

    def state_changed(self, before: TrialState.ValueType, after: TrialState.ValueType) -> None:
        """A trial went from one state to another; UNKNOWN stands for its being unknown to the Orchestrator."""
        if self._collectors is not None:
            if before != UNKNOWN:
                self._collectors.trials.labels(TrialState.Name(before)).dec()
            if after != UNKNOWN:
                self._collectors.trials.labels(TrialState.Name(after)).inc()

    def trial_ended(self, seconds: float) -> None:
        """A trial has ended that had lasted for ``seconds``."""
        if self._collectors is not None:
            self._collectors.trial.observe(seconds)

    def sample_dropped(self) -> None:
        """A sample could not be sent to its datalog."""
        if self._collectors is not None:
            self._collectors.dropped.inc()

    @contextmanager
    def collecting_garbage(self) -> Generator[None, None, None]:
        """Measure how long forgetting ended trials takes."""
        started = time.perf_counter()
        yield
        if self._collectors is not None:
            self._collectors.garbage.observe(time.perf_counter() - started)


class _Collectors:
    """The first three names are those that existing dashboards use."""

    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Gauge, Summary

        prefix = "orchestrator_"
        self.trial = Summary(f"{prefix}trial_duration_seconds", "Seconds that trials lasted", registry=registry)
        self.tick = Summary(f"{prefix}tick_duration_seconds", "Seconds between two action sets", registry=registry)
        self.garbage = Summary(
            f"{prefix}garbage_collection_duration_seconds", "Seconds to forget ended trials", registry=registry
        )
        self.trials = Gauge(f"{prefix}trials", "Trials in memory, by state", ("state",), registry=registry)
        self.dropped = Counter(f"{prefix}datalog_dropped_samples", "Samples not sent to a datalog", registry=registry)
