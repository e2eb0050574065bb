"""Data on their way in: files without a meaning until they are complete."""

from __future__ import annotations

import base64
import enum
import hashlib
import os
import secrets
import threading
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, cast

from cogment_core.chunk_frames import Data
from cogment_services.model_registry.blobs import make_directory, open_for_reading

__all__ = ["Scratch", "Upload"]

_PREFIX = "data-"

_HURRY = 8 * 1024**2
"""Bytes that are worth to be brought to the disk early."""


class Scratch:
    """The directory of files that mean nothing to the next process: uploads, and data of transient versions.

    Args:
        root: The directory; made if it is not there.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        make_directory(root)

    def new(self) -> Upload:
        """A new file, empty."""
        return Upload(self._root / f"{_PREFIX}{secrets.token_hex(16)}")

    def clear(self) -> int:
        """Remove what an earlier process left. Returns how many files there were."""
        left = [path for path in self._root.iterdir() if path.name.startswith(_PREFIX)]
        for path in left:
            path.unlink()
        return len(left)


class Upload:
    """One file that is written, by several threads in turn; all of its methods but the properties block.

    Args:
        path: The file; it is made when something is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        """Where the data are."""
        self.size = 0
        """Bytes written."""
        self._hash = hashlib.sha256()
        self._hurried = 0
        self._file: BinaryIO | None = None
        self._state = _State.OPEN
        self._lock = threading.Lock()  # who gives up does not know what is under way

    @property
    def digest(self) -> bytes:
        """The SHA-256 of what was written."""
        return self._hash.digest()

    @property
    def data_hash(self) -> str:
        """The same as it is written in messages: in base64."""
        return base64.b64encode(self.digest).decode()

    def write(self, data: Data, *, early: bool = False) -> None:
        """Append ``data``; nothing more is written to an upload that was discarded.

        Args:
            data: What to append.
            early: Whether the system is to begin to bring it to the disk, for `finish` to have less to wait for.
        """
        with self._lock:
            if self._state is not _State.OPEN:
                return
            file = self._opened()
            left = memoryview(data)
            while left:
                left = left[file.write(left) :]
            self._hash.update(data)
            self.size += len(data)
            if early:
                self._hurry(file)

    def finish(self, *, durable: bool) -> None:
        """No more is written. What is ``durable`` is still there after a power cut, once it was given a name."""
        with self._lock:
            if self._state is not _State.OPEN:
                return
            file = self._opened()
            if durable:
                os.fsync(file.fileno())
            self._close()

    def take(self) -> bool:
        """Become the one whom the file belongs to. Returns False if it was discarded."""
        with self._lock:
            if self._state is _State.OPEN:
                self._state = _State.TAKEN
            return self._state is _State.TAKEN

    def open(self) -> BufferedReader:
        """Open what was written for reading.

        Raises:
            FileNotFoundError: It was discarded, or moved.
        """
        return open_for_reading(self.path)

    def abandon(self) -> None:
        """Discard the file, unless somebody has taken it."""
        with self._lock:
            if self._state is _State.OPEN:
                self._remove()

    def discard(self) -> None:
        """Remove the file, if it is still where it was written."""
        with self._lock:
            self._remove()

    def _hurry(self, file: BinaryIO) -> None:
        # What is asked for is that the pages of written data are dropped. They are dirty: that begins to write them,
        # without waiting for it, and leaves them where they are.
        begin, length = self._hurried, self.size - self._hurried
        if length >= _HURRY and hasattr(os, "posix_fadvise"):
            self._hurried = self.size
            os.posix_fadvise(file.fileno(), begin, length, os.POSIX_FADV_DONTNEED)

    def _opened(self) -> BinaryIO:
        if self._file is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
            self._file = cast("BinaryIO", os.fdopen(os.open(self.path, flags, 0o640), "wb", buffering=0))
        return self._file

    def _close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _remove(self) -> None:
        self._state = _State.DISCARDED
        self._close()
        self.path.unlink(missing_ok=True)


class _State(enum.Enum):
    """Whom an upload belongs to."""

    OPEN = enum.auto()
    """To the one who writes it."""
    TAKEN = enum.auto()
    """To the store."""
    DISCARDED = enum.auto()
    """To nobody: there is no file."""
