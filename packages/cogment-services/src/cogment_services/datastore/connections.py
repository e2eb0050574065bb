"""Connections to a SQLite file."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable, Generator

from cogment_services.datastore.store import StoreError

__all__ = ["Connect", "Readers", "connect", "storage_errors", "tune"]

Connect = Callable[[str], sqlite3.Connection]
"""Opens a connection to a file; `connect` does."""

_PATIENCE = 10.0
"""Seconds that a statement waits for a lock; only tools that write to the file behind our back make it wait."""


def connect(path: str) -> sqlite3.Connection:
    """A connection that any one thread at a time can use, with transactions of our own."""
    return sqlite3.connect(
        path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False, cached_statements=256
    )


def tune(connection: sqlite3.Connection) -> None:
    """Choose durability over everything: what is committed is on the disk, whatever happens to the machine."""
    connection.text_factory = _text
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -8000")
    connection.execute("PRAGMA journal_size_limit = 33554432")


def _text(encoded: bytes) -> str:
    """Text that a disk has damaged is found by its checksum, not by an error of the decoder."""
    return encoded.decode(errors="surrogateescape")


@contextlib.contextmanager
def storage_errors(what: str) -> Generator[None, None, None]:
    """Errors of SQLite, and of the file system, become a `StoreError`."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"{what}: {error}") from error


class Readers:
    """Connections for reading, each lent to one thread at a time.

    Args:
        connect: Opens one.
        path: The file.
    """

    def __init__(self, connect: Connect, path: str) -> None:
        self._connect = connect
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._generation = 0

    @contextlib.contextmanager
    def lend(self) -> Generator[sqlite3.Connection, None, None]:
        """A connection, until the end of the block."""
        with self._lock:
            generation = self._generation
            connection = self._idle.pop() if self._idle else None
        is_new = connection is None
        if connection is None:
            connection = self._connect(self._path)
        try:
            if is_new:
                connection.text_factory = _text
                connection.execute("PRAGMA query_only = ON")
            yield connection
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if generation == self._generation:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close those that are not lent; the others when they come back."""
        with self._lock:
            idle, self._idle = self._idle, []
            self._generation += 1
        for connection in idle:
            connection.close()
