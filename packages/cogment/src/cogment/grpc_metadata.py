"""The metadata that goes with calls."""

from __future__ import annotations

from cogment_core.metadata import GrpcMetadata

__all__ = ["GrpcMetadata"]
