"""Logging."""

from __future__ import annotations

from cogment_core.logs import logger, make_logger

__all__ = ["logger", "make_logger"]
