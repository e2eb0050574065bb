"""Prometheus metrics of a Directory. Labels have few values, and none that callers choose."""

from __future__ import annotations

from collections import Counter as Tally
from typing import TYPE_CHECKING

from cogment_core.api.directory_pb2 import ServiceType
from cogment_core.collectors import shared_collectors

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from cogment_services.directory.records import Record

__all__ = ["DirectoryMetrics"]


class DirectoryMetrics:
    """What a Directory counts, together with others that use the same registry of metrics.

    Args:
        registry: Where the metrics are kept; None for no metrics.
    """

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._collectors = None if registry is None else shared_collectors(_Collectors, registry)
        self._entries = Tally[ServiceType.ValueType]()

    def added(self, record: Record) -> None:
        """There is another entry."""
        self._count(record.target.type, 1)

    def removed(self, record: Record) -> None:
        """There is an entry less."""
        self._count(record.target.type, -1)

    def close(self) -> None:
        """This Directory has no entries any more that anybody could find."""
        for kind, count in self._entries.items():
            self._count(kind, -count)

    def registration(self, accepted: bool) -> None:
        """Somebody wanted to register."""
        if self._collectors is not None:
            self._collectors.registrations.labels("ok" if accepted else "failed").inc()

    def inquiry(self, found: int) -> None:
        """Somebody asked, and so many entries were found."""
        if self._collectors is not None:
            self._collectors.inquiries.labels("found" if found else "empty").inc()

    def check(self, healthy: bool) -> None:
        """A health check ended."""
        if self._collectors is not None:
            self._collectors.checks.labels("healthy" if healthy else "failed").inc()

    def _count(self, kind: ServiceType.ValueType, entries: int) -> None:
        self._entries[kind] += entries
        if self._collectors is not None:
            self._collectors.entries.labels(ServiceType.Name(kind)).inc(entries)


class _Collectors:
    def __init__(self, registry: CollectorRegistry) -> None:
        from prometheus_client import Counter, Gauge

        prefix, result = "directory_", ("result",)
        self.entries = Gauge(f"{prefix}entries", "Entries, hidden ones too, by type", ("type",), registry=registry)
        self.registrations = Counter(f"{prefix}registrations", "Requests to register", result, registry=registry)
        self.inquiries = Counter(f"{prefix}inquiries", "Inquiries", result, registry=registry)
        self.checks = Counter(f"{prefix}health_checks", "Health checks", result, registry=registry)
