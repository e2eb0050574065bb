"""Checks of the values that users give.

Each takes the name of what is checked, for the error, and a value. It returns the value to use, or raises a
`UsageError` that says what it has to be.
"""

from __future__ import annotations

import math
import operator
import reprlib
from collections.abc import Callable
from typing import Any, cast

from cogment_core.errors import UsageError

__all__ = [
    "as_bytes",
    "as_flag",
    "as_seconds",
    "as_specs",
    "as_text",
    "as_trial_id",
    "as_whole",
    "checked_token",
    "wrong",
]

_LARGEST_FLOAT32 = (2 - 2**-23) * 2.0**127


def as_text(name: str, value: object) -> str:
    """``value``, which has to be text that can be sent."""
    if not isinstance(value, str):
        raise wrong(name, "text", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise wrong(name, "text that can be encoded in UTF-8", value) from None
    return value


def as_specs(value: Any) -> Any:
    """``value``, if it can be the specs, a ``cog_settings`` module; None for none."""
    if value is not None and not hasattr(value, "actor_classes"):
        raise wrong("cog_settings", "the module that cogment.generate makes of a spec file, or None", value)
    return value


def as_trial_id(name: str, value: object) -> str:
    """``value`` as the id of a trial: text that can travel as metadata."""
    if not isinstance(value, str) or not value or not (value.isascii() and value.isprintable()):
        raise wrong(name, "the id of a trial, which is printable ASCII", value)
    return value


def as_whole(lowest: int, highest: int) -> Callable[[str, object], int]:
    """A check for whole numbers in a range, both ends included; of any integer type but ``bool``."""

    def check(name: str, value: object) -> int:
        expected = f"a whole number from {lowest} to {highest}"
        if isinstance(value, bool):
            raise wrong(name, expected, value)
        try:
            number = operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            raise wrong(name, expected, value) from None
        if not lowest <= number <= highest:
            raise wrong(name, expected, value)
        return number

    return check


def as_seconds(name: str, value: object) -> float:
    """``value`` as a number of seconds; 0, or less, means no limit, and infinite is refused in favour of it."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise wrong(name, "a number of seconds", value) from None
    if math.isnan(number) or abs(number) > _LARGEST_FLOAT32:
        raise wrong(name, "a finite number of seconds (0 for no limit)", value)
    return number


def as_flag(name: str, value: object) -> bool:
    """``value``, which has to be True or False."""
    if not isinstance(value, bool):
        raise wrong(name, "True or False", value)
    return value


def as_bytes(name: str, value: object) -> bytes:
    """``value`` as bytes."""
    if isinstance(value, bytes):
        return value
    if not isinstance(value, (bytearray, memoryview)):
        raise wrong(name, "bytes", value)
    return bytes(cast("bytearray", value))


def wrong(name: str, expected: str, value: object) -> UsageError:
    """The error that says that ``name`` has to be as ``expected``, and is not."""
    return UsageError(f"{name} has to be {expected}, not {reprlib.repr(value)} ({type(value).__name__})")


def checked_token(name: str, token: object) -> str | None:
    """``token`` if it can be sent, None if it is empty. No error repeats it.

    Raises:
        UsageError: It is no text, or not such as metadata can carry.
    """
    if token is None or token == "":
        return None
    if not isinstance(token, str):
        raise UsageError(f"{name} has to be text, not {type(token).__name__}")
    if not (token.isascii() and token.isprintable()):
        raise UsageError(f"{name} may only have printable ASCII text: is there a line break at its end?")
    return token
