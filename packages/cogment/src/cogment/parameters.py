"""The parameters of trials and of their actors."""

from __future__ import annotations

from cogment_core.parameters import ActorParameters, TrialParameters

__all__ = ["ActorParameters", "TrialParameters"]
