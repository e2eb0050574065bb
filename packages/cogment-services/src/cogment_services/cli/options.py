"""Options that the servers share.

For all options: the command line comes before the environment, and that before the default; an environment variable
that is empty counts as not set.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from cogment_services.log_output import LogOptions

__all__ = ["PORT", "SPACED_OR_COMMAS", "anywhere", "log_options", "log_settings", "noted_options", "option"]

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

PORT = click.IntRange(0, 65535)
"""A TCP port."""

_LOG = "cogment_services.log"


def option(name: str, envvar: str | list[str] | None = None, **settings: Any) -> Callable[[FunctionT], FunctionT]:
    """An option; its environment variables and its default are shown in the help.

    Args:
        name: Its name, with the dashes.
        envvar: Environment variables that it is read from, the first that is set counts.
        settings: What else ``click.option`` takes.
    """
    return click.option(name, envvar=envvar, show_envvar=envvar is not None, show_default=True, **settings)


def split_commas(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> tuple[str, ...]:
    """The items of an option that may be repeated and have several items, with commas between them, each time.

    In the environment there is white space between items instead, and commas are part of them.
    """
    if ctx.get_parameter_source(parameter.name or "") is not ParameterSource.COMMANDLINE:
        return value
    return tuple(item.strip() for part in value for item in part.split(",") if item.strip())


SPACED_OR_COMMAS: dict[str, Any] = {"multiple": True, "callback": split_commas}
"""Settings of such an option."""


def anywhere(kind: str) -> dict[str, Any]:
    """Settings of an option that can be given before and after the name of a command.

    Each group and command on the way has it; `noted_options` tells what was said.

    Args:
        kind: Name of the options that it belongs to.
    """
    return {"callback": partial(_note, kind), "expose_value": False}


def _note(kind: str, ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
    """Note an option: the one that is nearest to the end of the command line counts."""
    name = parameter.name or ""
    source = ctx.get_parameter_source(name)
    noted: dict[str, Any] = ctx.meta.setdefault(kind, {})
    if source is ParameterSource.COMMANDLINE or (source is ParameterSource.ENVIRONMENT and name not in noted):
        noted[name] = value


def noted_options(kind: str) -> dict[str, Any]:
    """What was said with the options of ``kind``, see `anywhere`; options that were not given are not there."""
    noted: dict[str, Any] = click.get_current_context().meta.get(kind, {})
    return noted


def log_options(function: FunctionT) -> FunctionT:
    """The options of the log, which can be given before and after the name of the server."""
    levels = "off, error, warning, info, debug or trace"
    for add in (
        option("--log_format", "COGMENT_LOG_FORMAT", help="text or json; json is the default in files.", **_NOTED),
        option("--log_file", "COGMENT_LOG_FILE", help="File to append the log to, instead of the console.", **_NOTED),
        option("--log_level", "COGMENT_LOG_LEVEL", help=f"What is logged: {levels}. Default: info.", **_NOTED),
    ):
        function = add(function)
    return function


_NOTED: dict[str, Any] = anywhere(_LOG)


def log_settings() -> LogOptions:
    """What the options of the log say."""
    from cogment_services.log_output import LogOptions

    noted = noted_options(_LOG)
    return LogOptions(noted.get("log_level") or "info", noted.get("log_file"), noted.get("log_format"))
