"""The ``cogment`` command. Each command is one small module, and imports what it runs only when it runs."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Any

import click

from cogment_services.cli.certs import certs
from cogment_services.cli.client import client
from cogment_services.cli.services import services
from cogment_services.cli.version import version

__all__ = ["cogment", "main"]


def _normalize(token: str) -> str:
    """Take ``--log-level`` for ``--log_level``."""
    return token.replace("-", "_")


_UNWRITABLE = {errno.ENOSPC, errno.EIO}
"""What writing fails with when a disk is full, or broken."""

_SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "token_normalize_func": _normalize}


@click.group(invoke_without_command=True, context_settings=_SETTINGS)
@click.version_option(package_name="cogment-services", message="%(version)s", help="Print the version and exit.")
@click.pass_context
def cogment(ctx: click.Context) -> None:
    """Run the servers of Cogment, and work with them."""
    # gRPC writes a line for each connection that fails, past our log and its format; the errors are ours to tell.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


cogment.add_command(certs)
cogment.add_command(client)
cogment.add_command(services)
cogment.add_command(version)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command and end the process: with 0, or with 1 and one line that says what is wrong; 130 after Ctrl-C."""
    try:
        cogment.main(args, prog_name="cogment", standalone_mode=False)
    except click.ClickException as error:
        _fail(error.format_message())
    except click.exceptions.Abort:
        _fail("interrupted", 130)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        # Python writes what is left when it ends: to nowhere, so that this does not fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        _fail(f"the output cannot be written: {error.strerror}")
    except Exception as error:
        # Only what is ours explains itself; imported this late for the sake of --help.
        from cogment_core.errors import CogmentError

        if not isinstance(error, CogmentError):
            raise
        _fail(str(error))


def _fail(message: str, status: int = 1) -> None:
    from cogment_services.cli.terminal import one_line  # servers may say what they like

    click.echo(f"Error: {one_line(message)}", err=True)
    sys.exit(status)
