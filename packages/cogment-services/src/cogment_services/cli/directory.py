"""``cogment services directory``."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any

import click

from cogment_services.cli.options import PORT, option
from cogment_services.cli.server_options import app_options, secured, server_options

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from cogment_services.directory import DirectoryServer

__all__ = ["directory"]

_PREFIX = "COGMENT_DIRECTORY_"


class _EmptyCounts(click.Option):
    """An option whose environment variable counts when it is empty, too: that is how persistence is switched off.

    Args:
        empty: What an empty variable says.
    """

    def __init__(self, *args: Any, empty: str = "", **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._empty = empty

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        """The value of the variable; None if there is none."""
        value = super().resolve_envvar_value(ctx)
        is_empty = isinstance(self.envvar, str) and os.environ.get(self.envvar) == ""
        return self._empty if value is None and is_empty else value


_SWITCH: dict[str, Any] = {"is_flag": False, "flag_value": "true", "type": bool, "default": False, "metavar": "[BOOL]"}
"""Settings of an option that is on if it is given, and can be given a value: ``--load_balancing=false``."""


@click.command()
@option(
    "--port",
    f"{_PREFIX}PORT",
    type=PORT,
    metavar="PORT",
    default=9005,
    help="Port to listen on; 0 lets the system choose.",
    cls=_EmptyCounts,
    empty="0",
)
@option(
    "--persistence_file",
    f"{_PREFIX}PERSISTENCE_FILE",
    default=".cogment-directory-data",
    help="File that services are kept in; empty to forget them at the end.",
    cls=_EmptyCounts,
)
@option(
    "--registration_lag",
    f"{_PREFIX}REGISTRATION_LAG",
    type=click.FloatRange(0, 3600),
    default=0,
    help="Seconds that an inquiry waits for what it does not find.",
    cls=_EmptyCounts,
    empty="0",
)
@option(
    "--load_balancing",
    f"{_PREFIX}LOAD_BALANCING",
    **_SWITCH,
    help="Find only the least busy services, in random order.",
)
@option(
    "--check_on_inquire",
    f"{_PREFIX}CHECK_ON_INQUIRE",
    **_SWITCH,
    help="Check services before they are found.",
)
@option(
    "--force_permanent",
    f"{_PREFIX}FORCE_PERMANENT",
    **_SWITCH,
    help="Register all services as permanent: never checked.",
)
@option("--grpc_reflection", f"{_PREFIX}GRPC_REFLECTION", hidden=True, **_SWITCH)
@option("--tokens_file", f"{_PREFIX}TOKENS_FILE", help="File of the tokens that are let in, one in a line; else all.")
@server_options(_PREFIX)
def directory(**options: Any) -> None:
    """Know which services there are: they register, and are found by what they are."""
    _refuse_what_is_a_mistake(options)
    from cogment_services import app
    from cogment_services.directory import DirectoryServer
    from cogment_services.directory.registry import Policy
    from cogment_services.directory.tokens import load_tokens

    tls = secured(options)

    def make(registry: CollectorRegistry | None) -> DirectoryServer:
        return DirectoryServer(
            options["persistence_file"] or None,
            port=options["port"],
            host=options["host"],
            tls=tls,
            policy=Policy(
                registration_lag=options["registration_lag"],
                load_balancing=options["load_balancing"],
                check_on_inquire=options["check_on_inquire"],
                force_permanent=options["force_permanent"],
                tokens=load_tokens(options["tokens_file"]),
            ),
            prometheus_registry=registry,
        )

    app.run(make, app_options("Directory", options))


def _refuse_what_is_a_mistake(options: dict[str, Any]) -> None:
    if options["grpc_reflection"]:
        raise click.UsageError("--grpc_reflection is not available: the protocol is public, in the .proto files")
    if math.isnan(options["registration_lag"]):
        raise click.UsageError("--registration_lag has to be a number of seconds")
