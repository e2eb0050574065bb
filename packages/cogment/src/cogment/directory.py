"""The client of a Directory, and the kinds of services that it knows."""

from __future__ import annotations

from cogment_core.directory import Directory, DirectoryEntry, ServiceType

__all__ = ["Directory", "DirectoryEntry", "ServiceType"]
