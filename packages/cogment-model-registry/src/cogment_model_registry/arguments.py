"""Checks of arguments: each returns the value to use, or raises a `UsageError` that says what it has to be."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TypeVar

from cogment_core.checks import as_seconds, as_text, as_whole, wrong
from cogment_core.errors import UsageError

__all__ = ["as_deserializer", "as_iteration", "as_name", "as_properties", "as_timeout"]

T = TypeVar("T")

_check_iteration = as_whole(-(2**31), 2**31 - 1)


def as_iteration(iteration: int) -> int:
    """``iteration``, which has to be a number that can be sent."""
    return _check_iteration("iteration", iteration)


def as_name(name: str) -> str:
    """``name``, which has to be text, and some: to existing servers, an empty name is that of all models."""
    if not as_text("the name of a model", name):
        raise UsageError("the name of a model is empty")
    return name


def as_properties(properties: Mapping[str, str] | None) -> dict[str, str]:
    """``properties``, which have to be texts by name."""
    if properties is None:
        return {}
    if not isinstance(properties, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise wrong("properties", "a dictionary of texts", properties)
    return {
        as_text("the name of a property", key): as_text(f"property {key!r}", value) for key, value in properties.items()
    }


def as_timeout(timeout: float) -> float:
    """``timeout``, which has to be a number of seconds."""
    seconds = as_seconds("timeout", timeout)
    if seconds <= 0:
        raise wrong("timeout", "more than 0 seconds", timeout)
    return seconds


def as_deserializer(function: Callable[[bytes], T] | None) -> Callable[[bytes], T] | None:
    """``function``, which has to be one that can be called with bytes, or None."""
    if function is None:
        return None
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise wrong("deserialize_func", "a function of the bytes of a model, which may take its time", function)
    try:
        signature = inspect.signature(function)
    except ValueError:  # some builtin functions do not say
        return function
    try:
        signature.bind(b"")
    except TypeError as error:
        raise UsageError(f"deserialize_func is called with the bytes of a model, and cannot be: {error}") from None
    return function
