"""What goes through the trials of an Orchestrator, in numbers.

These are plain numbers, read when somebody asks for the metrics: a step of a trial may not wait for the locks of
``prometheus_client``, and takes several of them.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from cogment_services.orchestrator.observer import Loss, TrialObserver

if TYPE_CHECKING:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

    from cogment_services.orchestrator.sample_queue import ByteBudget

__all__ = ["Durations", "Traffic", "TrialMeter"]

BOUNDS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Upper bounds of the buckets of durations, seconds."""

_PREFIX = "orchestrator_"


class Durations:
    """How often something took how long."""

    __slots__ = ("_counts", "_seconds")

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0

    def add(self, seconds: float) -> None:
        """It took ``seconds``."""
        self._counts[bisect_left(BOUNDS, seconds)] += 1
        self._seconds += seconds

    def shown(self, name: str, description: str) -> HistogramMetricFamily:
        """All of it as a metric."""
        from prometheus_client.core import HistogramMetricFamily

        buckets: list[tuple[str, float]] = []
        total = 0
        for bound, count in zip((*map(str, BOUNDS), "+Inf"), self._counts, strict=True):
            total += count
            buckets.append((bound, total))
        return HistogramMetricFamily(f"{_PREFIX}{name}", description, buckets=buckets, sum_value=self._seconds)


class Traffic:
    """What goes through all trials; a collector of metrics.

    Its numbers are written by one event loop, and read by any thread.
    """

    def __init__(self) -> None:
        self.ticks = 0
        self.observation_bytes = 0
        self.action_bytes = 0
        self.rewards = 0
        self.messages = 0
        self.reconnects = 0
        """How often a connection to a datalog was made anew."""
        self.steps = Durations()
        """From the observations of the environment to the actions for it."""
        self.responses = Durations()
        """From the observations of the environment to the action of an actor."""
        self.budgets: list[ByteBudget] = []
        """What the samples are counted in."""

    def describe(self) -> Iterator[Metric]:
        """The metrics that there are."""
        return self.collect()

    def collect(self) -> Iterator[Metric]:
        """The metrics as they are now."""
        yield _counter("ticks", "Ticks that began: sets of observations from environments", self.ticks)
        yield self.steps.shown("step_latency_seconds", "Seconds from a set of observations to its set of actions")
        yield self.responses.shown("actor_response_seconds", "Seconds from a set of observations to an actor's action")
        yield _counter("observation_bytes", "Bytes of the observations of actors", self.observation_bytes)
        yield _counter("action_bytes", "Bytes of the actions of actors", self.action_bytes)
        yield _counter("rewards", "Rewards that were passed on", self.rewards)
        yield _counter("messages", "Messages that were passed on", self.messages)
        yield from self._samples()

    def _samples(self) -> Iterator[Metric]:
        prefix, budgets = "datalog_", self.budgets
        yield _counter(f"{prefix}sent_samples", "Samples sent, again or not", sum(each.written for each in budgets))
        confirmed = sum(each.confirmed for each in budgets)
        yield _counter(f"{prefix}acknowledged_samples", "Samples that datalogs said they have", confirmed)
        waiting = sum(each.samples for each in budgets)
        yield _gauge(f"{prefix}waiting_samples", "Samples that datalogs have not taken yet", waiting)
        yield _gauge(f"{prefix}waiting_bytes", "Bytes of these samples", sum(each.used for each in budgets))
        yield _counter(f"{prefix}reconnects", "Attempts to connect to a datalog again", self.reconnects)


def _counter(name: str, description: str, value: int) -> CounterMetricFamily:
    from prometheus_client.core import CounterMetricFamily

    return CounterMetricFamily(f"{_PREFIX}{name}", description, value)


def _gauge(name: str, description: str, value: int) -> GaugeMetricFamily:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(f"{_PREFIX}{name}", description, value)


class TrialMeter(TrialObserver):
    """Counts what goes through one trial.

    Args:
        traffic: Where all is counted.
        on_tick: Told the seconds from each set of actions to the next.
        on_loss: Told who is lost, ``"actor"`` or ``"environment"``, and why.
        clock: Tells the time, seconds.
    """

    __slots__ = ("_answered", "_clock", "_observed", "_on_loss", "_on_tick", "_traffic")

    def __init__(
        self,
        traffic: Traffic,
        *,
        on_tick: Callable[[float], None],
        on_loss: Callable[[str, Loss], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._traffic = traffic
        self._on_tick = on_tick
        self._on_loss = on_loss
        self._clock = clock
        self._observed = 0.0
        self._answered: float | None = None

    def observed(self, tick: int, observations: Sequence[bytes]) -> None:
        """See `TrialObserver.observed`."""
        self._observed = self._clock()
        self._traffic.ticks += 1
        self._traffic.observation_bytes += sum(map(len, observations))

    def acted(self, index: int) -> None:
        """See `TrialObserver.acted`."""
        self._traffic.responses.add(self._clock() - self._observed)

    def answered(self, actions: Sequence[bytes], *, last: bool) -> None:
        """See `TrialObserver.answered`."""
        now = self._clock()
        self._traffic.steps.add(now - self._observed)
        self._traffic.action_bytes += sum(map(len, actions))
        if not last:
            if self._answered is not None:
                self._on_tick(now - self._answered)
            self._answered = now

    def rewarded(self) -> None:
        """See `TrialObserver.rewarded`."""
        self._traffic.rewards += 1

    def messaged(self) -> None:
        """See `TrialObserver.messaged`."""
        self._traffic.messages += 1

    def lost(self, index: int | None, loss: Loss) -> None:
        """See `TrialObserver.lost`."""
        self._on_loss("environment" if index is None else "actor", loss)
