"""``cogment version``."""

from __future__ import annotations

from importlib.metadata import version as installed_version

import click

__all__ = ["version"]


@click.command()
def version() -> None:
    """Print the version."""
    click.echo(installed_version("cogment-services"))
