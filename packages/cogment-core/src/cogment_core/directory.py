"""The kinds of services that a Directory knows."""

from __future__ import annotations

from cogment_core.endpoints import ServiceType

__all__ = ["ServiceType"]
