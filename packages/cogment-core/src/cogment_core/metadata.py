"""The metadata that a Context sends with its calls."""

from __future__ import annotations

import base64
import re

from cogment_core.errors import UsageError

__all__ = ["GrpcMetadata"]

_KEY = r"[0-9a-z_.-]+"
_TEXT = r"[\x20-\x7e]*"


class GrpcMetadata:
    """Metadata to send with gRPC calls: pairs of a key and a value, in order; a key may occur more than once.

    Values are never shown in ``repr``, because they are often secrets.
    """

    def __init__(self) -> None:
        self._pairs: list[tuple[str, str | bytes]] = []

    def add(self, key: str, value: str | bytes) -> None:
        """Add a pair.

        Args:
            key: Letters, digits, ``_``, ``-`` and ``.``; it is sent in lower case. ``grpc-`` is reserved for gRPC.
            value: Printable ASCII text; ``bytes``, any, if and only if the key ends in ``-bin``.

        Raises:
            UsageError: gRPC could not send it. The value is not repeated in the error.
        """
        key = key.lower()
        if not re.fullmatch(_KEY, key):
            raise UsageError(f"metadata key {key!r} may only have letters, digits, '_', '-' and '.'")
        if key.startswith("grpc-"):
            raise UsageError(f"metadata key {key!r} is not allowed: keys that start with 'grpc-' belong to gRPC")
        _check_value(key, value)
        self._pairs.append((key, value))

    def add_http_basic_auth(self, username: str, password: str) -> None:
        """Add a user name and a password as ``authorization``, in the way of HTTP basic authentication (RFC 7617).

        Raises:
            UsageError: The user name has a colon, which cannot be told from the one before the password.
        """
        if ":" in username:
            raise UsageError(f"user name {username!r} may not have a colon in HTTP basic authentication")
        credentials = base64.b64encode(f"{username}:{password}".encode()).decode("ascii")
        self.add("authorization", f"basic {credentials}")

    def copy(self) -> GrpcMetadata:
        """An independent copy."""
        result = GrpcMetadata()
        result._pairs = self._pairs.copy()
        return result

    def to_grpc_metadata(self) -> list[tuple[str, str | bytes]]:
        """The pairs, as gRPC calls take them; a list of the caller's own."""
        return self._pairs.copy()

    def __repr__(self) -> str:
        return f"GrpcMetadata({', '.join(key for key, _ in self._pairs)})"


def _check_value(key: str, value: object) -> None:
    if key.endswith("-bin"):
        if not isinstance(value, bytes):
            raise UsageError(f"metadata {key!r} needs bytes, because its key ends in '-bin'; not {_kind(value)}")
    elif not isinstance(value, str):
        raise UsageError(f"metadata {key!r} needs text, not {_kind(value)}; keys of bytes end in '-bin'")
    elif not re.fullmatch(_TEXT, value):
        raise UsageError(f"metadata {key!r} may only have printable ASCII text; send other data under a '-bin' key")


def _kind(value: object) -> str:
    return type(value).__name__
