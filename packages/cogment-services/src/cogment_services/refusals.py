"""How a server says no: errors become gRPC statuses that tell the caller what to do."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc

from cogment_core.errors import BacklogError, CogmentError, RpcError, SpecsError, UsageError

__all__ = ["Refusal", "refuse"]

MAX_DETAILS = 2000
"""Longest text, in bytes. gRPC clients take 8 kB with a status, some bytes as three of them; else they see neither."""

_CODES: tuple[tuple[type[CogmentError], grpc.StatusCode], ...] = (
    (UsageError, grpc.StatusCode.INVALID_ARGUMENT),
    (SpecsError, grpc.StatusCode.INVALID_ARGUMENT),
    (BacklogError, grpc.StatusCode.RESOURCE_EXHAUSTED),
)


class Refusal(CogmentError):
    """A request that cannot be granted.

    Args:
        code: The status to answer with.
        message: Why, and what would help.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


async def refuse(context: Any, error: CogmentError) -> NoReturn:
    """End the call of ``context`` with the status and the text that ``error`` stands for.

    Errors without a status of their own are about the state that things are in: what is asked for may be granted
    once that is set right.
    """
    await context.abort(_code(error), _shortened(str(error)))
    raise AssertionError("abort does not return")


def _shortened(text: str) -> str:
    encoded = text.encode(errors="replace")
    return text if len(encoded) <= MAX_DETAILS else f"{encoded[:MAX_DETAILS].decode(errors='ignore')} ..."


def _code(error: CogmentError) -> grpc.StatusCode:
    if isinstance(error, Refusal):
        return error.code
    if isinstance(error, RpcError):
        return grpc.StatusCode.UNAVAILABLE
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return grpc.StatusCode.FAILED_PRECONDITION
