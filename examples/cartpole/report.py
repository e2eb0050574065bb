"""Shows the training: a progress bar and a table in the terminal, and a plot in a PNG file."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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
        self._settings = settings
        self._console = console
        self._trials = 0
        self._steps = 0.0
        self._started = time.perf_counter()
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
    def shown(self) -> Iterator[None]:
        """Show the progress bar within the block."""
        self._started = time.perf_counter()
        self._print_row(*(f"[bold]{title}" for title in COLUMNS))
        with self._progress:
            yield

    def trial_ended(self, episode_return: float) -> None:
        """Count a trial."""
        self._trials += 1
        self._steps += episode_return
        self._progress.update(self._bar, advance=1, speed=self._steps / self._elapsed)

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
    def _elapsed(self) -> float:
        return time.perf_counter() - self._started

    def summary(self) -> str:
        """How much was done, and how fast."""
        elapsed = self._elapsed
        speed = self._steps / elapsed
        return f"{self._trials} trials with {self._steps:,.0f} steps in {elapsed:.1f} s: {speed:,.0f} steps/s"

    def save_plot(self, path: Path) -> None:
        """Draw the return of each episode, and the mean and the best of each generation, into a PNG file."""
        from matplotlib.figure import Figure  # takes a while to import: not before there is something to draw

        figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
        axes = figure.subplots()
        numbers = range(1, len(self.generations) + 1)
        for number, returns in zip(numbers, self.generations, strict=True):
            # Side by side, so that equal returns do not hide each other.
            places = [number + 0.5 * (place / len(returns) - 0.5) for place in range(len(returns))]
            axes.plot(places, returns, ".", color="tab:blue", alpha=0.5, label="episode" if number == 1 else None)
        axes.plot(numbers, [max(returns) for returns in self.generations], "^--", color="tab:green", label="best")
        axes.plot(numbers, [fmean(returns) for returns in self.generations], "o-", color="tab:orange", label="mean")
        axes.axhline(LONGEST_EPISODE, color="gray", linewidth=0.8, linestyle=":", label="longest episode")
        axes.set(
            title=f"CartPole-v1, cross-entropy method: {self._settings.population} trials per generation",
            xlabel="generation",
            ylabel="return of an episode (steps)",
            ylim=(0, 1.05 * LONGEST_EPISODE),
        )
        axes.xaxis.get_major_locator().set_params(integer=True)
        figure.legend(loc="outside lower center", ncols=4)
        figure.savefig(path, format="png")
