"""The one error of the generator."""

from __future__ import annotations

__all__ = ["CogmentGenerateError"]


class CogmentGenerateError(Exception):
    """The spec file cannot be compiled.

    It is not a ``CogmentError``: the generator needs no other package of the SDK.

    Args:
        message: Which file and key, what is wrong with it, and what would be right.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
