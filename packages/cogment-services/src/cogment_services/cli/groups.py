"""Groups of commands."""

from __future__ import annotations

from typing import Any

import click

__all__ = ["AliasGroup"]


class AliasGroup(click.Group):
    """A group that prints its help when it is alone, and whose commands may have second names.

    Args:
        aliases: The name of the command that each second name stands for.
    """

    def __init__(self, *args: Any, aliases: dict[str, str] | None = None, **settings: Any) -> None:
        super().__init__(*args, **{"invoke_without_command": True, **settings})
        self._aliases = aliases or {}

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command, or print the help."""
        result = super().invoke(ctx)
        if ctx.invoked_subcommand is None:
            click.echo(ctx.get_help())
        return result

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command that has this name, or this second name."""
        return super().get_command(ctx, self._aliases.get(cmd_name, cmd_name))
