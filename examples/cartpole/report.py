"""Shows the training in the terminal: a progress bar, and a table that grows with each generation."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from statistics import fmean

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.progress_bar import ProgressBar
from rich.table import Table

from training import Settings

__all__ = ["Report"]

LONGEST_EPISODE = 500
"""Steps after which CartPole-v1 ends an episode. Each step returns 1, so this is the highest return, too."""

COLUMNS = {"generation": 10, "mean return": 11, "best": 4, "worst": 5, "": 36}
"""Width of each column of the table, by title."""


class Report:
    """Shows a training run; it is the `Observer` of one."""

    def __init__(self, settings: Settings, console: Console) -> None:
        self.generations: list[list[float]] = []
        """The returns of all episodes in each generation that is complete."""
        self._console = console
        self._trials = 0
        self._steps = 0.0
        self._started = self._now = time.perf_counter()
        self._progress = Progress(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("trials  {task.fields[speed]:,.0f} steps/s "),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._bar = self._progress.add_task("", total=settings.generations * settings.population, speed=0.0)

    @contextmanager
    def shown(self) -> Generator[None, None, None]:
        """Show the progress bar within the block."""
        self._print_row(*(f"[bold]{title}" for title in COLUMNS))
        with self._progress:
            yield

    def training_started(self) -> None:
        """Start the clock."""
        self._started = self._now = time.perf_counter()

    def trial_ended(self, episode_return: float) -> None:
        """Count a trial."""
        self._trials += 1
        self._steps += episode_return
        self._now = time.perf_counter()
        self._progress.update(self._bar, advance=1, speed=self._speed)

    def generation_ended(self, returns: list[float]) -> None:
        """Add a row to the table."""
        self.generations.append(returns)
        mean = fmean(returns)
        bar = ProgressBar(LONGEST_EPISODE, mean, complete_style="green", finished_style="green")
        self._print_row(
            str(len(self.generations)), f"[bold green]{mean:.1f}", f"{max(returns):.0f}", f"{min(returns):.0f}", bar
        )

    def _print_row(self, *cells: RenderableType) -> None:
        row = Table.grid(padding=(0, 2, 0, 0))
        for width in COLUMNS.values():
            row.add_column(justify="right", min_width=width, max_width=width)
        row.add_row(*cells)
        self._console.print(row)

    @property
    def _speed(self) -> float:
        return self._steps / (self._now - self._started) if self._trials else 0.0

    def summary(self) -> str:
        """How much was done, and how fast."""
        elapsed = self._now - self._started
        return f"{self._trials} trials with {self._steps:,.0f} steps in {elapsed:.1f} s: {self._speed:,.0f} steps/s"
