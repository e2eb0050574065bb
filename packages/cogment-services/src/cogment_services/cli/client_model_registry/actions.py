"""What the commands of ``cogment client model_registry`` do."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click

from cogment_core.context import Context
from cogment_core.endpoints import Endpoint
from cogment_core.errors import CogmentError, UsageError
from cogment_model_registry import ModelInfo, ModelIterationInfo, ModelRegistry, connect
from cogment_services.cli.client_options import ClientOptions
from cogment_services.cli.patience import Patience
from cogment_services.cli.progress import progress_bar
from cogment_services.cli.properties import format_properties
from cogment_services.cli.results import tell
from cogment_services.cli.terminal import bytes_text, count_of, one_line, table

__all__ = ["as_destination", "delete", "list_models", "pull", "push", "show_model"]

USER = "cogment CLI"
"""Who the commands are, for the server."""


async def list_models(endpoint: Endpoint, options: ClientOptions) -> None:
    """Show all models."""
    async with _open(endpoint, options) as (registry, _):
        models = await registry.list_models()
    if options.as_json:
        click.echo(json.dumps([_model_facts(model) for model in models]))
        return
    click.echo(table(("model", "properties"), ((it.name, format_properties(it.properties)) for it in models)))
    click.echo(count_of(len(models), "model"))


async def show_model(endpoint: Endpoint, options: ClientOptions, name: str) -> None:
    """Show a model and its versions."""
    async with _open(endpoint, options) as (registry, _):
        versions = await registry.list_iterations(name)
        model = await registry.get_model_info(name)
    if model is None:
        raise CogmentError(f"there is no model {name!r}")
    if options.as_json:
        click.echo(json.dumps({**_model_facts(model), "versions": [_facts(version) for version in versions]}))
        return
    properties = format_properties(model.properties)
    click.echo(
        one_line(f"{model.name}, {count_of(len(versions), 'version')}" + (f": {properties}" if properties else ""))
    )
    click.echo(table(("version", "created", "size", "kept", "SHA-256", "properties"), map(_row, versions)))


async def push(
    endpoint: Endpoint, options: ClientOptions, name: str, file: Path, properties: Mapping[str, str], *, stored: bool
) -> None:
    """Make a file the next version of a model."""
    size = _size(file)
    async with _open(endpoint, options) as (registry, patience):
        send = registry.store_model if stored else registry.publish_model
        with _progress(f"sending {file.name}", size, patience) as progress:
            version = await send(name, file, properties, progress=progress, timeout=options.timeout)
    tell(options.as_json, f"{file} is now {_name(version)}", **_facts(version))


def _size(file: Path) -> int:
    return file.stat().st_size


async def pull(endpoint: Endpoint, options: ClientOptions, name: str, number: int, destination: Path) -> None:
    """Write a version of a model to a file, which appears once it is whole; or to a pipe or a device."""
    is_output = _is_standard_output(destination)
    async with _open(endpoint, options) as (registry, patience):
        version = await registry.get_iteration_info(name, number)
        if version is None:
            raise CogmentError(f"model {name!r} has no version {number}")
        number = version.iteration
        with _progress(f"receiving {version.model_name}", version.size, patience) as progress:
            found = await registry.retrieve_model_to(
                name, destination, number, progress=progress, timeout=options.timeout
            )
    if found is None:
        raise CogmentError(f"model {name!r} has no version {number} any more")
    if not is_output:  # there the data are
        tell(options.as_json, f"{_name(version)} is in {destination}", file=str(destination), **_facts(version))


def _is_standard_output(file: Path) -> bool:
    try:
        return os.path.samestat(file.stat(), os.fstat(1))
    except OSError:  # one of them is not there
        return False


async def delete(endpoint: Endpoint, options: ClientOptions, name: str) -> None:
    """Delete a model with all its versions."""
    async with _open(endpoint, options) as (registry, _):
        await registry.remove_model(name)
    tell(options.as_json, f"model {name!r} is deleted", model=name)


def as_destination(file: Path, *, force: bool) -> Path:
    """``file``, if it may be written.

    Raises:
        UsageError: It is there already.
    """
    if file.is_file() and not force:
        raise UsageError(f"{file} is there already; --force replaces it")
    return file


@asynccontextmanager
async def _open(endpoint: Endpoint, options: ClientOptions) -> AsyncGenerator[tuple[ModelRegistry, Patience], None]:
    """The Model Registry at ``endpoint``, and the patience with it, for the time of the block."""
    async with (
        Context(user_id=USER, cog_settings=None, prometheus_registry=None) as context,
        Patience(options.timeout, "an answer of the Model Registry") as patience,
    ):
        yield connect(context, endpoint), patience


@contextmanager
def _progress(what: str, size: int, patience: Patience) -> Generator[Callable[[int, int], None], None, None]:
    """Show how much is transferred, on a terminal."""
    with progress_bar(one_line(what), size, "bytes") as advance:

        def show(done: int, total: int) -> None:
            advance(done - advance.done)
            if done < total:
                patience.renew()
            else:
                patience.pause()  # a disk takes its time with what is large; the transfer has bounds of its own

        yield show


def _name(version: ModelIterationInfo) -> str:
    return f"version {version.iteration} of model {version.model_name!r}"


def _model_facts(model: ModelInfo) -> dict[str, Any]:
    return {"model": model.name, "properties": model.properties}


def _facts(version: ModelIterationInfo) -> dict[str, Any]:
    return {
        "model": version.model_name,
        "version": version.iteration,
        "timestamp": version.timestamp,
        "size": version.size,
        "hash": version.hash,
        "stored": version.stored,
        "properties": version.properties,
    }


def _row(version: ModelIterationInfo) -> tuple[str, ...]:
    return (
        str(version.iteration),
        _time(version.timestamp),
        bytes_text(version.size),
        "stored" if version.stored else "transient",
        version.hash,
        format_properties(version.properties),
    )


def _time(nanoseconds: int) -> str:
    try:
        moment = datetime.fromtimestamp(nanoseconds // 10**9, tz=timezone.utc)
    except (OverflowError, ValueError, OSError):  # servers may say what they like
        return str(nanoseconds)
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
