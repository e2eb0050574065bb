"""The options of servers that register themselves in a Directory. See `cogment_services.registration`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from cogment_services.cli.options import option
from cogment_services.cli.properties import parse_properties

if TYPE_CHECKING:
    from cogment_services.registration import DirectorySettings

__all__ = ["directory_options", "directory_settings"]

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])


def _properties(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    """The properties of an option that may be repeated."""
    if ctx.get_parameter_source(parameter.name or "") is ParameterSource.ENVIRONMENT:
        value = (" ".join(value),)  # an environment variable is one text, which click has split at its white space
    properties: dict[str, str] = {}
    for text in value:
        try:
            properties.update(parse_properties(text))
        except ValueError as error:
            raise click.BadParameter(str(error), ctx, parameter) from error
    return properties


def directory_options(service: str, *, auto_register: bool = False) -> Callable[[FunctionT], FunctionT]:
    """The options of the Directory, for a command; `directory_settings` reads them.

    Args:
        service: What the environment variables of the server call it, for example ``MODEL_REGISTRY``.
        auto_register: Whether there is an option not to register.
    """
    prefix = f"COGMENT_{service}_DIRECTORY_"
    options = [
        option(
            "--directory_endpoint",
            "COGMENT_DIRECTORY_ENDPOINT",
            metavar="URL",
            help="Directory to register in, for example grpc://localhost:9005.",
        ),
        option(
            "--directory_authentication_token",
            "COGMENT_DIRECTORY_AUTHENTICATION_TOKEN",
            metavar="TOKEN",
            help="What the Directory lets in with; the variable is better, as others can see command lines.",
        ),
        option(
            "--directory_registration_host",
            f"{prefix}REGISTRATION_HOST",
            metavar="HOST",
            help="Host to register: this machine, as others reach it. Default: where it listens.",
        ),
        option(
            "--directory_registration_properties",
            f"{prefix}REGISTRATION_PROPERTIES",
            multiple=True,
            callback=_properties,
            metavar="NAME=VALUE,...",
            help="Properties to register; may be repeated.",
        ),
    ]
    if auto_register:
        name = "--directory_auto_register"
        options.append(
            option(
                name, f"{prefix}AUTO_REGISTER", type=bool, default=True, help="Whether to register in the Directory."
            )
        )

    def add(function: FunctionT) -> FunctionT:
        for each in reversed(options):
            function = each(function)
        return function

    return add


def directory_settings(options: Mapping[str, Any]) -> DirectorySettings | None:
    """What the options of `directory_options` say; None if there is no Directory.

    Raises:
        click.UsageError: The endpoint is no address, or the token cannot be sent.
    """
    from cogment_core.checks import checked_token
    from cogment_core.errors import CogmentError
    from cogment_services.registration import DirectorySettings

    if not options["directory_endpoint"]:
        return None
    settings = DirectorySettings(
        options["directory_endpoint"],
        options["directory_authentication_token"] or None,
        options.get("directory_auto_register", True),
        options["directory_registration_host"] or None,
        options["directory_registration_properties"],
    )
    try:
        settings.address(None)
        checked_token("--directory_authentication_token", settings.token)
    except CogmentError as error:
        raise click.UsageError(f"--directory_endpoint: {error}") from error
    return settings
