"""The curves of a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean

from cogment_services.cli.client_datastore.returns import Episode
from cogment_services.cli.terminal import count_of

__all__ = ["Curve", "as_curves", "mean_window", "running_mean", "time_span"]

_MOST_CURVES = 6
"""Actors that are told apart at most."""


@dataclass(frozen=True)
class Curve:
    """The returns of one actor, or of all of them together."""

    label: str
    """Whose returns."""
    places: list[int]
    """The numbers of the trials, from 1 on."""
    returns: list[float]
    """The return in each of them."""


def as_curves(episodes: Sequence[Episode]) -> list[Curve]:
    """A curve for each actor; or, if there are many, one for the mean of all actors."""
    names = list(dict.fromkeys(name for episode in episodes for name in episode.returns))
    if len(names) > _MOST_CURVES:
        means = [fmean(episode.returns.values()) if episode.returns else 0.0 for episode in episodes]
        return [Curve(f"mean of {count_of(len(names), 'actor')}", list(range(1, len(episodes) + 1)), means)]
    return [_of_actor(name, episodes) for name in names]


def _of_actor(name: str, episodes: Sequence[Episode]) -> Curve:
    found = [(place, it.returns[name]) for place, it in enumerate(episodes, 1) if name in it.returns]
    return Curve(name, [place for place, _ in found], [value for _, value in found])


def mean_window(trials: int) -> int:
    """How many trials a running mean is of that shows the trend of so many."""
    return max(1, trials // 20)


def running_mean(values: Sequence[float], width: int) -> list[float]:
    """The mean of each value and up to ``width - 1`` before it."""
    means: list[float] = []
    total = 0.0
    for index, value in enumerate(values):
        total += value - (values[index - width] if index >= width else 0.0)
        means.append(total / min(index + 1, width))
    return means


def time_span(episodes: Sequence[Episode]) -> str:
    """When the first and the last of the episodes started."""
    first, last = (datetime.fromtimestamp(it.started).astimezone() for it in (episodes[0], episodes[-1]))
    end = f"{last:%H:%M:%S}" if first.date() == last.date() else f"{last:%Y-%m-%d %H:%M:%S}"
    return f"{first:%Y-%m-%d %H:%M:%S} to {end}"
