"""Names and numbers: the SQLite database of a registry.

Every change is on the disk before it is answered. One process has the database at a time, and one thread in it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cogment_core.api.model_registry_pb2 import ModelInfo, ModelVersionInfo
from cogment_core.errors import UsageError

__all__ = ["Database", "Model"]

SCHEMA_VERSION = 1

_SCHEMA = """
CREATE TABLE models (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    info BLOB NOT NULL,  -- ModelInfo
    latest INTEGER NOT NULL DEFAULT 0  -- the number that was given last, whether there still is that version or not
);
CREATE TABLE versions (
    model INTEGER NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    hash BLOB NOT NULL,  -- SHA-256 of the data
    info BLOB NOT NULL,  -- ModelVersionInfo
    PRIMARY KEY (model, number)
) WITHOUT ROWID;
CREATE INDEX versions_by_hash ON versions (hash);
CREATE TABLE imported (name TEXT PRIMARY KEY) WITHOUT ROWID;
"""


class Model(NamedTuple):
    """A row of the table of models."""

    key: int
    """What it is known by within the database; never used for another one."""
    latest: int
    """The number of a version that was given last; 0 if none was."""


class Database:
    """The database at ``path``, made if it is not there.

    Args:
        path: The file.

    Raises:
        UsageError: Another process has it, or it is no database that this program knows.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = sqlite3.connect(path, timeout=0.0, isolation_level=None)
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            self._connection.close()
            if "locked" in str(error):
                raise UsageError(f"the models in {str(path.parent)!r} are in use by another server") from error
            raise UsageError(f"{str(path)!r} cannot be used: {error}") from error
        except BaseException:
            self._connection.close()
            raise

    def _prepare(self) -> None:
        # The lock is taken with the next statement, and held until the connection is closed or the process dies.
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self._connection.execute(f"PRAGMA {pragma}")
        with self.transaction():
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version == 0:
                for statement in _SCHEMA.split(";\n"):
                    self._connection.execute(statement)
                self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif version != SCHEMA_VERSION:
                raise UsageError(
                    f"{str(self._path)!r} was written by another release of this program "
                    f"(its format is {version}, this release knows {SCHEMA_VERSION})"
                )

    @contextmanager
    def transaction(self) -> Generator[None, None, None]:
        """All changes within it are made, or none; when it ends, they are on the disk."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # some failures have ended it
                self._connection.execute("ROLLBACK")
            raise

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    # --- models -------------------------------------------------------------------------------------------------

    def model(self, name: str) -> Model | None:
        """The model called ``name``, None if there is none."""
        row = self._connection.execute("SELECT id, latest FROM models WHERE name = ?", (name,)).fetchone()
        return None if row is None else Model(*row)

    def model_info(self, name: str) -> ModelInfo | None:
        """What was written on the model called ``name``, None if there is none."""
        row = self._connection.execute("SELECT info FROM models WHERE name = ?", (name,)).fetchone()
        return None if row is None else ModelInfo.FromString(row[0])

    def model_infos(self, offset: int, limit: int) -> Iterator[ModelInfo]:
        """All models, by name."""
        query = "SELECT info FROM models ORDER BY name LIMIT ? OFFSET ?"
        for (info,) in self._connection.execute(query, (limit, offset)):
            yield ModelInfo.FromString(info)

    def put_model(self, info: ModelInfo) -> None:
        """Make a model, or replace what is written on it."""
        self._connection.execute(
            "INSERT INTO models (name, info) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET info = excluded.info",
            (info.model_id, info.SerializeToString()),
        )

    def set_latest(self, key: int, number: int) -> None:
        """Note that ``number`` was given to a version of a model, and will not be given again."""
        self._connection.execute("UPDATE models SET latest = ? WHERE id = ?", (number, key))

    def delete_model(self, key: int) -> None:
        """Remove a model and its versions."""
        self._connection.execute("DELETE FROM models WHERE id = ?", (key,))

    # --- versions -----------------------------------------------------------------------------------------------

    def put_version(self, key: int, info: ModelVersionInfo, digest: bytes) -> None:
        """Add a version to a model."""
        self._connection.execute(
            "INSERT INTO versions (model, number, hash, info) VALUES (?, ?, ?, ?)",
            (key, info.version_number, digest, info.SerializeToString()),
        )

    def version(self, key: int, number: int) -> tuple[ModelVersionInfo, bytes] | None:
        """A version and the SHA-256 of its data, None if there is no such version."""
        query = "SELECT info, hash FROM versions WHERE model = ? AND number = ?"
        row = self._connection.execute(query, (key, number)).fetchone()
        return None if row is None else (ModelVersionInfo.FromString(row[0]), row[1])

    def versions(self, key: int, start: int) -> Iterator[ModelVersionInfo]:
        """The versions of a model from number ``start`` on, in their order."""
        query = "SELECT info FROM versions WHERE model = ? AND number >= ? ORDER BY number"
        for (info,) in self._connection.execute(query, (key, start)):
            yield ModelVersionInfo.FromString(info)

    def newest(self, key: int) -> int:
        """The highest number of a version that there is; 0 if there is none."""
        (number,) = self._connection.execute("SELECT MAX(number) FROM versions WHERE model = ?", (key,)).fetchone()
        return int(number or 0)

    # --- data ---------------------------------------------------------------------------------------------------

    def hashes(self, key: int) -> set[bytes]:
        """The hashes of the data of a model's versions."""
        return {row[0] for row in self._connection.execute("SELECT hash FROM versions WHERE model = ?", (key,))}

    def uses(self, digest: bytes) -> bool:
        """Whether there is a version with these data."""
        query = "SELECT 1 FROM versions WHERE hash = ? LIMIT 1"
        return self._connection.execute(query, (digest,)).fetchone() is not None

    # --- archives of other registries ---------------------------------------------------------------------------

    def note_import(self, name: str) -> None:
        """Remember that the model called ``name`` was taken over from elsewhere."""
        self._connection.execute("INSERT OR IGNORE INTO imported (name) VALUES (?)", (name,))

    def was_imported(self, name: str) -> bool:
        """Whether the model called ``name`` was taken over before."""
        return self._connection.execute("SELECT 1 FROM imported WHERE name = ?", (name,)).fetchone() is not None
