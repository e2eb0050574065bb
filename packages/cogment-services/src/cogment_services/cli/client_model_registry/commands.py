"""The options of ``cogment client model_registry``."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cogment_services.cli.client_options import client_options, said_endpoint, said_options
from cogment_services.cli.groups import AliasGroup
from cogment_services.cli.options import anywhere, noted_options, option
from cogment_services.cli.properties import properties_option

if TYPE_CHECKING:
    from cogment_core.endpoints import Endpoint

__all__ = ["model_registry"]

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

_KIND = "cogment_services.client_model_registry"
_ENDPOINT = "grpc://localhost:9002"


def _endpoint_options(function: FunctionT) -> FunctionT:
    """The options that say where the Model Registry is; they can be given before and after the name of a command."""
    add = option(
        "--endpoint",
        "COGMENT_MODEL_REGISTRY_ENDPOINT",
        default=_ENDPOINT,
        metavar="URL",
        help="Where the Model Registry is.",
        **anywhere(_KIND),
    )
    return client_options(add(function))


def _endpoint() -> Endpoint:
    """Where the options say that the Model Registry is."""
    return said_endpoint(str(noted_options(_KIND).get("endpoint", _ENDPOINT)))


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run a command to its end."""
    from cogment_services.cli.interrupts import run_interruptible
    from cogment_services.cli.results import one_line_errors

    with one_line_errors():
        run_interruptible(work)


@click.group(name="model_registry", cls=AliasGroup)
@_endpoint_options
def model_registry() -> None:
    """Work with the models in a Model Registry."""


@model_registry.command(name="list")
@_endpoint_options
def list_() -> None:
    """Show the models, by name."""
    from cogment_services.cli.client_model_registry import actions

    _run(actions.list_models(_endpoint(), said_options()))


@model_registry.command()
@click.argument("model")
@_endpoint_options
def info(model: str) -> None:
    """Show a model and its versions."""
    from cogment_services.cli.client_model_registry import actions

    _run(actions.show_model(_endpoint(), said_options(), model))


@model_registry.command()
@click.argument("model")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--properties", type=properties_option, default="", help="What to write on the version: name=value,name=value,..."
)
@click.option("--transient", is_flag=True, help="Do not store it: let it go when there are many newer ones.")
@_endpoint_options
def push(model: str, file: Path, properties: dict[str, str], transient: bool) -> None:
    """Make FILE the next version of a model, which is made if it is not there."""
    from cogment_services.cli.client_model_registry import actions

    _run(actions.push(_endpoint(), said_options(), model, file, properties, stored=not transient))


@model_registry.command()
@click.argument("model")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--version", type=int, default=-1, help="Which version; negative numbers count from the newest, which is -1."
)
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@_endpoint_options
def pull(model: str, file: Path, version: int, force: bool) -> None:
    """Write a version of a model, the newest by default, to FILE."""
    from cogment_services.cli.client_model_registry import actions

    _run(actions.pull(_endpoint(), said_options(), model, version, actions.as_destination(file, force=force)))


@model_registry.command()
@click.argument("model")
@_endpoint_options
def delete(model: str) -> None:
    """Delete a model with all its versions."""
    from cogment_services.cli.client_model_registry import actions

    _run(actions.delete(_endpoint(), said_options(), model))
