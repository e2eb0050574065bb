"""The options of ``cogment client trial_datastore``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cogment_services.cli.client_options import client_options, said_endpoint, said_options
from cogment_services.cli.groups import AliasGroup
from cogment_services.cli.moments import moment_option
from cogment_services.cli.options import anywhere, noted_options, option
from cogment_services.cli.properties import properties_option

if TYPE_CHECKING:
    from cogment_services.cli.client_datastore.selection import Selection
    from cogment_services.cli.client_datastore.store import Place

__all__ = ["trial_datastore"]

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

_KIND = "cogment_services.client_datastore"
_ENDPOINT = "grpc://localhost:9003"
_SELECTION = ("trial_ids", "properties", "since", "until", "actor_classes")
_FORMATS = ("cogment", "jsonl", "parquet", "minari")


def _place_options(function: FunctionT) -> FunctionT:
    for add in (
        option(
            "--file_storage",
            metavar="PATH",
            help="The file of a Trial Datastore that does not run: it is opened here.",
            **anywhere(_KIND),
        ),
        option(
            "--endpoint",
            "COGMENT_TRIAL_DATASTORE_ENDPOINT",
            default=_ENDPOINT,
            metavar="URL",
            help="Where the Trial Datastore is.",
            **anywhere(_KIND),
        ),
    ):
        function = add(function)
    return client_options(function)


def _place() -> Place:
    from cogment_services.cli.client_datastore.store import Place

    said = noted_options(_KIND)
    return Place(said_endpoint(said.get("endpoint", _ENDPOINT)), said.get("file_storage"))


def _selection_options(function: FunctionT) -> FunctionT:
    """The options that say which trials are meant. The function gets them as a `Selection`."""
    for add in (
        click.option("--actor_class", "actor_classes", multiple=True, help="Actors of this class only; repeatable."),
        click.option(
            "--until",
            type=moment_option,
            metavar="TIME",
            help="Trials that started before: 2026-11-21T14:30, or 2h, hours ago.",
        ),
        click.option("--since", type=moment_option, metavar="TIME", help="Trials that started then or later."),
        click.option(
            "--properties",
            type=properties_option,
            metavar="TEXT",
            default="",
            help="Trials with name=value,name=value,...",
        ),
        click.argument("trial_ids", nargs=-1),
    ):
        function = add(function)
    return function


def _selection(
    trial_ids: tuple[str, ...],
    properties: dict[str, str],
    since: datetime | None,
    until: datetime | None,
    actor_classes: tuple[str, ...],
) -> Selection:
    from cogment_services.cli.client_datastore.selection import Selection

    return Selection(trial_ids, properties, since, until, actor_classes)


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run a command to its end."""
    from cogment_services.cli.interrupts import run_interruptible
    from cogment_services.cli.results import one_line_errors

    with one_line_errors():
        run_interruptible(work)


@click.group(name="trial_datastore", cls=AliasGroup, aliases={"list": "list_trials", "delete": "delete_trials"})
@_place_options
def trial_datastore() -> None:
    """Work with the trials in a Trial Datastore."""


@trial_datastore.command(name="list_trials")
@option("--count", type=click.IntRange(1), default=10, help="How many trials to show at most.")
@click.option("--from", "handle", default="", help="Where to go on, as an earlier list says.")
@click.option(
    "--properties",
    type=properties_option,
    metavar="TEXT",
    default="",
    help="Trials with name=value,name=value,... only.",
)
@_place_options
def list_trials(count: int, handle: str, properties: dict[str, str]) -> None:
    """Show the trials, in the order in which they were added. Also: list."""
    from cogment_services.cli.client_datastore import listing

    _run(listing.list_trials(_place(), said_options(), count=count, handle=handle, properties=properties))


@trial_datastore.command(name="delete_trials")
@click.argument("trial_ids", nargs=-1, required=True)
@_place_options
def delete_trials(trial_ids: tuple[str, ...]) -> None:
    """Delete trials, with all their samples. Also: delete."""
    from cogment_services.cli.client_datastore import listing

    _run(listing.delete_trials(_place(), said_options(), trial_ids))


@trial_datastore.command(name="export")
@_selection_options
@click.option("--all", "is_all", is_flag=True, help="All trials.")
@click.option("--file", metavar="PATH", help="Where to write; without it, or with -, to the standard output.")
@click.option(
    "--format", "kind", type=click.Choice(_FORMATS), default="cogment", show_default=True, help="What to write."
)
@click.option("--cog_settings", metavar="PATH", help="The cog_settings.py of the trials: data by field, not as bytes.")
@click.option("--dataset_id", metavar="ID", help="For minari: like cartpole/{actor}-v0; {actor} stands for its name.")
@click.option(
    "--leave_out", multiple=True, metavar="FIELD", help="For minari: like observation.player.name; repeatable."
)
@click.option("--skip_incomplete", is_flag=True, help="For minari: leave out trials with gaps.")
@click.option(
    "--max_episode_steps",
    type=click.IntRange(0),
    default=0,
    help="For minari: after how many steps the environment itself ends every episode, which is truncated then.",
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@click.option("--resume", is_flag=True, help="Go on with an export that was interrupted.")
@_place_options
def export(is_all: bool, kind: str, **options: Any) -> None:
    """Write trials to a file: as they are stored, or as data for training."""
    from cogment_services.cli.client_datastore import exporting

    chosen = {name: options.pop(name) for name in _SELECTION}
    if not is_all and not any(chosen[name] for name in ("trial_ids", "properties", "since", "until")):
        raise click.UsageError("which trials? Give their ids, --properties, --since or --until, or --all")
    target = exporting.Target(kind=kind, **options)
    _run(exporting.export(_place(), said_options(), _selection(**chosen), target))


@trial_datastore.command(name="import")
@click.option("--file", metavar="PATH", help="What to read; without it, or with -, the standard input.")
@click.option("--prefix", default="", help="What to put before the ids of the trials.")
@option("--user_id", default="cogment CLI", help="Whose trials they are to be.")
@click.option("--resume", is_flag=True, help="Leave out trials that are there already, with all their samples.")
@_place_options
def import_(file: str | None, prefix: str, user_id: str, resume: bool) -> None:
    """Add the trials of a file that export wrote: each of them whole, or not at all."""
    from cogment_services.cli.client_datastore import importing
    from cogment_services.cli.results import one_line_errors

    with one_line_errors():
        importing.import_(_place(), said_options(), file, prefix=prefix, user_id=user_id, resume=resume)


@trial_datastore.command(name="plot")
@_selection_options
@click.option("--output", metavar="PATH", help="Draw a PNG picture into this file, rather than in the terminal.")
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@_place_options
def plot(output: str | None, force: bool, **chosen: Any) -> None:
    """Draw what the actors of trials returned: of all trials, or of those that are chosen."""
    from cogment_services.cli.client_datastore import outputs, plotting

    target = output and outputs.as_output(output, force=force, resume=False, is_resumable=False)
    _run(plotting.plot(_place(), said_options(), _selection(**chosen), target or None))
