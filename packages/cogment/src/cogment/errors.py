"""The errors that Cogment raises. `cogment_core.errors` draws their tree."""

from __future__ import annotations

from cogment_core.errors import (
    BacklogError,
    CogmentError,
    DeadlineError,
    DecodeError,
    EndpointError,
    NotFoundError,
    ProtocolError,
    RefusedError,
    RpcError,
    SpecsError,
    UnavailableError,
    UsageError,
)

__all__ = [
    "BacklogError",
    "CogmentError",
    "CogmentGenerateError",
    "DeadlineError",
    "DecodeError",
    "EndpointError",
    "NotFoundError",
    "ProtocolError",
    "RefusedError",
    "RpcError",
    "SpecsError",
    "UnavailableError",
    "UsageError",
]


class CogmentGenerateError(Exception):
    """A spec file cannot be compiled. No `CogmentError`, because nothing that runs a trial raises it."""
