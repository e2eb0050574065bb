"""Starting, watching and ending trials."""

from __future__ import annotations

from cogment_controller import Controller, TrialInfo
from cogment_core.enums import TrialState

__all__ = ["Controller", "TrialInfo", "TrialState"]
