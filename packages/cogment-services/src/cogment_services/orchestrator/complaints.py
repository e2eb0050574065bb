"""What participants do wrong without ending anything: told once, then counted."""

from __future__ import annotations

from collections import Counter

from cogment_core.logs import logger

__all__ = ["Complaints"]


class Complaints:
    """The complaints about the participants of one trial.

    The first of a kind about a participant is logged as it comes. The others are counted, and their number is logged at
    the end, so that a participant cannot fill the log.

    Args:
        trial_id: The trial, for the log.
    """

    __slots__ = ("_first", "_trial_id", "counts")

    def __init__(self, trial_id: str) -> None:
        self._trial_id = trial_id
        self._first: dict[tuple[str, str], str] = {}
        self.counts: Counter[tuple[str, str]] = Counter()
        """How often each participant (by name) gave cause for each kind of complaint (its text, not filled in)."""

    def note(self, who: str, what: str, *details: object) -> None:
        """Complain about ``who``: ``what % details``. The texts of ``what`` are a small fixed set."""
        key = (who, what)
        self.counts[key] += 1
        if self.counts[key] == 1:
            self._first[key] = what % details if details else what
            logger.warning("trial [%s]: [%s] %s", self._trial_id, who, self._first[key])

    def summarize(self) -> None:
        """Log how often each complaint came after the first time."""
        for key, count in self.counts.items():
            if count > 1:
                text = "trial [%s]: [%s] did so %d times in all; the first time: %s"
                logger.warning(text, self._trial_id, key[0], count, self._first[key])
