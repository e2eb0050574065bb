"""What a Model Registry says about models and their iterations."""

from __future__ import annotations

from dataclasses import dataclass, field

from cogment_core.api import model_registry_pb2

__all__ = ["ModelInfo", "ModelIterationInfo"]


@dataclass(frozen=True)
class ModelInfo:
    """A model, independent of its iterations."""

    name: str
    """The model."""

    properties: dict[str, str] = field(default_factory=dict[str, str], hash=False)
    """Free labels of the model."""

    @classmethod
    def from_proto(cls, info: model_registry_pb2.ModelInfo) -> ModelInfo:
        """What ``info`` says."""
        return cls(info.model_id, dict(info.user_data))


@dataclass(frozen=True)
class ModelIterationInfo:
    """One iteration of a model."""

    model_name: str
    """The model."""

    iteration: int
    """Number of the iteration: the first one is 1."""

    timestamp: int
    """When it came to the Model Registry, in nanoseconds since the Unix epoch."""

    hash: str
    """SHA-256 of the data, in base64; empty if the Model Registry does not say."""

    size: int
    """Bytes of data."""

    stored: bool
    """Whether it is kept until the model is removed; otherwise it is transient."""

    properties: dict[str, str] = field(default_factory=dict[str, str], hash=False)
    """Free labels of the iteration."""

    @classmethod
    def from_proto(cls, info: model_registry_pb2.ModelVersionInfo) -> ModelIterationInfo:
        """What ``info`` says."""
        return cls(
            model_name=info.model_id,
            iteration=info.version_number,
            timestamp=info.creation_timestamp,
            hash=info.data_hash,
            size=info.data_size,
            stored=info.archived,
            properties=dict(info.user_data),
        )

    def __str__(self) -> str:
        return f"iteration {self.iteration} of model {self.model_name!r}"
