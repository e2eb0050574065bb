"""How a Model Registry is set up."""

from __future__ import annotations

from dataclasses import dataclass

from cogment_core.errors import UsageError

__all__ = ["Settings"]

MAX_CHUNK_SIZE = 32 * 1024 * 1024
"""Pieces of data have to be messages that clients take; ours take twice as much."""


@dataclass(frozen=True)
class Settings:
    """Bounds of a Model Registry.

    Raises:
        UsageError: One of them makes no sense.
    """

    cache_max_items: int = 100
    """How many transient versions are kept."""
    cache_max_bytes: int = 8 * 1024**3
    """How many bytes of transient versions are kept."""
    max_model_size: int = 2 * 1024**3
    """Most bytes of data of one version."""
    chunk_size: int = 2 * 1024**2
    """Bytes of data in one message to a client."""
    patience: float = 60.0
    """Seconds that a client may neither send the data of its upload nor take those of its download."""
    max_uploads: int = 256
    """How many uploads there may be at the same time."""
    max_downloads: int = 1_000
    """How many downloads there may be at the same time."""

    def __post_init__(self) -> None:
        for name in ("cache_max_items", "cache_max_bytes", "max_model_size", "chunk_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} has to be at least 1, not {getattr(self, name)}")
        if self.chunk_size > MAX_CHUNK_SIZE:
            raise UsageError(f"chunk_size can be {MAX_CHUNK_SIZE} at most, not {self.chunk_size}")
