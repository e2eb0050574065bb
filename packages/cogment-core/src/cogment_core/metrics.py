"""Prometheus metrics of actors and environments.

``prometheus_client`` takes long to import and is not imported before it is needed: without a registry it never is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from cogment_core.collectors import shared_collectors
from cogment_core.logs import logger
from cogment_core.sessions.observer import SessionObserver

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge, Summary
    from prometheus_client.metrics import MetricWrapperBase

    MetricT = TypeVar("MetricT", bound=MetricWrapperBase)

__all__ = ["ActorMetrics", "EnvironmentMetrics", "RegistrationMetrics"]

_MAX_NAMES = 100
"""How many actors have metrics of their own: trials name actors as they like, and each name stays for ever."""

_OTHER_NAMES = "(other)"
"""Stands for the names of all further actors."""


class ActorMetrics:
    """Metrics of the served actors; shared by all that use the same registry.

    Args:
        registry: Where the metrics are kept; None for no metrics.
    """

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._collectors = None if registry is None else shared_collectors(_ActorCollectors, registry)

    def session(self, name: str, impl_name: str) -> SessionObserver:
        """Count a session that starts now, and what it reports until it ends.

        Args:
            name: Name of the actor.
            impl_name: Name of its implementation.
        """
        if self._collectors is None:
            return SessionObserver()
        return _ActorObserver(self._collectors, name, impl_name)


class EnvironmentMetrics:
    """Metrics of the served environments; shared by all that use the same registry.

    Args:
        registry: Where the metrics are kept; None for no metrics.
    """

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._collectors = None if registry is None else shared_collectors(_EnvironmentCollectors, registry)

    def session(self, impl_name: str) -> SessionObserver:
        """Count a session that starts now, and what it reports until it ends.

        Args:
            impl_name: Name of the environment's implementation.
        """
        if self._collectors is None:
            return SessionObserver()
        return _EnvironmentObserver(self._collectors, impl_name)


class RegistrationMetrics:
    """Metrics of the registration in a Directory; shared by all that use the same registry.

    Args:
        registry: Where the metrics are kept; None for no metrics.
    """

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._collectors = None if registry is None else shared_collectors(_RegistrationCollectors, registry)

    def registered_again(self) -> None:
        """A service was registered that had been registered before."""
        if self._collectors is not None:
            self._collectors.renewals.inc()


class _ActorObserver(SessionObserver):
    """One actor's session. Labels are resolved once, not per event."""

    def __init__(self, collectors: _ActorCollectors, name: str, impl_name: str) -> None:
        name = collectors.shown_name(name)
        self._duration = collectors.duration.labels(name, impl_name)
        self._ended = collectors.ended.labels(impl_name)
        self._messages = collectors.received_messages.labels(name, impl_name)
        self._rewards = collectors.rewards.labels(name, impl_name)
        self._reward_sum = collectors.reward_sum.labels(name, impl_name)
        collectors.started.labels(impl_name).inc()
        self._start = time.perf_counter()

    def reward_received(self, value: float) -> None:
        self._rewards.inc()
        # NaN is in use as "no reward"; added once, it would stay the sum for ever.
        if not math.isnan(value):
            self._reward_sum.inc(value)

    def message_received(self) -> None:
        self._messages.inc()

    def ended(self) -> None:
        self._duration.observe(time.perf_counter() - self._start)
        self._ended.inc()


class _EnvironmentObserver(SessionObserver):
    """One environment's session. Labels are resolved once, not per event."""

    def __init__(self, collectors: _EnvironmentCollectors, impl_name: str) -> None:
        self._duration = collectors.duration.labels(impl_name)
        self._update_counts = collectors.updates.labels(impl_name)
        self._ended = collectors.ended.labels(impl_name)
        self._received = collectors.received_messages.labels(impl_name)
        self._sent = collectors.sent_messages.labels(impl_name)
        collectors.started.labels(impl_name).inc()
        self._updates = 0
        self._start = time.perf_counter()

    def updated(self) -> None:
        self._updates += 1

    def message_received(self) -> None:
        self._received.inc()

    def message_sent(self) -> None:
        self._sent.inc()

    def ended(self) -> None:
        self._duration.observe(time.perf_counter() - self._start)
        self._update_counts.observe(self._updates)
        self._ended.inc()


# Names, labels and their meanings are those that existing dashboards use, odd ones included.


class _ActorCollectors:
    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Gauge, Summary

        make = _Maker(registry)
        both, impl = ("name", "impl_name"), ("impl_name",)
        self.duration: Summary = make(Summary, "actor_decide_processing_seconds", "Seconds that sessions lasted", both)
        self.started: Counter = make(Counter, "actor_started", "Sessions that started", impl)
        self.ended: Counter = make(Counter, "actor_ended", "Sessions that ended", impl)
        self.received_messages: Counter = make(Counter, "actor_received_messages", "Messages received", both)
        self.rewards: Counter = make(Counter, "actor_rewards_count", "Rewards received", both)
        self.reward_sum: Gauge = make(Gauge, "actor_reward_summation", "Sum of the rewards received", both)
        self._names: set[str] = set()

    def shown_name(self, name: str) -> str:
        """What the label of an actor with this name says."""
        if name in self._names or len(self._names) < _MAX_NAMES:
            self._names.add(name)
            return name
        return _OTHER_NAMES


class _EnvironmentCollectors:
    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Summary

        make = _Maker(registry)
        impl = ("impl_name",)
        self.duration: Summary = make(
            Summary, "environment_trial_duration_in_second", "Seconds that trials lasted", ("trial_actor",)
        )
        self.updates: Summary = make(
            Summary, "environment_update_count_per_trial", "Sets of observations in a trial", impl
        )
        self.started: Counter = make(Counter, "environment_trials_started", "Trials that started", impl)
        self.ended: Counter = make(Counter, "environment_trials_ended", "Trials that ended", impl)
        self.received_messages: Counter = make(Counter, "environment_received_messages", "Messages received", impl)
        self.sent_messages: Counter = make(Counter, "environment_sent_messages", "Messages sent", impl)


class _RegistrationCollectors:
    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter

        self.renewals: Counter = _Maker(registry)(
            Counter, "directory_reregistrations", "Services registered again in a Directory that had lost them", ()
        )


class _Maker:
    """Makes metrics in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def __call__(self, kind: type[MetricT], name: str, description: str, labels: Sequence[str]) -> MetricT:
        try:
            return kind(name, description, labels, registry=self._registry)
        except ValueError as error:
            # Only somebody else's metrics can be in the way, and they are no reason not to serve.
            logger.warning("metric %r is not published: %s", name, error)
            return kind(name, description, labels, registry=None)
