"""``cogment client directory``: what is in a Directory, from a terminal or a script."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from cogment_services.cli.client_options import client_options, said_endpoint, said_options
from cogment_services.cli.groups import AliasGroup
from cogment_services.cli.options import PORT, anywhere, noted_options, option
from cogment_services.cli.properties import properties_option

__all__ = ["directory"]

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

_KIND = "cogment_services.client.directory"
_ENDPOINT = "grpc://localhost:9005"
_TYPES = "actor, environment, prehook, datalog, lifecycle, actservice, datastore, modelregistry, directory or other"

_HERE: dict[str, Any] = anywhere(_KIND)


def directory_options(function: FunctionT) -> FunctionT:
    """The options that say where the Directory is; they can be given before and after the name of a command."""
    for add in (
        option("--auth_token", hidden=True, **_HERE),
        option("--endpoint", hidden=True, **_HERE),
        option(
            "--directory_authentication_token",
            "COGMENT_DIRECTORY_AUTHENTICATION_TOKEN",
            help="Services are registered with this token, and only found with the same one.",
            **_HERE,
        ),
        option(
            "--directory_endpoint",
            "COGMENT_DIRECTORY_ENDPOINT",
            default=_ENDPOINT,
            help="Where the Directory is.",
            **_HERE,
        ),
    ):
        function = add(function)
    return client_options(function)


@click.group(cls=AliasGroup, aliases={"WaitForReady": "wait_for_ready"})
@directory_options
def directory() -> None:
    """Register services in a Directory, and find them."""


@directory.command()
@option("--host", default="", help="Name or address of the machine of the service.")
@option("--port", type=PORT, metavar="PORT", default=0, help="Its port.")
@option("--protocol", type=click.Choice(["grpc", "cogment"]), default="grpc", help="How it is reached.")
@option("--ssl_required", is_flag=True, help="It takes TLS connections only.")
@option("--type", default="", metavar="TYPE", help=f"What it is: {_TYPES}.")
@option("--properties", type=properties_option, default="", metavar="TEXT", help="Its properties: name=value,name,...")
@option("--permanent", is_flag=True, help="Keep it even if it cannot be reached; the next such one replaces it.")
@directory_options
def register(**settings: Any) -> None:
    """Register a service. Writes its number and the secret to deregister it with."""
    from cogment_services.cli import directory_commands as commands

    _run(commands.register, type_word=settings.pop("type"), **settings)


@directory.command()
@option("--service_id", type=click.IntRange(1), required=True, metavar="NUMBER", help="Number of the service.")
@option("--secret", required=True, help="What was written when it was registered.")
@directory_options
def deregister(**settings: Any) -> None:
    """Let the Directory forget a service."""
    from cogment_services.cli import directory_commands as commands

    _run(commands.deregister, **settings)


@directory.command()
@option("--service_id", type=click.IntRange(1), metavar="NUMBER", help="Number of the only service to find.")
@option("--type", default="", metavar="TYPE", help=f"What to find: {_TYPES}; all without.")
@option(
    "--properties", type=properties_option, default="", metavar="TEXT", help="Properties to have: name=value,name,..."
)
@directory_options
def inquire(**settings: Any) -> None:
    """Find services, best first."""
    from cogment_services.cli import directory_commands as commands

    if settings["service_id"] is not None and (settings["type"] or settings["properties"]):
        raise click.UsageError("--service_id says which service it is: leave out --type and --properties")
    _run(commands.inquire, type_word=settings.pop("type"), **settings)


@directory.command("wait_for_ready")
@directory_options
def wait_for_ready() -> None:
    """Wait until the Directory can be reached."""
    from cogment_services.cli import directory_commands as commands

    _run(commands.wait_for_ready)


def _run(command: Callable[..., Any], **settings: Any) -> None:
    """Run a command against the Directory that the options say."""
    from cogment_services.cli.directory_connection import DirectoryOptions
    from cogment_services.cli.interrupts import run_interruptible
    from cogment_services.cli.results import one_line_errors

    said = noted_options(_KIND)
    for old, new in (("endpoint", "directory_endpoint"), ("auth_token", "directory_authentication_token")):
        if said.get(old):
            click.echo(f"Warning: --{old} is deprecated, use --{new}", err=True)
            said.setdefault(new, said[old])
    options = DirectoryOptions(
        endpoint=said_endpoint(said.get("directory_endpoint") or _ENDPOINT),
        token=said.get("directory_authentication_token") or "",
        timeout=said_options().timeout,
        as_json=said_options().as_json,
    )
    with one_line_errors():
        run_interruptible(command(options, **settings))
