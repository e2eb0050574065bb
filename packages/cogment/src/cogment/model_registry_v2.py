"""Storing, publishing, retrieving and following models."""

from __future__ import annotations

from cogment_model_registry import (
    DamagedModelError,
    DeserializationError,
    LatestModel,
    ModelInfo,
    ModelIterationInfo,
    ModelRegistry,
)

__all__ = [
    "DamagedModelError",
    "DeserializationError",
    "LatestModel",
    "ModelInfo",
    "ModelIterationInfo",
    "ModelRegistry",
]
