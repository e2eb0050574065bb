"""Environments: their sessions."""

from __future__ import annotations

from cogment_core.sessions.environment import EnvironmentSession

__all__ = ["EnvironmentSession"]
