"""Datalogs: their sessions, and the samples that they receive."""

from __future__ import annotations

from cogment_core.samples import LogParams, LogSample
from cogment_core.sessions.datalog import DatalogSession

__all__ = ["DatalogSession", "LogParams", "LogSample"]
