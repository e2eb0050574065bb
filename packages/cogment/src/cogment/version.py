"""The version of the SDK."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["__version__"]

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> str:
        if name == "__version__":
            from importlib.metadata import version

            return version("cogment")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
