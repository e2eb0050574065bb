"""``cogment client``: work with servers that run."""

from __future__ import annotations

import click

from cogment_services.cli.client_datastore.commands import trial_datastore
from cogment_services.cli.client_directory import directory
from cogment_services.cli.client_model_registry.commands import model_registry
from cogment_services.cli.client_options import client_options
from cogment_services.cli.groups import AliasGroup
from cogment_services.cli.join_token import join_token

__all__ = ["client"]


@click.group(cls=AliasGroup, aliases={"datastore": "trial_datastore", "registry": "model_registry"})
@client_options
def client() -> None:
    """Work with a server that runs."""


client.add_command(directory)
client.add_command(join_token)
client.add_command(model_registry)
client.add_command(trial_datastore)
