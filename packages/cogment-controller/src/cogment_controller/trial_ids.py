"""Trial ids as arguments, and as metadata of calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from cogment_core.errors import UsageError
from cogment_core.logs import logger
from cogment_core.rpc import metadata_size

__all__ = ["as_metadata", "checked_trial_ids", "in_batches"]


def checked_trial_ids(trial_ids: Iterable[str] | None, method: str) -> list[str]:
    """The trial ids that a caller of ``method`` means: a list, or one id alone (deprecated).

    Raises:
        UsageError: Something in it cannot be the id of a trial.
    """
    if isinstance(trial_ids, str):
        logger.deprecated(f"{method} takes a list of trial ids, not a string")
        return [_checked(trial_ids, method)]
    return [_checked(trial_id, method) for trial_id in trial_ids or ()]


def _checked(trial_id: str, method: str) -> str:
    if not isinstance(trial_id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"{method}: a trial id is a str, not {type(trial_id).__name__}: {trial_id!r}")
    if not trial_id:
        raise UsageError(f"{method}: a trial id is empty; start_trial returns that when the requested id is taken")
    if not (trial_id.isascii() and trial_id.isprintable()):
        raise UsageError(f"{method}: the trial id {trial_id!r} has characters that are not printable ASCII")
    return trial_id


def as_metadata(trial_ids: Iterable[str]) -> list[tuple[str, str]]:
    """The metadata that says which trials a call is about."""
    return [("trial-id", trial_id) for trial_id in trial_ids]


def in_batches(trial_ids: list[str], room: int) -> Iterator[list[str]]:
    """Split ``trial_ids``, so that the metadata of each part takes at most ``room`` bytes.

    An id that needs more by itself is a part of its own.
    """
    batch: list[str] = []
    size = 0
    for trial_id in trial_ids:
        cost = metadata_size(as_metadata([trial_id]))
        if batch and size + cost > room:
            yield batch
            batch, size = [], 0
        batch.append(trial_id)
        size += cost
    if batch:
        yield batch
