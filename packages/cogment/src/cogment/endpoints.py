"""Where services are, and where to serve."""

from __future__ import annotations

from cogment_core.endpoints import Endpoint, ServedEndpoint

__all__ = ["Endpoint", "ServedEndpoint"]
