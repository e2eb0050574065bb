"""Which trials somebody adds samples to, and which of them were left unfinished.

A trial is open until it has its last sample. When whoever adds to it is lost, or when the datastore was restarted,
it stays open for a while, for the one who returns. If nobody does, it is over: those who follow it are not kept waiting
for ever. Whoever returns still later opens it again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Generator, Iterable

__all__ = ["Attendance"]


class Attendance:
    """Notes who comes and goes.

    Args:
        patience: Seconds that a trial stays open without anybody.
        on_abandoned: Called with the number of a trial that nobody returned to.
    """

    def __init__(self, patience: float, on_abandoned: Callable[[int], None]) -> None:
        self._patience = patience
        self._on_abandoned = on_abandoned
        self._present: Counter[int] = Counter()
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._present) + len(self._timers)

    def expect(self, trials: Iterable[int]) -> None:
        """Trials with these numbers are open, and nobody is there."""
        loop = asyncio.get_running_loop()
        for trial in trials:
            if trial not in self._present and trial not in self._timers and not self._closed:
                self._timers[trial] = loop.call_later(self._patience, self._abandon, trial)

    def anybody(self, trial: int) -> bool:
        """Whether somebody adds to a trial."""
        return trial in self._present

    @contextlib.contextmanager
    def present(self, trial: int) -> Generator[None, None, None]:
        """Somebody adds to a trial, until the end of the block."""
        self.forget(trial)
        self._present[trial] += 1
        try:
            yield
        finally:
            self._present[trial] -= 1
            if not self._present[trial]:
                del self._present[trial]
                self.expect((trial,))

    def forget(self, trial: int) -> None:
        """Nobody needs to return to this trial."""
        timer = self._timers.pop(trial, None)
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        """Wait for nobody any more."""
        self._closed = True
        for trial in list(self._timers):
            self.forget(trial)

    def _abandon(self, trial: int) -> None:
        del self._timers[trial]
        self._on_abandoned(trial)
