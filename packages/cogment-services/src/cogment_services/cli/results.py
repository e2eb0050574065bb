"""How commands tell what they did: a line for people, or an object for programs."""

from __future__ import annotations

import json
from typing import Any

import click

from cogment_services.cli.terminal import one_line

__all__ = ["note", "tell"]


def tell(as_json: bool, message: str, **facts: Any) -> None:
    """Write what was done to the standard output.

    Args:
        as_json: Whether as an object, with the message and the facts.
        message: One sentence.
        facts: What programs want to know; values that JSON can have.
    """
    click.echo(json.dumps({"message": message, **facts}) if as_json else one_line(message))


def note(message: str) -> None:
    """Write what somebody should know to the standard error output."""
    click.echo(one_line(message), err=True)
