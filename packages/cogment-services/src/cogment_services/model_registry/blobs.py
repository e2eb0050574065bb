"""Stored data: files that are named by the SHA-256 of what is in them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from io import BufferedReader
from pathlib import Path

__all__ = ["Blobs", "make_directory", "open_for_reading", "sync_directory"]

_NAME = re.compile(r"[0-9a-f]{64}", re.ASCII)
_FOLDER = re.compile(r"[0-9a-f]{2}", re.ASCII)


class Blobs:
    """A directory of such files. What is there twice is stored once.

    Args:
        root: The directory; made if it is not there.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        make_directory(root)

    def path(self, digest: bytes) -> Path:
        """Where data with this SHA-256 are."""
        name = digest.hex()
        return self._root / name[:2] / name

    def place(self, file: Path, digest: bytes) -> None:
        """Move ``file``, whose content was synced to the disk, to its place; for good when this returns.

        What is there already is replaced: it should be the same, and if it was damaged it is whole again.
        """
        target = self.path(digest)
        make_directory(target.parent)
        os.replace(file, target)
        sync_directory(target.parent)

    def open(self, digest: bytes) -> BufferedReader:
        """Open for reading.

        Raises:
            FileNotFoundError: There is no such file.
        """
        return open_for_reading(self.path(digest))

    def remove(self, digest: bytes) -> None:
        """Remove a file, if it is there."""
        self.path(digest).unlink(missing_ok=True)

    def sweep(self, is_used: Callable[[bytes], bool]) -> int:
        """Remove the files that are not used: left by a process that was killed. Returns how many there were.

        Only what is named like a blob is touched, and links are not followed.
        """
        removed = 0
        for folder in sorted(self._root.iterdir()):
            if folder.is_symlink() or not folder.is_dir() or not _FOLDER.fullmatch(folder.name):
                continue
            for file in sorted(folder.iterdir()):
                if _NAME.fullmatch(file.name) and not is_used(bytes.fromhex(file.name)):
                    file.unlink()
                    removed += 1
        return removed


def make_directory(path: Path) -> None:
    """Make a directory that is still there after a power cut, if it is not there yet."""
    if not path.is_dir():
        path.mkdir(mode=0o750, parents=True, exist_ok=True)
        sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make sure that what was renamed or made in a directory is still there after a power cut."""
    if os.name == "nt":  # has no such thing
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_for_reading(path: Path) -> BufferedReader:
    """Open a file of ours, never what a link leads to."""
    return os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)), "rb")
