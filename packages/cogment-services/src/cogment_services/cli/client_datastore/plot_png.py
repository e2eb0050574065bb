"""Plots as pictures."""

# pyright: reportUnknownMemberType=false
# Matplotlib's functions do not declare the types of their keywords.

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from cogment_core.errors import UsageError
from cogment_services.cli.client_datastore.series import Curve, mean_window, running_mean
from cogment_services.cli.terminal import count_of, safe

__all__ = ["check_matplotlib", "draw_png"]

_COLORS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown")


def check_matplotlib() -> None:
    """Check that what draws pictures is installed.

    Raises:
        UsageError: It is not.
    """
    try:
        import matplotlib  # noqa: F401  # pyright: ignore[reportUnusedImport]
    except ImportError:
        raise UsageError(
            'pictures need Matplotlib: pip install "cogment-services[plot]"; without --output the plot is drawn in the '
            "terminal"
        ) from None


def draw_png(curves: Sequence[Curve], trials: int, caption: str, stream: BinaryIO) -> None:
    """Draw each episode as a dot, and the running mean of each curve as a line.

    Args:
        curves: The curves, at least one.
        trials: The number of trials.
        caption: What to write below.
        stream: Where to write the PNG to.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    window = mean_window(trials)
    figure = Figure(figsize=(9, 5), dpi=150, layout="constrained")
    axes = figure.subplots()
    for color, curve in zip(_COLORS, curves, strict=False):
        label = _plain(safe(curve.label))
        size = 22 if trials <= 300 else 8
        axes.scatter(curve.places, curve.returns, s=size, color=color, alpha=0.35, linewidths=0)
        mean = running_mean(curve.returns, window)
        axes.plot(curve.places, mean, color=color, linewidth=2, marker="o" if trials == 1 else None, label=label)
    axes.set_title(f"Episode return of {count_of(trials, 'trial')}", loc="left", fontweight="bold")
    axes.set(xlabel=f"trial, in order of start\n{caption}", ylabel="return")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", alpha=0.3)
    axes.margins(x=0.02)
    axes.spines[["top", "right"]].set_visible(False)
    title = f"line: mean of the last {count_of(window, 'trial')}" if window > 1 else None
    axes.legend(loc="upper left", title=title, frameon=True, framealpha=0.85, title_fontsize="small")
    figure.savefig(stream, format="png")


def _plain(label: str) -> str:
    """``label`` as it is, although Matplotlib reads formulas between dollar signs, and hides what begins with ``_``."""
    return f"\N{ZERO WIDTH SPACE}{label}".replace("$", r"\$")
