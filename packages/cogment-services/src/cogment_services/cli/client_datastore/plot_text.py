"""Plots for a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import click

from cogment_services.cli.client_datastore.series import Curve, mean_window, running_mean
from cogment_services.cli.terminal import count_of, safe

__all__ = ["draw_text"]

_HEIGHT = 16
_COLORS = ("green", "yellow", "cyan", "magenta", "blue", "red")
_MARKS = "●▲■◆○△"
_ASCII_MARKS = "*o+x#@"
_ASCII = str.maketrans(
    {"│": "|", "┤": "|", "└": "+", "─": "-", "·": ".", **dict(zip(_MARKS, _ASCII_MARKS, strict=True))}
)


@dataclass(frozen=True)
class _Scale:
    """Which row a value is in; row 0 is at the bottom."""

    low: float
    high: float
    step: float

    @classmethod
    def of(cls, values: Sequence[float]) -> _Scale:
        """A scale with round numbers that all of ``values`` fit in."""
        low, high = min(values), max(values)
        rough = (high - low or abs(high) or 1.0) / 5
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit >= rough * 0.999)
        low, high = math.floor(low / step) * step, math.ceil(high / step) * step
        return cls(low, high if high > low else low + step, step)

    def row(self, value: float) -> int:
        return round((value - self.low) / (self.high - self.low) * (_HEIGHT - 1))

    def labels(self) -> dict[int, str]:
        """The text at each row that has one."""
        number = round((self.high - self.low) / self.step)
        return {self.row(self.low + n * self.step): f"{self.low + n * self.step:g}" for n in range(number + 1)}


def draw_text(curves: Sequence[Curve], trials: int, caption: str, *, width: int, is_unicode: bool) -> str:
    """Draw each episode as a small dot, and the running mean of each curve with larger marks.

    Args:
        curves: The curves, at least one.
        trials: The number of trials.
        caption: What to write below.
        width: Columns of the terminal.
        is_unicode: Whether it can show more than ASCII.
    """
    scale = _Scale.of([value for curve in curves for value in curve.returns])
    labels = scale.labels()
    margin = max(map(len, labels.values())) + 1
    columns = max(20, min(width - margin - 2, 120))
    grid = [[" "] * columns for _ in range(_HEIGHT)]
    window = mean_window(trials)
    for number, curve in enumerate(curves):
        _draw(grid, scale, curve.places, curve.returns, trials, click.style("·", fg=_COLORS[number], dim=True))
    for number, curve in enumerate(curves):
        mark = click.style(_MARKS[number], fg=_COLORS[number])
        _draw(grid, scale, curve.places, running_mean(curve.returns, window), trials, mark)
    lines = [_legend(curves, window), ""]
    for row in range(_HEIGHT - 1, -1, -1):
        label = labels.get(row, "")
        lines.append(f"{label:>{margin}} {'┤' if label else '│'}{''.join(grid[row])}".rstrip())
    lines += [f"{'':{margin}} └{'─' * columns}", _axis(margin + 2, columns, trials), f"{'':{margin}}  {caption}"]
    text = "\n".join(lines)
    return text if is_unicode else text.translate(_ASCII)


def _draw(
    grid: list[list[str]], scale: _Scale, places: Sequence[int], values: Sequence[float], trials: int, mark: str
) -> None:
    for place, value in zip(places, values, strict=True):
        grid[scale.row(value)][int((place - 0.5) * len(grid[0]) / trials)] = mark


def _legend(curves: Sequence[Curve], window: int) -> str:
    marks = zip(_MARKS, _COLORS, curves, strict=False)
    names = "  ".join(f"{click.style(mark, fg=color)} {safe(curve.label)}" for mark, color, curve in marks)
    if window == 1:
        return f"episode return: {names}"
    return f"episode return (·), and its mean in the last {count_of(window, 'trial')}: {names}"


def _axis(margin: int, columns: int, trials: int) -> str:
    last = f"trial {trials:,}"
    return f"{'':{margin}}1{last:>{columns - 1}}"
