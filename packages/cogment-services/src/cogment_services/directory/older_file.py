"""The file of the Directory of Cogment 2: a JSON object of all entries, by number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cogment_core.api.directory_pb2 import ServiceEndpoint, ServiceType
from cogment_services.directory.records import Record, Target
from cogment_services.directory.tokens import digest

__all__ = ["read_older_file"]


def read_older_file(path: Path) -> list[Record] | None:
    """The entries in this file; None if it is damaged, or something else."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return [_record(int(number), entry) for number, entry in entries.items()]
    except (AttributeError, KeyError, OverflowError, RecursionError, TypeError, ValueError):
        return None


def _record(number: int, entry: dict[str, Any]) -> Record:
    if not 0 < number < 1 << 63:
        raise ValueError("not a number of a service")
    properties: dict[Any, Any] = entry["Details"].get("properties") or {}
    return Record(
        service_id=number,
        secret=str(entry["Secret"]),
        owner=digest(str(entry.get("AuthenticationToken", ""))),
        registered=int(entry["RegisterTimestamp"]),
        permanent=bool(entry.get("Permanent", False)),
        target=_target(entry["Endpoint"], entry["Details"]),
        properties={str(key): str(value) for key, value in properties.items()},
    )


def _target(endpoint: dict[str, Any], details: dict[str, Any]) -> Target:
    protocol, service_type = endpoint.get("protocol", 0), details.get("type", 0)
    return Target(
        protocol=ServiceEndpoint.Protocol.ValueType(
            ServiceEndpoint.Protocol.Value(protocol) if isinstance(protocol, str) else int(protocol)
        ),
        host=str(endpoint["host"]),
        port=int(endpoint.get("port", 0)),
        type=ServiceType.ValueType(
            ServiceType.Value(service_type) if isinstance(service_type, str) else int(service_type)
        ),
        # Who registered it is not known: it counts as one of this machine, as it did for the older Directory.
        local=True,
    )
