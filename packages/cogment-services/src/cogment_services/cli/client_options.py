"""Options that all commands of ``cogment client`` share; they can be given before and after the name of a command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cogment_services.cli.duration import duration_option
from cogment_services.cli.options import anywhere, noted_options, option

if TYPE_CHECKING:
    from cogment_core.endpoints import Endpoint

__all__ = ["ClientOptions", "client_options", "said_endpoint", "said_options"]

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

_KIND = "cogment_services.client"
_HERE: dict[str, Any] = anywhere(_KIND)
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
        option("--trust_chain", metavar="FILE", help="PEM: this client's certificate, for mutual TLS.", **_HERE),
        option("--private_key", metavar="FILE", help="PEM: this client's key, for mutual TLS.", **_HERE),
        option("--root_cert", metavar="FILE", help="PEM: who has to vouch for the server, for TLS.", **_HERE),
        option(
            "--console_output",
            "COGMENT_CLIENT_CONSOLE_OUTPUT",
            type=click.Choice(["text", "json"]),
            default="text",
            help="How to write results.",
            **_HERE,
        ),
        option(
            "--timeout",
            "COGMENT_CLIENT_TIMEOUT",
            type=duration_option,
            metavar="DURATION",
            default="30s",
            help="How long to wait for the server each time.",
            **_HERE,
        ),
    ):
        function = add(function)
    return function


def said_options() -> ClientOptions:
    """What the options say, within a command."""
    said = noted_options(_KIND)
    return ClientOptions(said.get("timeout", _TIMEOUT), said.get("console_output") == "json")


def said_endpoint(url: str) -> Endpoint:
    """The server at ``url``, connected to as the options say, within a command.

    Raises:
        click.UsageError: There is a key without its certificate, or the other way round.
        EndpointError: A file for TLS cannot be read.
    """
    from cogment_core.endpoints import Endpoint

    said = noted_options(_KIND)
    names = ("private_key", "root_cert", "trust_chain")
    private_key, root_cert, trust_chain = (said.get(name) or None for name in names)
    if (private_key is None) != (trust_chain is None):
        raise click.UsageError("--private_key and --trust_chain belong together: give both, or none of them")
    endpoint = Endpoint(url)
    if private_key or root_cert:
        endpoint.set_from_files(private_key, root_cert, trust_chain)
    return endpoint
