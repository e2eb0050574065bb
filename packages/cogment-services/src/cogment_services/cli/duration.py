"""Lengths of time on the command line."""

from __future__ import annotations

import math
import re

import click

__all__ = ["duration_option", "parse_duration"]

_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h|d)")


def parse_duration(text: str) -> float:
    """The seconds that ``text`` stands for: ``300ms``, ``2h45m``, or a plain number of seconds.

    Raises:
        ValueError: It is no length of time.
    """
    try:
        seconds = float(text)
    except ValueError:
        parts = _PART.findall(text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise ValueError(f"{text!r} is no length of time; write 30s, 300ms or 2h45m, for example") from None
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{text!r} is no length of time")
    return seconds


def duration_option(text: str) -> float:
    """The seconds that the value of an option stands for; more than 0.

    Raises:
        BadParameter: It is no length of time.
    """
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if not seconds:
        raise click.BadParameter("it has to be longer than 0")
    return seconds
