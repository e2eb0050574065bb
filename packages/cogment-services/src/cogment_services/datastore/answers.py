"""What all services of a datastore say alike."""

from __future__ import annotations

import asyncio
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from cogment_core.errors import CogmentError, UsageError
from cogment_services.datastore.parts import SMALL, check_parts
from cogment_services.datastore.store import DamageError, StoreError, StoreFullError, TrialGoneError
from cogment_services.refusals import Refusal, refuse

__all__ = ["no_trial", "parse", "say_no"]

MessageT = TypeVar("MessageT", bound=Message)

_CODES: tuple[tuple[type[StoreError], grpc.StatusCode], ...] = (
    (TrialGoneError, grpc.StatusCode.NOT_FOUND),
    (DamageError, grpc.StatusCode.DATA_LOSS),
    (StoreFullError, grpc.StatusCode.RESOURCE_EXHAUSTED),
    # Clients try again later: the disk may have room then.
    (StoreError, grpc.StatusCode.UNAVAILABLE),
)


async def say_no(context: Any, error: CogmentError) -> NoReturn:
    """End the call of ``context`` with the status and the text that ``error`` stands for."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            await refuse(context, Refusal(code, str(error)))
    await refuse(context, error)


def no_trial(trial_id: str) -> Refusal:
    """There is no such trial."""
    return Refusal(grpc.StatusCode.NOT_FOUND, f"there is no trial [{trial_id}] in this datastore")


async def parse(kind: type[MessageT], request: Any) -> MessageT:
    """A request, which comes serialized over gRPC, and as it is in process.

    Raises:
        UsageError: It cannot be decoded, or would fill the memory.
    """
    if isinstance(request, kind):
        return request
    if len(request) > SMALL:
        await asyncio.to_thread(check_parts, kind.DESCRIPTOR, request)
    try:
        return kind.FromString(request)
    except DecodeError as error:
        raise UsageError(f"a message cannot be decoded as {kind.DESCRIPTOR.full_name}") from error
