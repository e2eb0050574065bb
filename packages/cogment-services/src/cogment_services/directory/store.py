"""Entries on disk: what was answered survives the end of the process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from cogment_core.errors import CogmentError, UsageError
from cogment_core.logs import logger
from cogment_services.directory.older_file import read_older_file
from cogment_services.directory.records import Record, Target

__all__ = ["Store", "StoreError"]

T = TypeVar("T")

APPLICATION = 0x43474449
"""Marks a SQLite file as one of a Directory."""

VERSION = 1
"""Version of the tables."""

_SCHEMA = """
CREATE TABLE service (
    id INTEGER PRIMARY KEY, secret TEXT NOT NULL, owner BLOB NOT NULL, registered INTEGER NOT NULL,
    permanent INTEGER NOT NULL, protocol INTEGER NOT NULL, host TEXT NOT NULL, port INTEGER NOT NULL,
    type INTEGER NOT NULL, local INTEGER NOT NULL, properties TEXT NOT NULL
)
"""
_INSERT = f"INSERT OR REPLACE INTO service VALUES ({', '.join('?' * 11)})"
_MAGIC = b"SQLite format 3\0"


class StoreError(CogmentError):
    """Entries cannot be written."""


class Store:
    """The entries of one Directory in a SQLite file that nobody else may read, or use at the same time.

    A file of the Directory of Cogment 2 is taken over, and kept beside it; one that is damaged is put aside.

    Args:
        path: The file; None for no file, so that nothing is kept.
    """

    def __init__(self, path: str | os.PathLike[str] | None) -> None:
        self._path = None if path is None else Path(path)
        self._database: sqlite3.Connection | None = None
        # SQLite waits for the disk, and wants one thread at a time.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="directory-store")

    async def open(self) -> list[Record]:
        """Open the file, which is made if there is none. Returns what is in it, the oldest first.

        Raises:
            UsageError: The file cannot be used: it cannot be written, is of a newer version, or in use.
        """
        if self._path is None:
            return []
        try:
            return await self._run(self._open, self._path)
        except (OSError, sqlite3.Error) as error:
            raise UsageError(
                f"the Directory's file {str(self._path)!r} cannot be used: {error} (does another one use it?)"
            ) from error

    async def change(self, put: Iterable[Record] = (), remove: Iterable[int] = ()) -> None:
        """Write entries, new or changed, and remove others by number; all or nothing, and on disk when it returns.

        Raises:
            StoreError: It cannot be written.
        """
        if self._path is None:
            return
        try:
            await self._run(self._change, [_row(record) for record in put], [(number,) for number in remove])
        except sqlite3.Error as error:
            raise StoreError(f"the Directory cannot write its file: {error}") from error

    async def close(self) -> None:
        """Close the file. Closing twice is fine."""
        database, self._database = self._database, None
        if database is not None:
            await self._run(database.close)
        self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        # What has begun is carried through: a caller that is gone must not leave memory and disk at odds.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, work, *args))

    # --- in the thread ------------------------------------------------------------------------------------------

    def _open(self, path: Path) -> list[Record]:
        older = _put_aside(path)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        os.chmod(path, 0o600)
        self._database = _connect(path)
        if older:
            self._change([_row(record) for record in older], [])
        return [_record(row) for row in self._database.execute("SELECT * FROM service ORDER BY registered, id")]

    def _change(self, put: list[tuple[Any, ...]], remove: list[tuple[int]]) -> None:
        assert self._database is not None, "opened before it is changed"
        with self._database:
            self._database.executemany("DELETE FROM service WHERE id = ?", remove)
            self._database.executemany(_INSERT, put)


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=1.0, check_same_thread=False)
    try:
        _prepare(database)
    except BaseException:
        database.close()
        raise
    return database


def _prepare(database: sqlite3.Connection) -> None:
    database.execute("PRAGMA locking_mode = EXCLUSIVE")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    application = database.execute("PRAGMA application_id").fetchone()[0]
    version = database.execute("PRAGMA user_version").fetchone()[0]
    tables = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application not in (0, APPLICATION) or (application == 0 and tables):
        raise sqlite3.DatabaseError("it is a database of something else")
    if version > VERSION:
        raise sqlite3.DatabaseError(f"it was written by a newer version of Cogment (tables {version}, not {VERSION})")
    if version == 0:
        with database:
            database.execute("BEGIN EXCLUSIVE")
            database.execute(_SCHEMA)
            database.execute(f"PRAGMA application_id = {APPLICATION}")
            database.execute(f"PRAGMA user_version = {VERSION}")


def _put_aside(path: Path) -> list[Record]:
    """Make room for the database if something else has its name. Returns the entries of a file of Cogment 2."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        start = file.read(len(_MAGIC))
    if start == _MAGIC and _is_whole(path):
        return []
    if not start:  # an empty file is an empty Directory in both formats
        return []
    records = None if start == _MAGIC else read_older_file(path)
    beside = path.with_name(f"{path.name}.{'damaged' if records is None else 'older'}")
    path.replace(beside)
    beside.chmod(0o600)
    for suffix in ("-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + suffix).replace(beside.with_name(beside.name + suffix))
    if records is None:
        logger.warning("the Directory's file %s is damaged: it is now %s, and the Directory is empty", path, beside)
        return []
    logger.info("%d entries are taken over from the older file %s, which is now %s", len(records), path, beside)
    return records


def _is_whole(path: Path) -> bool:
    """Whether SQLite can read all of its file; that it is in use is no damage."""
    database = sqlite3.connect(path, timeout=1.0)
    try:
        return bool(database.execute("PRAGMA quick_check").fetchone()[0] == "ok")
    except sqlite3.OperationalError:
        return True  # opening it will tell what is in the way
    except sqlite3.DatabaseError:
        return False
    finally:
        database.close()


def _row(record: Record) -> tuple[Any, ...]:
    target = record.target
    endpoint = (target.protocol, target.host, target.port, target.type, target.local)
    properties = json.dumps(dict(record.properties), ensure_ascii=False)
    return (record.service_id, record.secret, record.owner, record.registered, record.permanent, *endpoint, properties)


def _record(row: tuple[Any, ...]) -> Record:
    service_id, secret, owner, registered, permanent, protocol, host, port, service_type, local, properties = row
    target = Target(protocol, host, port, service_type, bool(local))
    return Record(service_id, secret, owner, registered, bool(permanent), target, json.loads(properties))
