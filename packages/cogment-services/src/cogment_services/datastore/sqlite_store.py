"""Trials and samples in a SQLite file.

The tables are in `cogment_services.datastore.schema`. What is committed has been written to the disk (write-ahead log,
full synchronisation): it survives the end of the process and of the machine.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Generator, Sequence
from pathlib import Path

from cogment_services.datastore import schema
from cogment_services.datastore.connections import Connect, Readers, connect, storage_errors, tune
from cogment_services.datastore.file_lock import FileLock
from cogment_services.datastore.reading import count_missing, find_trials, read_samples
from cogment_services.datastore.records import late_row, sample_id, sample_row, trial_checksum
from cogment_services.datastore.store import (
    MAX_LATE_BYTES,
    Change,
    DeleteTrials,
    EndTrial,
    LateReward,
    NewSample,
    PutTrial,
    SamplePage,
    StoreError,
    TooLateError,
    TrialGoneError,
    TrialPage,
    TrialQuery,
)

__all__ = ["SqliteStore"]

ROWS_PER_STATEMENT = 100
"""Samples that one statement inserts: the lock of the interpreter changes hands at each statement."""

TIDY_SAMPLES = 2000
"""Samples of deleted trials that are removed at a time."""

TIDY_PAGES = 2000
"""Free pages that are given back to the file system at a time."""

_COLUMNS = "id, timestamp, state, special_events, default_actors, unavailable_actors, sample, checksum"

_REPLACE = "DO UPDATE SET " + ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS.split(", ")[1:])

_ON_CONFLICT = {
    False: f"{_REPLACE} WHERE samples.checksum <> excluded.checksum OR samples.sample <> excluded.sample",
    True: _REPLACE,
}


class SqliteStore:
    """A `Store` in a file, which no other process may use as one at the same time.

    Args:
        path: The file; it is made, with its folder, if it is not there.
        connect: Opens connections to it.
    """

    def __init__(self, path: str | Path, connect: Connect = connect) -> None:
        self._path = Path(path).absolute()
        self._connect = connect
        self._lock: FileLock | None = None
        self._writer: sqlite3.Connection | None = None
        self._readers = Readers(connect, str(self._path))

    # --- life ---------------------------------------------------------------------------------------------------

    def open(self) -> Sequence[int]:
        """See `Store`."""
        with storage_errors(f"{self._path} cannot be used"):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._path = self._path.resolve()
            self._readers = Readers(self._connect, str(self._path))
            self._lock = FileLock(self._path)
            try:
                self._writer = self._open_writer()
                unfinished = "SELECT trial FROM trial_states WHERE end_reason IS NULL AND last_state <> 5"
                return [number for (number,) in self._writer.execute(unfinished)]
            except BaseException:
                self.close()
                raise

    def _open_writer(self) -> sqlite3.Connection:
        connection = self._connect(str(self._path))
        try:
            schema.prepare(connection, str(self._path))
            tune(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def recover(self) -> None:
        """See `Store`.

        What a failed synchronisation has left in the log is not trusted: all of it is written to the file, and
        synchronised there, before anything is added.
        """
        self._drop_connections()
        with storage_errors(f"{self._path} cannot be used"):
            connection = self._open_writer()
            try:
                busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
                if busy:
                    raise StoreError(f"{self._path} cannot be used: a reader keeps its log busy")
                connection.execute("BEGIN IMMEDIATE")
                connection.execute(f"PRAGMA user_version = {schema.VERSION}")  # writes a page, changes nothing
                connection.execute("COMMIT")
            except BaseException:
                connection.close()
                raise
        self._writer = connection

    def close(self) -> None:
        """See `Store`."""
        self._drop_connections()
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _drop_connections(self) -> None:
        self._readers.close()
        if self._writer is not None:
            with contextlib.suppress(sqlite3.Error):  # it failed before; nothing is lost that was promised
                self._writer.close()
            self._writer = None

    @property
    def size(self) -> int:
        """Bytes of the file and its log."""
        files = (self._path, self._path.with_name(f"{self._path.name}-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    # --- writing ------------------------------------------------------------------------------------------------

    def commit(self, changes: Sequence[Change]) -> Sequence[object]:
        """See `Store`."""
        with storage_errors(f"{self._path} cannot be written"), self._transaction() as connection:
            return _apply(connection, changes)

    @contextlib.contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection, None, None]:
        connection = self._writer
        if connection is None:
            raise StoreError(f"{self._path} is not open for writing")
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            self._drop_connections()
            raise

    def tidy(self) -> bool:
        """See `Store`."""
        with storage_errors(f"{self._path} cannot be written"):
            with self._transaction() as connection:
                found = connection.execute("SELECT min(trial) FROM deleted_trials").fetchone()[0]
                if found is not None:
                    _remove_samples(connection, found)
                    return True
            assert self._writer is not None
            return _give_back(self._writer)

    # --- reading ------------------------------------------------------------------------------------------------

    def find(self, query: TrialQuery) -> TrialPage:
        """See `Store`."""
        with storage_errors(f"{self._path} cannot be read"), self._readers.lend() as connection:
            return find_trials(connection, query)

    def read(self, trial: int, after: int) -> SamplePage:
        """See `Store`."""
        with storage_errors(f"{self._path} cannot be read"), self._readers.lend() as connection:
            return read_samples(connection, trial, after)

    def missing(self, trial: int) -> int:
        """See `Store`."""
        with storage_errors(f"{self._path} cannot be read"), self._readers.lend() as connection:
            return count_missing(connection, trial)


def _apply(connection: sqlite3.Connection, changes: Sequence[Change]) -> list[object]:
    outcomes: list[object] = []
    samples: list[NewSample] = []
    trials = _KnownTrials(connection)
    for change in changes:
        if isinstance(change, NewSample):
            if samples and samples[-1].replaces != change.replaces:
                _insert(connection, samples)
            if change.trial in trials:
                samples.append(change)
                outcomes.append(None)
            else:
                outcomes.append(_gone(change.trial))
            continue
        _insert(connection, samples)
        outcomes.append(_apply_other(connection, change, trials))
    _insert(connection, samples)
    return outcomes


def _apply_other(
    connection: sqlite3.Connection, change: PutTrial | LateReward | EndTrial | DeleteTrials, trials: _KnownTrials
) -> object:
    if isinstance(change, PutTrial):
        return _put_trial(connection, change)
    if isinstance(change, DeleteTrials):
        trials.forget()
        return _delete_trials(connection, change.trial_ids)
    if change.trial not in trials:
        return _gone(change.trial)
    if isinstance(change, LateReward):
        return _add_late(connection, change)
    connection.execute(
        "UPDATE trial_states SET end_reason = ?1 "
        "WHERE trial = ?2 AND last_state <> 5 AND (end_reason IS NULL OR ?1 IS NULL)",
        (change.reason, change.trial),
    )
    return None


def _add_late(connection: sqlite3.Connection, change: LateReward) -> StoreError | None:
    size, is_there = connection.execute(
        "SELECT total(length(sample)), total(digest = ?) FROM late_rewards WHERE trial = ? AND tick = ?",
        (change.digest, change.trial, change.tick),
    ).fetchone()
    if is_there:
        return None
    if size + change.size > MAX_LATE_BYTES:
        return TooLateError(change.tick)
    connection.execute(
        "INSERT INTO late_rewards (trial, tick, digest, sample, checksum) VALUES (?, ?, ?, ?, ?)", late_row(change)
    )
    return None


class _KnownTrials:
    """The numbers of the trials that there are, each looked up once."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: set[int] = set()

    def __contains__(self, number: int) -> bool:
        if number not in self._known:
            if self._connection.execute("SELECT 1 FROM trials WHERE number = ?", (number,)).fetchone() is None:
                return False
            self._known.add(number)
        return True

    def forget(self) -> None:
        """Some are not there any more."""
        self._known.clear()


