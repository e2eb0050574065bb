"""Which of the entries that were found are handed out, and in which order."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cogment_services.directory.records import Record

__all__ = ["balanced"]

FULL = 255
"""Load of a service that takes nothing more."""

SIMILAR = 10
"""Services whose loads differ by no more than this are as good as each other."""


def balanced(
    records: Sequence[Record], load: Callable[[Record], int], shuffle: Callable[[list[Record]], None]
) -> list[Record]:
    """The entries that are about as busy as the least busy one, in random order; none that takes nothing more.

    Args:
        records: What was found.
        load: How busy an entry is.
        shuffle: Shuffles a list in place.
    """
    loads = [(load(record), record) for record in records]
    lowest = min((busy for busy, _ in loads), default=FULL)
    chosen = [record for busy, record in loads if busy < FULL and busy <= lowest + SIMILAR]
    shuffle(chosen)
    return chosen
