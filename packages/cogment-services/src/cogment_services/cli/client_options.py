"""Options that all commands of ``cogment client`` share; they can be given before and after the name of a command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from cogment_services.cli.duration import duration_option
from cogment_services.cli.options import anywhere, noted_options, option

__all__ = ["ClientOptions", "client_options", "said_options"]

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

_KIND = "cogment_services.client"
_TIMEOUT = 30.0


@dataclass(frozen=True)
class ClientOptions:
    """What the options say."""

    timeout: float = _TIMEOUT
    """Seconds to wait for the server: to connect, for each answer, and for each part of a longer one."""
    as_json: bool = False
    """Whether results are for programs to read."""


def client_options(function: FunctionT) -> FunctionT:
    """Add the options to a command."""
    for add in (
        option(
            "--console_output",
            "COGMENT_CLIENT_CONSOLE_OUTPUT",
            type=click.Choice(["text", "json"]),
            default="text",
            help="How to write results.",
            **anywhere(_KIND),
        ),
        option(
            "--timeout",
            "COGMENT_CLIENT_TIMEOUT",
            type=duration_option,
            metavar="DURATION",
            default="30s",
            help="How long to wait for the server each time.",
            **anywhere(_KIND),
        ),
    ):
        function = add(function)
    return function


def said_options() -> ClientOptions:
    """What the options say, within a command."""
    said = noted_options(_KIND)
    return ClientOptions(said.get("timeout", _TIMEOUT), said.get("console_output") == "json")
