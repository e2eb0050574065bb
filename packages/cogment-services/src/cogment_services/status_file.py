"""A file, or a pipe, that tells tooling how far a server is: one letter for each state is appended."""

from __future__ import annotations

import asyncio
import enum
import errno
import os
from pathlib import Path

from cogment_core.errors import UsageError

__all__ = ["ServerState", "StatusFile"]

PIPE_PATIENCE = 5.0
"""Seconds that a named pipe may have no reader."""


class ServerState(enum.Enum):
    """How far a server is; the values are the letters in the file."""

    INITIALIZING = "I"
    """It starts up."""
    READY = "R"
    """It listens."""
    TERMINATED = "T"
    """It has stopped."""


class StatusFile:
    """The status file of one server.

    Args:
        path: The file, appended to and made if it is not there; None for no file.
    """

    def __init__(self, path: str | Path | None) -> None:
        self._path = path

    async def write(self, state: ServerState, *, patience: float | None = None) -> None:
        """Append the letter of ``state``.

        Args:
            state: How far the server is.
            patience: Seconds that a pipe may have no reader; None for `PIPE_PATIENCE`.

        Raises:
            UsageError: It cannot be written, or is a pipe that nobody reads.
        """
        if self._path is None:
            return
        try:
            descriptor = await _open(self._path, PIPE_PATIENCE if patience is None else patience)
            try:
                os.write(descriptor, state.value.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            text = f"the status file {str(self._path)!r} cannot be written: {error.strerror}"
            raise UsageError(text) from error


async def _open(path: str | Path, patience: float) -> int:
    """Open for appending. A pipe can only be opened once somebody reads it: try for a while."""
    give_up = asyncio.get_running_loop().time() + patience
    while True:
        try:
            # A pipe without O_NONBLOCK would stop the process until somebody reads; Windows has neither.
            return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0), 0o644)
        except OSError as error:
            if error.errno != errno.ENXIO or asyncio.get_running_loop().time() >= give_up:
                raise
        await asyncio.sleep(0.02)
