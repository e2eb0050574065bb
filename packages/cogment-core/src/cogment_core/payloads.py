"""Between the messages that users define and the bytes that travel."""

from __future__ import annotations

from google.protobuf.message import DecodeError as ProtobufDecodeError
from google.protobuf.message import Message

from cogment_core.errors import DecodeError, SpecsError, UsageError

__all__ = ["decode", "require"]


def decode(content: bytes, space: type[Message] | None, what: str) -> Message:
    """Parse ``content`` as a ``space``.

    Args:
        content: Serialized message.
        space: Its type; None if the specs are not known.
        what: What it is, for the error.

    Raises:
        SpecsError: ``space`` is None.
        DecodeError: The bytes are not such a message.
    """
    if space is None:
        raise SpecsError(f"specs (cog_settings) are needed to read {what}; without them use its serialized form")
    try:
        return space.FromString(content)
    except ProtobufDecodeError as error:
        name = space.DESCRIPTOR.full_name
        raise DecodeError(f"{what} ({len(content)} bytes) cannot be read as {name!r}: {error}") from error


def require(payload: object, space: type[Message] | None, what: str) -> None:
    """Refuse a payload that is not of the type that it has to be.

    Hot paths ask ``type(payload) is space`` first, which is nearly always true.

    Args:
        payload: What a user wants to send.
        space: The type that it has to be of; None to accept any message.
        what: What it is, for the error.

    Raises:
        UsageError: It is something else.
    """
    if not _fits(payload, space):
        wanted = f"a {space.DESCRIPTOR.full_name!r}" if space is not None else "a protobuf message"
        raise UsageError(f"{what} has to be {wanted}, not {_type_name(payload)!r}")


def _fits(payload: object, space: type[Message] | None) -> bool:
    if not isinstance(payload, Message):
        return False
    # The same protobuf type can be several Python classes, when one file was generated into two modules.
    return space is None or payload.DESCRIPTOR.full_name == space.DESCRIPTOR.full_name


def _type_name(payload: object) -> str:
    return payload.DESCRIPTOR.full_name if isinstance(payload, Message) else type(payload).__name__
