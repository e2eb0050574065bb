"""Data on their way out, checked."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from io import BufferedReader
from typing import TypeVar

import grpc

from cogment_core.api.model_registry_pb2 import ModelVersionInfo
from cogment_services.refusals import Refusal

__all__ = ["DamagedError", "VersionReader", "describe"]

T = TypeVar("T")

_of_thread = threading.local()


class DamagedError(Refusal):
    """What is in a file is not what was stored in it.

    Args:
        message: Which data.
    """

    def __init__(self, message: str) -> None:
        super().__init__(grpc.StatusCode.DATA_LOSS, message)


class VersionReader:
    """The data of one version, piece by piece; all methods may block, and be called from any thread.

    The last piece is not given before the hash of all of them was found right: whoever has all the data has the right
    ones.
    """

    def __init__(self) -> None:
        self.left = 0
        """Bytes that are still to be read."""
        self._name = ""
        self._digest = b""
        self._file: BufferedReader | None = None
        self._closed = False
        self._hash = hashlib.sha256()
        self._lock = threading.Lock()  # who gives up does not know what is under way

    def attach(self, info: ModelVersionInfo, digest: bytes, file: BufferedReader) -> None:
        """Read from ``file`` from now on, which is closed with the reader.

        Args:
            info: The version.
            digest: The SHA-256 that its data should have.
            file: Its data.

        Raises:
            DamagedError: The file does not have the size that it should have.
        """
        with self._lock:
            if self._closed:
                file.close()
                return
            self._file = file
            self._name = describe(info)
            self._digest = digest
            self.left = int(info.data_size)
            if os.fstat(file.fileno()).st_size != self.left:
                raise self._damaged()

    def read(self, size: int, pack: Callable[[memoryview], T]) -> T:
        """What ``pack`` makes of the next ``size`` bytes, less only if there are no more.

        The bytes are in memory that the thread uses again: they are its own, and not new, each time.

        Raises:
            DamagedError: These are not the data that were stored.
        """
        with self._lock:
            if self._file is None or self._closed:
                return pack(memoryview(b""))
            wanted = min(size, self.left)
            data = _memory(wanted)
            got = self._file.readinto(data)
            self._hash.update(data)
            self.left -= got
            if got < wanted or (not self.left and self._hash.digest() != self._digest):
                raise self._damaged()
            return pack(data)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._closed = True
            if self._file is not None:
                self._file.close()

    def _damaged(self) -> DamagedError:
        return DamagedError(f"the stored data of {self._name} are damaged")


def _memory(size: int) -> memoryview:
    """Memory of this thread: to get new memory from the system each time costs as much as to read into it."""
    memory: bytearray | None = getattr(_of_thread, "memory", None)
    if memory is None or len(memory) < size:
        memory = _of_thread.memory = bytearray(size)
    return memoryview(memory)[:size]


def describe(info: ModelVersionInfo) -> str:
    """The name of a version, for people."""
    return f"version {info.version_number} of model {info.model_id!r}"
