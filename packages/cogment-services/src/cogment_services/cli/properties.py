"""Properties of trials as text: ``name=value, name, ...``."""

from __future__ import annotations

from collections.abc import Mapping

import click

__all__ = ["format_properties", "parse_properties", "properties_option"]


def parse_properties(text: str) -> dict[str, str]:
    """The properties in ``text``; a name alone has an empty value, and the last of several values counts.

    Raises:
        ValueError: There is a value without a name, or more than one ``=`` in a property.
    """
    properties: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, *values = (part.strip() for part in item.split("="))
        if not name or len(values) > 1:
            raise ValueError(f"{item!r} is no property; write name=value, with commas between properties")
        properties[name] = values[0] if values else ""
    return properties


def format_properties(properties: Mapping[str, str]) -> str:
    """The text for ``properties``, in the order of their names."""
    return ",".join(f"{name}={value}" if value else name for name, value in sorted(properties.items()))


def properties_option(text: str) -> dict[str, str]:
    """The properties that the value of an option stands for.

    Raises:
        BadParameter: It is no list of properties.
    """
    try:
        return parse_properties(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