def _gone(trial: int) -> TrialGoneError:
    return TrialGoneError(f"trial number {trial} was deleted")


def _insert(connection: sqlite3.Connection, samples: list[NewSample]) -> None:
    """Insert ``samples``, which all replace others or do not, and clear the list."""
    for first in range(0, len(samples), ROWS_PER_STATEMENT):
        part = samples[first : first + ROWS_PER_STATEMENT]
        values = [value for sample in part for value in sample_row(sample)]
        connection.execute(_insertion(len(part), part[0].replaces), values)
    samples.clear()


def _insertion(count: int, replaces: bool) -> str:
    rows = ",".join(["(?,?,?,?,?,?,?,?)"] * count)
    return f"INSERT INTO samples ({_COLUMNS}) VALUES {rows} ON CONFLICT (id) {_ON_CONFLICT[replaces]}"


def _put_trial(connection: sqlite3.Connection, change: PutTrial) -> int:
    found = connection.execute("SELECT number FROM trials WHERE trial_id = ?", (change.trial_id,)).fetchone()
    if found is None:
        insertion = "INSERT INTO trials (trial_id, user_id, created, params, checksum) VALUES (?, ?, ?, ?, 0)"
        values = (change.trial_id, change.user_id, time.time_ns(), change.params)
        number = int(connection.execute(insertion, values).lastrowid or 0)
    else:
        number = int(found[0])
        connection.execute("DELETE FROM trial_properties WHERE trial = ?", (number,))
        connection.execute("UPDATE trial_states SET end_reason = NULL WHERE trial = ?", (number,))
    connection.execute(
        "UPDATE trials SET user_id = ?, params = ?, checksum = ? WHERE number = ?",
        (
            change.user_id,
            change.params,
            trial_checksum(number, change.trial_id, change.user_id, change.params),
            number,
        ),
    )
    connection.executemany(
        "INSERT INTO trial_properties (trial, name, value) VALUES (?, ?, ?)",
        [(number, name, value) for name, value in change.properties.items()],
    )
    return number


