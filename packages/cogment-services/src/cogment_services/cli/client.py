"""``cogment client``: work with servers that run."""

from __future__ import annotations

import click

__all__ = ["client"]


@click.group(invoke_without_command=True)
@click.pass_context
def client(ctx: click.Context) -> None:
    """Work with a server that runs."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
