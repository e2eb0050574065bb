"""Prometheus metrics of a Model Registry.

``prometheus_client`` takes long to import: without a registry of metrics it never is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cogment_core.collectors import Total, shared_collectors

if TYPE_CHECKING:
    from collections.abc import Callable

    from prometheus_client import CollectorRegistry

__all__ = ["RegistryMetrics"]


class RegistryMetrics:
    """What a Model Registry counts, together with others that use the same registry of metrics.

    Args:
        registry: Where the metrics are kept; None for no metrics.
        subscribers: Tells how many follow models.
    """

    def __init__(self, registry: CollectorRegistry | None, subscribers: Callable[[], int]) -> None:
        self._collectors = None if registry is None else shared_collectors(_Collectors, registry)
        self._subscribers = subscribers
        if self._collectors is not None:
            self._collectors.subscribers.add(subscribers)

    def close(self) -> None:
        """What is told to the registry is as if this Model Registry were not there; what was counted stays."""
        if self._collectors is not None:
            self._collectors.subscribers.remove(self._subscribers)

    def version_created(self, *, stored: bool) -> None:
        """There is a new version, stored or transient."""
        if self._collectors is not None:
            self._collectors.versions.labels("true" if stored else "false").inc()

    def received(self, size: int) -> None:
        """So many bytes of data came in."""
        if self._collectors is not None:
            self._collectors.received.inc(size)

    def sent(self, size: int) -> None:
        """So many bytes of data went out."""
        if self._collectors is not None:
            self._collectors.sent.inc(size)

    def damaged(self) -> None:
        """The stored data of a version were found damaged."""
        if self._collectors is not None:
            self._collectors.damaged.inc()


class _Collectors:
    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Gauge

        prefix = "model_registry_"
        self.versions = Counter(f"{prefix}versions", "Versions created", ("stored",), registry=registry)
        self.received = Counter(f"{prefix}received_bytes", "Bytes of data received", registry=registry)
        self.sent = Counter(f"{prefix}sent_bytes", "Bytes of data sent", registry=registry)
        self.damaged = Counter(f"{prefix}damaged_reads", "Reads that met damaged data", registry=registry)
        self.subscribers = Total(Gauge(f"{prefix}subscribers", "Those who follow models", registry=registry))
