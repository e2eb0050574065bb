"""``cogment client join_token``."""

from __future__ import annotations

from pathlib import Path

import click

from cogment_services.cli.options import option

__all__ = ["join_token", "read_join_key"]

KEY_LIMIT = 65_536
"""Longest key that is read, in bytes: more is the wrong file."""


def read_join_key(path: str) -> bytes:
    """The secret in a file, without the white space around it.

    Raises:
        click.UsageError: The file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            key = file.read(KEY_LIMIT + 1)
    except OSError as error:
        raise click.UsageError(f"--join_key_file: {path!r} cannot be read: {error.strerror}") from error
    if len(key) > KEY_LIMIT:
        raise click.UsageError(f"--join_key_file: {path!r} has more than {KEY_LIMIT} bytes: that is no key")
    return key.strip()


@click.command("join_token")
@click.argument("trial_id")
@click.argument("actor_name")
@option("--join_key_file", "COGMENT_ORCHESTRATOR_JOIN_KEY_FILE", required=True, help="The Orchestrator's file.")
@option("--lifetime", type=click.FloatRange(1), default=3600.0, help="Seconds in which the actor has to join.")
def join_token(trial_id: str, actor_name: str, join_key_file: str, lifetime: float) -> None:
    """Make a token that lets one client take the part of ACTOR_NAME in the trial TRIAL_ID, once.

    The Orchestrator has to run with the same --join_key_file. A key is made, for example, with: openssl rand -hex 32
    """
    from cogment_core.join_tokens import JoinTokens

    click.echo(JoinTokens(read_join_key(join_key_file)).issue(trial_id, actor_name, lifetime))
