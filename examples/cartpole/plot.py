"""Draws the returns into a PNG file."""

# pyright: reportUnknownMemberType=false
# Matplotlib's functions do not declare the types of their keywords.

from pathlib import Path
from statistics import fmean

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training import SOLVED

__all__ = ["save_plot"]


def save_plot(generations: list[list[float]], path: Path) -> None:
    """Draw the return of each episode, and the best and the mean of each generation."""
    figure = Figure(figsize=(8, 4.5), dpi=150, layout="constrained")
    axes = figure.subplots()
    numbers = range(1, len(generations) + 1)
    for number, returns in zip(numbers, generations, strict=True):
        # Side by side, so that equal returns do not hide each other.
        places = [number + 0.5 * (place / len(returns) - 0.5) for place in range(len(returns))]
        axes.plot(places, returns, ".", color="tab:blue", alpha=0.5, label="episode" if number == 1 else None)
    axes.plot(numbers, [max(returns) for returns in generations], "^--", color="tab:green", label="best")
    axes.plot(numbers, [fmean(returns) for returns in generations], "o-", color="tab:orange", label="mean")
    axes.axhline(SOLVED, color="gray", linewidth=0.8, linestyle=":", label="mean that counts as solved")
    axes.set(title="CartPole-v1 learned by the cross-entropy method", xlabel="generation", ylabel="return (steps)")
    axes.set_ylim(0, 525)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(loc="outside lower center", ncols=4)
    figure.savefig(path, format="png")
