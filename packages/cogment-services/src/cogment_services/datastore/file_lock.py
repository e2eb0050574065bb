"""A lock that keeps other processes from a file, and is gone with the process that has it, however that ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cogment_services.datastore.store import StoreError

__all__ = ["FileLock"]


class FileLock:
    """Holds the lock of a file, by a second file beside it: SQLite has locks of its own on the first.

    Args:
        path: The file.

    Raises:
        StoreError: Another process has it, or the second file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        beside = path.with_name(f"{path.name}.lock")
        try:
            self._descriptor = os.open(beside, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(f"{beside} cannot be written: {error.strerror}") from error
        try:
            _lock(self._descriptor)
        except OSError as error:
            os.close(self._descriptor)
            raise StoreError(f"{path} is in use by another datastore: stop that one, or use another file") from error

    def release(self) -> None:
        """Let others have the file."""
        os.close(self._descriptor)


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
