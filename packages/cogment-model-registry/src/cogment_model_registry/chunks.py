"""The size of what travels, and reports of how far it is."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

from cogment_core.chunk_frames import Data
from cogment_model_registry.errors import DamagedModelError
from cogment_model_registry.infos import ModelIterationInfo

__all__ = ["CHUNK_SIZE", "STALL_TIMEOUT", "Checksum", "Progress"]

CHUNK_SIZE = 2 * 1024 * 1024
"""Bytes of data in one message: existing servers take up to 4 MiB."""

STALL_TIMEOUT = 30.0
"""Seconds that the transfer of one chunk may take, unless the caller says otherwise."""

Progress = Callable[[int, int], object]
"""Called as data is transferred, with the bytes so far and the bytes in all."""


class Checksum:
    """Size and SHA-256 of data that comes in pieces."""

    def __init__(self) -> None:
        self.size = 0
        self._digest = hashlib.sha256()

    def add(self, data: Data) -> None:
        """Count ``data`` in. Of large data, other threads may go on meanwhile."""
        self.size += len(data)
        self._digest.update(data)

    def verify(self, info: ModelIterationInfo, what: str) -> None:
        """Compare with what the Model Registry says.

        Raises:
            DamagedModelError: It differs.
        """
        if self.size != info.size:
            text = f"{info}: {what} {self.size} bytes, the Model Registry says {info.size}"
            raise DamagedModelError(text, model_name=info.model_name, iteration=info.iteration)
        digest = base64.b64encode(self._digest.digest()).decode()
        if info.hash and info.hash != digest:
            text = f"{info}: the SHA-256 of what was {what} is {digest}, the Model Registry says {info.hash}"
            raise DamagedModelError(text, model_name=info.model_name, iteration=info.iteration)
