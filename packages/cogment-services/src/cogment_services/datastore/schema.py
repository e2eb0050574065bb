"""The tables of a datastore file.

They are made to be read with any SQLite tool, while the service runs as well::

    SELECT trial_id, samples_count, last_state, end_reason FROM trials JOIN trial_states ON trial = number;
    SELECT tick, state, special_events FROM samples WHERE trial = 1 ORDER BY id;

``params`` is a serialized ``cogmentAPI.TrialParams``, ``sample`` a serialized ``cogmentAPI.StoredTrialSample`` (see
``cogment/api/trial_datastore.proto``), whose user data and message payloads are serialized ``google.protobuf.Any``.
Lists are JSON, NULL when they are empty. Times are ns since 1970, states are the numbers of ``TrialState``.

The samples of a trial lie next to each other, in the order of their ticks: their key is the number of the trial and
the tick, in one. So a trial is read in one go, and its deletion frees whole pages. What samples say about their trial,
``trial_states``, is kept by triggers: it cannot differ from what is stored.
"""

from __future__ import annotations

import sqlite3

from cogment_services.datastore.store import StoreError

__all__ = ["APPLICATION_ID", "VERSION", "prepare"]

APPLICATION_ID = 0x436F6753
"""Tells our files from other SQLite files: "CogS"."""

_TABLES = """
CREATE TABLE trials (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    trial_id TEXT NOT NULL UNIQUE,
    user_id TEXT NOT NULL,
    created INTEGER NOT NULL,
    params BLOB NOT NULL,
    checksum INTEGER NOT NULL          -- CRC-32, see records.py
);
CREATE TABLE trial_properties (        -- as in params, to search for
    trial INTEGER NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (trial, name)
) WITHOUT ROWID;
CREATE INDEX properties_by_value ON trial_properties (name, value, trial);
CREATE TABLE trial_states (
    trial INTEGER PRIMARY KEY,
    samples_count INTEGER NOT NULL DEFAULT 0,
    last_tick INTEGER NOT NULL DEFAULT -1,
    last_state INTEGER NOT NULL DEFAULT 0,
    end_reason TEXT                    -- why it is over, when there is no sample of state ENDED
);
CREATE INDEX unfinished_trials ON trial_states (trial) WHERE end_reason IS NULL AND last_state <> 5;
CREATE TABLE samples (
    id INTEGER PRIMARY KEY,            -- trial * 4294967296 + tick
    trial INTEGER GENERATED ALWAYS AS (id >> 32) VIRTUAL,
    tick INTEGER GENERATED ALWAYS AS (id & 4294967295) VIRTUAL,
    timestamp INTEGER NOT NULL,
    state INTEGER NOT NULL,
    special_events TEXT,
    default_actors TEXT,
    unavailable_actors TEXT,
    checksum INTEGER NOT NULL,
    sample BLOB NOT NULL
);
CREATE TABLE late_rewards (            -- rewards for a sample that was there before; added to it when it is read
    trial INTEGER NOT NULL,
    tick INTEGER NOT NULL,
    digest BLOB NOT NULL,
    checksum INTEGER NOT NULL,
    sample BLOB NOT NULL,
    PRIMARY KEY (trial, tick, digest)
) WITHOUT ROWID;
CREATE TABLE deleted_trials (          -- whose samples are still being removed
    trial INTEGER PRIMARY KEY
);
CREATE TRIGGER trial_added AFTER INSERT ON trials BEGIN
    INSERT INTO trial_states (trial) VALUES (new.number);
END;
CREATE TRIGGER sample_added AFTER INSERT ON samples BEGIN
    UPDATE trial_states SET
        samples_count = samples_count + 1,
        last_state = CASE WHEN (new.id & 4294967295) > last_tick THEN new.state ELSE last_state END,
        last_tick = max(last_tick, new.id & 4294967295)
    WHERE trial = new.id >> 32;
END;
CREATE TRIGGER sample_replaced AFTER UPDATE OF sample ON samples BEGIN
    DELETE FROM late_rewards WHERE trial = new.id >> 32 AND tick = (new.id & 4294967295);
    UPDATE trial_states SET last_state = new.state
    WHERE trial = new.id >> 32 AND last_tick = (new.id & 4294967295);
END;
CREATE TRIGGER trial_removed AFTER DELETE ON trials BEGIN
    DELETE FROM trial_states WHERE trial = old.number;
    DELETE FROM trial_properties WHERE trial = old.number;
    INSERT INTO deleted_trials (trial) VALUES (old.number);
END;
"""

_MIGRATIONS = (_TABLES,)
"""The step at index i leads from version i to the next one. Never change one that was released: add another."""

VERSION = len(_MIGRATIONS)
"""The version of the tables above."""

OLDEST_SQLITE = (3, 31, 0)
"""The first SQLite with generated columns."""


def prepare(connection: sqlite3.Connection, path: str) -> None:
    """Make the tables of a new file, or bring those of an old one up to date.

    Raises:
        StoreError: The file is something else, or was written by a newer version.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old: 3.31 or later is needed")
    application_id, version = _pragma(connection, "application_id"), _pragma(connection, "user_version")
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application_id != APPLICATION_ID and (application_id or version or tables):
        raise StoreError(f"{path} is a SQLite file of something else, not a trial datastore")
    if version > VERSION:
        raise StoreError(
            f"{path} was written by a newer version: its tables have version {version}, this one knows {VERSION}"
        )
    if version == 0:
        _set_for_ever(connection)
    for number in range(version, VERSION):
        _migrate(connection, number)


def _set_for_ever(connection: sqlite3.Connection) -> None:
    """Choose what cannot be changed once there are tables."""
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")


def _migrate(connection: sqlite3.Connection, number: int) -> None:
    step = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {number + 1};"
    try:
        connection.executescript(f"BEGIN IMMEDIATE; {_MIGRATIONS[number]} {step} COMMIT;")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
