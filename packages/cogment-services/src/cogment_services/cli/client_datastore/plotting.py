"""``plot``: the returns of episodes."""

from __future__ import annotations

import json
import shutil
import sys

import click

from cogment_core.errors import UsageError
from cogment_services.cli.client_datastore.outputs import FileOutput, StreamOutput
from cogment_services.cli.client_datastore.plot_png import check_matplotlib, draw_png
from cogment_services.cli.client_datastore.plot_text import draw_text
from cogment_services.cli.client_datastore.returns import Episode, read_episodes
from cogment_services.cli.client_datastore.selection import Selection, select
from cogment_services.cli.client_datastore.series import as_curves, time_span
from cogment_services.cli.client_datastore.store import Place, open_store
from cogment_services.cli.client_options import ClientOptions
from cogment_services.cli.results import tell
from cogment_services.cli.terminal import count_of

__all__ = ["plot"]


async def plot(
    place: Place, options: ClientOptions, selection: Selection, output: FileOutput | StreamOutput | None
) -> None:
    """Read the returns of trials, and draw them.

    Args:
        place: Where the datastore is.
        options: How to wait, and how to tell.
        selection: The trials.
        output: Where to write a picture; None to draw in the terminal.

    Raises:
        UsageError: There are no such trials, no such actors, or nothing to draw pictures with.
    """
    if output is not None:
        check_matplotlib()
    async with open_store(place, options.timeout) as store:
        infos = await select(store, selection)
        episodes = await read_episodes(store, infos, selection.actor_classes)
    curves = as_curves(episodes)
    if not curves:
        raise UsageError("these trials have no such actors")
    if output is not None:
        with output:
            draw_png(curves, len(episodes), time_span(episodes), output.stream)
        message = f"the returns of {count_of(len(episodes), 'trial')} are in {output.path}"
        if output.path is not None:
            tell(options.as_json, message, filepath=str(output.path), trial_ids=[it.trial_id for it in episodes])
    elif options.as_json:
        click.echo(json.dumps({"trials": [_as_object(episode) for episode in episodes]}))
    else:
        width = shutil.get_terminal_size().columns
        is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
        click.echo(draw_text(curves, len(episodes), time_span(episodes), width=width, is_unicode=is_unicode))


def _as_object(episode: Episode) -> dict[str, object]:
    return {
        "trial_id": episode.trial_id,
        "started": episode.started,
        "samples": episode.steps,
        "returns": episode.returns,
    }
