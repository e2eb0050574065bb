"""Store, publish and track models in a Cogment Model Registry.

Imports `cogment_core` only. A ModelRegistry comes from `connect`, given a Context; with the package ``cogment``
installed from ``Context.get_model_registry_v2``.
"""

from __future__ import annotations

from cogment_model_registry.chunks import CHUNK_SIZE, STALL_TIMEOUT, Progress
from cogment_model_registry.destinations import ModelDestination
from cogment_model_registry.errors import DamagedModelError, DeserializationError
from cogment_model_registry.infos import ModelInfo, ModelIterationInfo
from cogment_model_registry.latest import LatestModel
from cogment_model_registry.registry import ModelRegistry, connect
from cogment_model_registry.sources import ModelSource

__all__ = [
    "CHUNK_SIZE",
    "STALL_TIMEOUT",
    "DamagedModelError",
    "DeserializationError",
    "LatestModel",
    "ModelDestination",
    "ModelInfo",
    "ModelIterationInfo",
    "ModelRegistry",
    "ModelSource",
    "Progress",
    "connect",
]
