"""What a server says about itself: its version, and how it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import metadata
from typing import Any

from cogment_core.api.common_pb2 import StatusReply, StatusRequest, VersionInfo, VersionRequest
from cogment_core.serving import status_reply, version_info

__all__ = ["StatusReporter"]


class StatusReporter:
    """A servicer's ``Version`` and ``Status``, which all services of the protocol have."""

    async def Version(self, request: VersionRequest, context: Any) -> VersionInfo:
        """Which version this is."""
        return version_info(cogment=metadata.version("cogment-services"))

    async def Status(self, request: StatusRequest, context: Any) -> StatusReply:
        """How the service is."""
        return status_reply(request.names, self._statuses())

    def _statuses(self) -> Mapping[str, Callable[[], object]]:
        """What ``Status`` can be asked for. Servers are not chosen by their load, so that is always 0."""
        return {"overall_load": lambda: 0}
