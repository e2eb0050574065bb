"""Packages that only some formats need."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from cogment_datastore.exports.errors import MissingExtraError

__all__ = ["load"]


def load(module: str, extra: str) -> Any:
    """Import ``module``, which the extra ``extra`` of this package brings.

    Raises:
        MissingExtraError: It is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or module).partition(".")[0]
        raise MissingExtraError(f"{missing} is not installed: run pip install 'cogment-datastore[{extra}]'") from error
