"""What all services of a datastore say alike."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata
from typing import Any, NoReturn, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from cogment_core.api.common_pb2 import StatusReply, VersionInfo
from cogment_core.errors import CogmentError, UsageError
from cogment_core.serving import status_reply, version_info
from cogment_services.datastore.store import DamageError, StoreError, StoreFullError, TrialGoneError
from cogment_services.refusals import Refusal, refuse

__all__ = ["no_trial", "parse", "say_no", "status", "version"]

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


def parse(kind: type[MessageT], request: Any) -> MessageT:
    """A request of a stream, which comes serialized over gRPC, and as it is in process.

    Raises:
        UsageError: It cannot be decoded.
    """
    if isinstance(request, kind):
        return request
    try:
        return kind.FromString(request)
    except DecodeError as error:
        raise UsageError(f"a message cannot be decoded as {kind.DESCRIPTOR.full_name}") from error


def version() -> VersionInfo:
    """Which version this is."""
    return version_info(cogment=metadata.version("cogment-services"))


def status(names: Iterable[str]) -> StatusReply:
    """The statuses that are asked for by name; datastores are not chosen by their load, so that is always 0."""
    return status_reply(names, {"overall_load": lambda: 0})
