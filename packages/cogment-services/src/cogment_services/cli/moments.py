"""Points in time on the command line."""

from __future__ import annotations

from datetime import datetime, timedelta

import click

from cogment_services.cli.duration import parse_duration

__all__ = ["moment_option", "parse_moment"]


def parse_moment(text: str, now: datetime) -> datetime:
    """The point in time that ``text`` stands for.

    Args:
        text: ``2026-11-21``, ``2026-11-21T14:30``, in local time if there is no offset; or how long ago: ``2h30m``.
        now: What that is counted from.

    Raises:
        ValueError: It is neither.
    """
    try:
        if text[-1:].isalpha() and text[-1] != "Z":
            return now - timedelta(seconds=parse_duration(text))
        moment = datetime.fromisoformat(text.removesuffix("Z") + ("+00:00" if text.endswith("Z") else ""))
    except ValueError:
        text = f"{text!r} is no time; write 2026-11-21, 2026-11-21T14:30, or how long ago: 2h30m, for example"
        raise ValueError(text) from None
    return moment if moment.tzinfo else moment.astimezone()


def moment_option(text: str) -> datetime:
    """The point in time that the value of an option stands for.

    Raises:
        BadParameter: It is none.
    """
    try:
        return parse_moment(text, datetime.now().astimezone())
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(str(error)) from error
