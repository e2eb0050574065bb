"""Collectors of Prometheus metrics, which a registry takes once, however many there are who use them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Gauge

__all__ = ["Total", "shared_collectors"]

CollectorsT = TypeVar("CollectorsT")

_made: WeakKeyDictionary[CollectorRegistry, dict[object, Any]] = WeakKeyDictionary()
_lock = threading.Lock()


def shared_collectors(make: Callable[[CollectorRegistry], CollectorsT], registry: CollectorRegistry) -> CollectorsT:
    """What ``make`` made in ``registry`` for the first who asked: each name of a metric can be there only once."""
    with _lock:
        made = _made.setdefault(registry, {})
        if make not in made:
            made[make] = make(registry)
        return cast("CollectorsT", made[make])


class Total:
    """The value of a gauge that several tell together: the sum of what they tell.

    Args:
        gauge: The gauge, or one of its children.
    """

    def __init__(self, gauge: Gauge) -> None:
        self._parts: list[Callable[[], float]] = []
        gauge.set_function(lambda: sum(part() for part in tuple(self._parts)))

    def add(self, part: Callable[[], float]) -> None:
        """From now on, what ``part`` returns counts."""
        self._parts.append(part)

    def remove(self, part: Callable[[], float]) -> None:
        """It does not count any more; nothing happens if it never did."""
        if part in self._parts:
            self._parts.remove(part)
