"""Finding trials, and reading samples, in a SQLite file."""

from __future__ import annotations

import contextlib
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from cogment_core.api.common_pb2 import ENDED
from cogment_services.datastore.conversion import merge_late
from cogment_services.datastore.records import (
    TICK_BITS,
    late_is_intact,
    sample_id,
    sample_is_intact,
    trial_checksum,
)
from cogment_services.datastore.store import (
    SamplePage,
    TrialGoneError,
    TrialPage,
    TrialQuery,
    TrialRecord,
)

__all__ = ["PAGE_BYTES", "PAGE_SAMPLES", "count_missing", "find_trials", "read_samples"]

PAGE_SAMPLES = 256
"""Most samples that are read at a time."""

PAGE_BYTES = 1 << 20
"""Bytes of samples that are read at a time; the last one may go beyond."""

_IDS = 500
"""Trial ids that one statement takes."""

_TRIALS = """
SELECT number, trial_id, user_id, params, samples_count, last_state, end_reason, checksum
FROM trials JOIN trial_states ON trial = number
WHERE number > ?
"""

_SAMPLES = """
SELECT id, timestamp, state, special_events, default_actors, unavailable_actors, sample, checksum
FROM samples WHERE id > ? AND id < ? ORDER BY id LIMIT ?
"""

_LATE = """
SELECT trial, tick, digest, sample, checksum FROM late_rewards
WHERE trial = ? AND tick > ? AND tick <= ? ORDER BY tick
"""


# --- trials -----------------------------------------------------------------------------------------------------------


def find_trials(connection: sqlite3.Connection, query: TrialQuery) -> TrialPage:
    """See `cogment_services.datastore.store.Store.find`."""
    if not query.trial_ids:
        with contextlib.closing(connection.execute(*_statement(query, ()))) as cursor:
            return _page(cursor, query)
    ids = list(dict.fromkeys(query.trial_ids))
    found: list[tuple[Any, ...]] = []
    for first in range(0, len(ids), _IDS):
        found += connection.execute(*_statement(query, ids[first : first + _IDS]))
    found.sort(key=lambda row: row[0])
    return _page(found, query)


def _statement(query: TrialQuery, ids: Sequence[str]) -> tuple[str, list[Any]]:
    conditions = [_TRIALS]
    values: list[Any] = [query.after]
    if ids:
        conditions.append(f"AND trial_id IN ({','.join('?' * len(ids))})")
        values += ids
    for name, value in query.properties.items():
        wanted = "SELECT trial FROM trial_properties WHERE name = ? AND value = ?"
        conditions.append(f"AND number IN ({wanted})")
        values += (name, value)
    return f"{' '.join(conditions)} ORDER BY number", values


def _page(rows: Any, query: TrialQuery) -> TrialPage:
    trials: list[TrialRecord] = []
    damaged: list[str] = []
    size = 0
    for number, trial_id, user_id, params, count, state, reason, checksum in rows:
        if query.count and len(trials) >= query.count:
            return TrialPage(trials, True, damaged)
        if trial_checksum(number, trial_id, user_id, params) != checksum:
            damaged.append(trial_id.encode(errors="backslashreplace").decode())
            continue
        size += len(params)
        if trials and size > query.max_bytes:
            return TrialPage(trials, True, damaged)
        trials.append(TrialRecord(number, trial_id, user_id, params, count, state, reason))
    return TrialPage(trials, False, damaged)


# --- samples ----------------------------------------------------------------------------------------------------------


def read_samples(connection: sqlite3.Connection, trial: int, after: int) -> SamplePage:
    """See `cogment_services.datastore.store.Store.read`."""
    found = connection.execute(
        "SELECT samples_count, last_state, end_reason FROM trial_states WHERE trial = ?", (trial,)
    ).fetchone()
    if found is None:
        raise TrialGoneError(f"trial number {trial} was deleted")
    count, state, reason = found
    page = SamplePage(last=after, over=state == ENDED or reason is not None, expected=count)
    rows = _rows(connection, trial, page)
    if rows:
        late = _late(connection, trial, after, page)
        for row in rows:
            if _tick(row) <= page.last:
                _add(page, row, late)
    return page


def count_missing(connection: sqlite3.Connection, trial: int) -> int:
    """See `cogment_services.datastore.store.Store.missing`."""
    # In one statement, so that nothing is added between the two numbers.
    found = connection.execute(
        "SELECT samples_count - (SELECT count(*) FROM samples WHERE id >= ? AND id < ?) "
        "FROM trial_states WHERE trial = ?",
        (sample_id(trial, 0), sample_id(trial + 1, 0), trial),
    ).fetchone()
    if found is None:
        raise TrialGoneError(f"trial number {trial} was deleted")
    return int(found[0])


def _rows(connection: sqlite3.Connection, trial: int, page: SamplePage) -> list[tuple[Any, ...]]:
    first, end = sample_id(trial, page.last) if page.last >= 0 else sample_id(trial, 0) - 1, sample_id(trial + 1, 0)
    rows: list[tuple[Any, ...]] = []
    size = 0
    try:
        with contextlib.closing(connection.execute(_SAMPLES, (first, end, PAGE_SAMPLES))) as cursor:
            while size < PAGE_BYTES and (row := cursor.fetchone()) is not None:
                if not (rows[-1][0] if rows else first) < row[0] < end:
                    raise sqlite3.DatabaseError("a page is in the place of another")
                rows.append(row)
                size += len(row[6]) if isinstance(row[6], bytes) else 0
        page.full = size >= PAGE_BYTES or len(rows) >= PAGE_SAMPLES
    except sqlite3.DatabaseError as error:
        page.broken = True
        page.damaged.append(f"all after tick {_tick(rows[-1]) if rows else page.last} ({error})")
    if rows:
        page.last = _tick(rows[-1])
    return rows


def _late(connection: sqlite3.Connection, trial: int, after: int, page: SamplePage) -> Mapping[int, list[bytes]]:
    """Late rewards by tick, for the ticks of ``page``, which is cut short when they are too many."""
    late: dict[int, list[bytes]] = defaultdict(list)
    size = 0
    with contextlib.closing(connection.execute(_LATE, (trial, after, page.last))) as cursor:
        for row in cursor:
            if size >= PAGE_BYTES and row[1] not in late:
                page.last, page.full = row[1] - 1, True
                break
            if late_is_intact(row):
                late[row[1]].append(row[3])
                size += len(row[3])
            else:
                page.damaged.append(f"a late reward of tick {row[1]}")
    return late


def _add(page: SamplePage, row: tuple[Any, ...], late: Mapping[int, list[bytes]]) -> None:
    tick = _tick(row)
    if not sample_is_intact(row):
        page.damaged.append(f"tick {tick}")
    else:
        page.samples.append(merge_late(row[6], late[tick]) if tick in late else row[6])


def _tick(row: tuple[Any, ...]) -> int:
    return int(row[0]) & ((1 << TICK_BITS) - 1)
