"""``cogment services``: the servers."""

from __future__ import annotations

import click

from cogment_services.cli.directory import directory
from cogment_services.cli.groups import AliasGroup
from cogment_services.cli.model_registry import model_registry
from cogment_services.cli.options import log_options
from cogment_services.cli.orchestrator import orchestrator
from cogment_services.cli.trial_datastore import trial_datastore

__all__ = ["services"]


@click.group(cls=AliasGroup, aliases={"datastore": "trial_datastore", "registry": "model_registry"})
@log_options
def services() -> None:
    """Run a server."""


services.add_command(directory)
services.add_command(model_registry)
services.add_command(orchestrator)
services.add_command(trial_datastore)
