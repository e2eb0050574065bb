"""What the services of an Orchestrator say about themselves."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata

from cogment_core.api.common_pb2 import StatusReply, VersionInfo
from cogment_core.serving import status_reply, version_info

__all__ = ["status", "version"]


def version() -> VersionInfo:
    """Which version this is."""
    return version_info(cogment=metadata.version("cogment-services"))


def status(names: Iterable[str]) -> StatusReply:
    """The statuses that are asked for by name; Orchestrators are not chosen by their load, so that is always 0."""
    return status_reply(names, {"overall_load": lambda: 0})
