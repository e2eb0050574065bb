"""Pre-trial hooks: their sessions."""

from __future__ import annotations

from cogment_core.sessions.prehook import PrehookSession

__all__ = ["PrehookSession"]