def _delete_trials(connection: sqlite3.Connection, trial_ids: Sequence[str]) -> list[int]:
    """Make trials unknown; `_remove_samples` does the long work later."""
    numbers: list[int] = []
    for trial_id in trial_ids:
        found = connection.execute("SELECT number FROM trials WHERE trial_id = ?", (trial_id,)).fetchone()
        if found is not None:
            connection.execute("DELETE FROM trials WHERE number = ?", found)
            numbers.append(int(found[0]))
    return numbers


def _remove_samples(connection: sqlite3.Connection, trial: int) -> None:
    """Remove some samples of a deleted trial, and the note that there are some when there are none."""
    first, last = sample_id(trial, 0), sample_id(trial + 1, 0) - 1
    removed = connection.execute(
        "DELETE FROM samples WHERE id IN (SELECT id FROM samples WHERE id BETWEEN ? AND ? LIMIT ?)",
        (first, last, TIDY_SAMPLES),
    ).rowcount
    if removed < TIDY_SAMPLES:
        connection.execute("DELETE FROM late_rewards WHERE trial = ?", (trial,))
        connection.execute("DELETE FROM deleted_trials WHERE trial = ?", (trial,))


def _give_back(connection: sqlite3.Connection) -> bool:
    """Give some free pages back to the file system. Returns whether there are more."""
    free = int(connection.execute("PRAGMA freelist_count").fetchone()[0])
    if free:
        # As a script: execute() stops after the first page.
        connection.executescript(f"PRAGMA incremental_vacuum({TIDY_PAGES})")
        if free <= TIDY_PAGES:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    return free > TIDY_PAGES
