"""Rows of the tables, with the checksums that tell when a disk has changed them."""

from __future__ import annotations

import json
import zlib
from typing import Any

from cogment_services.datastore.store import LateReward, NewSample

__all__ = [
    "TICK_BITS",
    "late_is_intact",
    "late_row",
    "sample_id",
    "sample_is_intact",
    "sample_row",
    "trial_checksum",
]

TICK_BITS = 32
"""How many bits of a sample's key are its tick."""


def sample_id(trial: int, tick: int) -> int:
    """Key of a sample."""
    return trial << TICK_BITS | tick


def sample_row(sample: NewSample) -> tuple[Any, ...]:
    """Columns of a sample: id, timestamp, state, special_events, default_actors, unavailable_actors, sample, checksum.

    The checksum is the CRC-32 of the others, as text with ``|`` between them, and of the sample's bytes after that.
    """
    row = (
        sample.trial << TICK_BITS | sample.tick,
        sample.timestamp,
        sample.state,
        json.dumps(sample.special_events) if sample.special_events else None,
        json.dumps(sample.default_actors) if sample.default_actors else None,
        json.dumps(sample.unavailable_actors) if sample.unavailable_actors else None,
        sample.sample,
    )
    return (*row, _checksum(row))


def sample_is_intact(row: tuple[Any, ...]) -> bool:
    """Whether a row is what `sample_row` made."""
    return isinstance(row[6], bytes) and _checksum(row) == row[7]


def _checksum(row: tuple[Any, ...]) -> int:
    place, timestamp, state, events, default, unavailable, sample = row[:7]
    others = f"{place}|{timestamp}|{state}|{events}|{default}|{unavailable}"
    return zlib.crc32(sample, zlib.crc32(others.encode(errors="surrogateescape")))


def late_row(late: LateReward) -> tuple[Any, ...]:
    """Columns of a late reward: trial, tick, digest, sample, checksum."""
    row = (late.trial, late.tick, late.digest, late.sample)
    return (*row, _late_checksum(row))


def late_is_intact(row: tuple[Any, ...]) -> bool:
    """Whether a row is what `late_row` made."""
    return isinstance(row[2], bytes) and isinstance(row[3], bytes) and _late_checksum(row) == row[4]


def _late_checksum(row: tuple[Any, ...]) -> int:
    trial, tick, digest, sample = row[:4]
    return zlib.crc32(sample, zlib.crc32(digest, zlib.crc32(f"{trial}|{tick}".encode())))


def trial_checksum(number: int, trial_id: str, user_id: str, params: bytes) -> int:
    """CRC-32 of a trial: of its number, its id and its user, as text with ``|`` between them, then its parameters."""
    return zlib.crc32(params, zlib.crc32(f"{number}|{trial_id}|{user_id}".encode(errors="surrogateescape")))
