"""Prometheus metrics of an Orchestrator. Labels have few values, and none that callers choose.

``prometheus_client`` takes long to import: without a registry it never is.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cogment_core.api.common_pb2 import UNKNOWN, TrialState
from cogment_core.collectors import shared_collectors
from cogment_services.orchestrator.observer import Loss, TrialObserver
from cogment_services.orchestrator.traffic import Traffic, TrialMeter

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from cogment_services.orchestrator.sample_queue import ByteBudget

__all__ = ["OrchestratorMetrics"]


class OrchestratorMetrics:
    """What an Orchestrator counts and measures, together with others that use the same registry.

    Args:
        registry: Where the metrics are kept; None for no metrics.
    """

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._collectors = None if registry is None else shared_collectors(_Collectors, registry)

    def trial(self) -> TrialObserver | None:
        """What is to watch a new trial; None if nobody wants to know."""
        collectors = self._collectors
        if collectors is None:
            return None
        return TrialMeter(collectors.traffic, on_tick=collectors.tick.observe, on_loss=collectors.count_loss)

    def watch_samples(self, budget: ByteBudget) -> None:
        """Show what is counted in ``budget``."""
        if self._collectors is not None:
            self._collectors.traffic.budgets.append(budget)

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

    def samples_dropped(self, count: int) -> None:
        """So many samples were not sent to their datalog, or not acknowledged by it."""
        if self._collectors is not None:
            self._collectors.dropped.inc(count)

    def datalog_reconnects(self) -> None:
        """A datalog is connected to again."""
        if self._collectors is not None:
            self._collectors.traffic.reconnects += 1

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
        self.dropped = Counter(
            f"{prefix}datalog_dropped_samples", "Samples that a datalog did not get", registry=registry
        )
        self.lost = Counter(
            f"{prefix}lost_participants",
            "Actors and environments that were lost before the end",
            ("participant", "cause"),
            registry=registry,
        )
        for loss in Loss:  # a metric that is there from the start can be watched for its first change
            self.lost.labels("actor", loss.value)
            self.lost.labels("environment", loss.value)
        self.traffic = Traffic()
        registry.register(self.traffic)

    def count_loss(self, participant: str, loss: Loss) -> None:
        self.lost.labels(participant, loss.value).inc()
