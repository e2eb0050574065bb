"""What a Directory knows: entries, and the state of what they lead to. Pure: no clock, no network, no files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from cogment_core.api.directory_pb2 import (
    UNKNOWN_SERVICE,
    FullServiceData,
    ServiceDetails,
    ServiceEndpoint,
    ServiceType,
)

__all__ = ["ANY_TYPE", "FAILURES_TO_REMOVE", "Name", "Record", "Records", "Target", "TargetState"]

KeyT = TypeVar("KeyT")

ANY_TYPE = UNKNOWN_SERVICE
"""The type that inquiries for any type ask for."""

FAILURES_TO_REMOVE = 3
"""Checks in a row that have to fail until the entries of a target are removed."""

_NAMING = ("__implementation", "__actor_class")
"""Properties that are the name of a service, together with its type."""

Name = tuple[int, str, str]
"""Type, implementation and actor class of a service that has at least one of the latter two."""


@dataclass(frozen=True)
class Target:
    """What a health check is made of: all entries that lead to the same service share its result."""

    protocol: ServiceEndpoint.Protocol.ValueType
    """How to talk to it."""
    host: str
    """Where it is."""
    port: int
    """Where it is."""
    type: ServiceType.ValueType
    """What it is."""
    local: bool
    """Whether it was registered from this machine, and may be on it."""


@dataclass
class TargetState:
    """What is known of a target."""

    target: Target
    """Which."""
    healthy: bool = False
    """Whether the last check succeeded; False before the first."""
    failures: int = 0
    """Checks that failed since one succeeded."""
    load: int = 0
    """From 0 to 254, as the service says; 255 if it takes nothing more, or is not healthy."""
    checked: float = float("-inf")
    """When the last check ended, in seconds of the clock of who makes the checks."""

    def note(self, healthy: bool, load: int, now: float) -> None:
        """A check ended."""
        self.healthy = healthy
        self.failures = 0 if healthy else self.failures + 1
        self.load = load if healthy else 255
        self.checked = now

    @property
    def is_lost(self) -> bool:
        """Whether its entries are to be removed."""
        return self.failures >= FAILURES_TO_REMOVE


@dataclass(frozen=True)
class Record:
    """An entry."""

    service_id: int
    """Its number; random, so that nobody guesses it."""
    secret: str = field(repr=False)
    """What its owner has to know to remove it."""
    owner: bytes = field(repr=False)
    """Digest of the token that it was registered with."""
    registered: int
    """When it was registered, in nanoseconds since 1970."""
    permanent: bool
    """Whether it is never checked, and replaced by the next permanent one with the same details."""
    target: Target
    """Where it leads."""
    properties: Mapping[str, str]
    """Its labels."""

    @property
    def is_checked(self) -> bool:
        """Whether its health counts."""
        return not self.permanent and self.target.protocol != ServiceEndpoint.COGMENT

    @property
    def name(self) -> Name | None:
        """The name that it is known by; None if it has none."""
        implementation, actor_class = (self.properties.get(key, "") for key in _NAMING)
        return (self.target.type, implementation, actor_class) if implementation or actor_class else None

    def fits(self, service_type: int, properties: Mapping[str, str]) -> bool:
        """Whether it is of this type and has all these properties."""
        if service_type not in (ANY_TYPE, self.target.type):
            return False
        return all(self.properties.get(key) == value for key, value in properties.items())

    def to_proto(self) -> FullServiceData:
        """What inquirers get to see."""
        target = self.target
        return FullServiceData(
            endpoint=ServiceEndpoint(protocol=target.protocol, host=target.host, port=target.port),
            service_id=self.service_id,
            details=ServiceDetails(type=target.type, properties=self.properties),
            permanent=self.permanent,
        )


class Records:
    """All entries, found by number, or by owner, type and properties in a time that does not grow with all the others.

    Entries are in the order in which they were added.
    """

    def __init__(self) -> None:
        self._records: dict[int, Record] = {}
        self._index: dict[object, dict[int, None]] = {}
        self._owners: Counter[bytes] = Counter()
        self._names: dict[Name, Counter[bytes]] = {}
        self._states: dict[Target, TargetState] = {}
        self._at: dict[Target, dict[int, None]] = {}

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self._records.values())

    # --- finding ------------------------------------------------------------------------------------------------

    def get(self, service_id: int) -> Record | None:
        """The entry of this number, None if there is none."""
        return self._records.get(service_id)

    def find(self, owner: bytes, service_type: int, properties: Mapping[str, str]) -> list[Record]:
        """The entries of ``owner`` that are of this type and have these properties, newest first, hidden ones too."""
        keys = [(owner, service_type), *((owner, key, value) for key, value in properties.items())]
        candidates = min((self._index.get(key, {}) for key in keys), key=len)
        found = (self._records[service_id] for service_id in candidates)
        return sorted(
            (record for record in found if record.fits(service_type, properties)),
            key=lambda record: record.registered,
            reverse=True,
        )

    def count_of(self, owner: bytes) -> int:
        """How many entries ``owner`` has."""
        return self._owners[owner]

    def owners_of(self, name: Name) -> set[bytes]:
        """Who has entries of this name."""
        return set(self._names.get(name, ()))

    def is_visible(self, record: Record) -> bool:
        """Whether inquiries find it: it is healthy, or not checked."""
        return not record.is_checked or self._states[record.target].healthy

    def load_of(self, record: Record) -> int:
        """How busy it is, from 0 to 255."""
        return self._states[record.target].load if record.is_checked else 0

    # --- changing -----------------------------------------------------------------------------------------------

    def add(self, record: Record) -> None:
        """Add an entry whose number is new."""
        self._records[record.service_id] = record
        for key in _keys(record):
            self._index.setdefault(key, {})[record.service_id] = None
        self._owners[record.owner] += 1
        if record.name is not None:
            self._names.setdefault(record.name, Counter())[record.owner] += 1
        self._at.setdefault(record.target, {})[record.service_id] = None
        self._states.setdefault(record.target, TargetState(record.target))

    def remove(self, service_id: int) -> Record | None:
        """Remove an entry. Returns it; None if there is none."""
        record = self._records.pop(service_id, None)
        if record is None:
            return None
        for key in _keys(record):
            _discard(self._index, key, service_id)
        _count_down(self._owners, record.owner)
        if record.name is not None:
            _count_down(self._names[record.name], record.owner)
            if not self._names[record.name]:
                del self._names[record.name]
        _discard(self._at, record.target, service_id)
        if record.target not in self._at:
            del self._states[record.target]
        return record

    # --- targets ------------------------------------------------------------------------------------------------

    def state_of(self, target: Target) -> TargetState | None:
        """What is known of ``target``; None if no entry leads there any more."""
        return self._states.get(target)

    def at(self, target: Target) -> list[Record]:
        """The entries that lead to ``target`` and are checked."""
        return [record for service_id in self._at.get(target, ()) if (record := self._records[service_id]).is_checked]

    def due(self, before: float) -> list[Target]:
        """The targets of checked entries whose last check ended before this time, the longest ago first."""
        waiting = [state for state in self._states.values() if state.checked < before and self.at(state.target)]
        return [state.target for state in sorted(waiting, key=lambda state: state.checked)]


def _keys(record: Record) -> Iterable[object]:
    """What an entry is found by."""
    yield (record.owner, ANY_TYPE)
    yield (record.owner, record.target.type)
    for key, value in record.properties.items():
        yield (record.owner, key, value)


def _discard(sets: dict[KeyT, dict[int, None]], key: KeyT, member: int) -> None:
    members = sets[key]
    del members[member]
    if not members:
        del sets[key]


def _count_down(counts: Counter[bytes], owner: bytes) -> None:
    counts[owner] -= 1
    if not counts[owner]:
        del counts[owner]
