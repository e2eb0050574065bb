"""How commands tell what they did, or what went wrong: a line for people, or an object for programs."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import click

from cogment_services.cli.terminal import lenient_output, one_line, standard_output_guarded

__all__ = ["note", "one_line_errors", "tell"]


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


@contextmanager
def one_line_errors() -> Generator[None, None, None]:
    """What goes wrong with files and pipes is an error of the user's.

    Raises:
        click.ClickException: It did.
        UsageError: Whoever reads the standard output has gone.
    """
    lenient_output()
    try:
        with standard_output_guarded():
            yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise click.ClickException(f"{where}{error.strerror or error}") from error
