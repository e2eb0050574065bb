"""What can go wrong while data is exported."""

from __future__ import annotations

from cogment_core.errors import CogmentError

__all__ = ["ExportError", "MissingExtraError"]


class ExportError(CogmentError):
    """The data cannot be represented in the format."""


class MissingExtraError(CogmentError):
    """A format needs a package that is not installed; the message says what to install."""
