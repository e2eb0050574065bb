"""``cogment services``: the servers."""

from __future__ import annotations

import click

from cogment_services.cli.options import log_options
from cogment_services.cli.orchestrator import orchestrator

__all__ = ["services"]


@click.group(invoke_without_command=True)
@log_options
@click.pass_context
def services(ctx: click.Context) -> None:
    """Run a server."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


services.add_command(orchestrator)
