"""Progress bars, on the standard error output if that is a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager

__all__ = ["Advance", "progress_bar"]

_INTERVAL = 0.1
"""Seconds between two changes of what is shown."""


class Advance:
    """Counts what is done; shows it from time to time.

    Args:
        show: Shows how much is done.
    """

    def __init__(self, show: Callable[[int], None]) -> None:
        self.done = 0
        """How much is done."""
        self._show = show
        self._next = 0.0

    def __call__(self, amount: int = 1) -> None:
        """So much more is done."""
        self.done += amount
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _INTERVAL
            self._show(self.done)


@contextmanager
def progress_bar(what: str, total: int, unit: str) -> Generator[Advance, None, None]:
    """Show how much of ``total`` is done within the block.

    Args:
        what: What is done.
        total: How much there is to do.
        unit: What is counted: ``bytes``, which are shown as sizes, or anything else.
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:  # a disabled bar of older versions of rich ends with an empty line
        yield Advance(lambda _done: None)
        return
    counter = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    units = () if unit == "bytes" else (TextColumn(unit),)
    columns = (TextColumn(what), BarColumn(), counter, *units, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=total)
        yield Advance(lambda done: progress.update(task, completed=done))
