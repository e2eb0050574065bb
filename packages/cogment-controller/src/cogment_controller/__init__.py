"""Start, watch and end Cogment trials.

Imports `cogment_core` only. A Controller comes from `connect`, given a Context; with the package ``cogment`` installed
from ``Context.get_controller``.
"""

from __future__ import annotations

from cogment_controller.controller import START_TIMEOUT, Controller, connect
from cogment_controller.trial_info import TrialInfo

__all__ = ["START_TIMEOUT", "Controller", "TrialInfo", "connect"]
