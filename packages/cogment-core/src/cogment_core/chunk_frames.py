"""The messages that carry the data of models, without the copies that protobuf makes.

A message for 2 MiB of data is built, nested, serialized and parsed by protobuf, each time with a copy in new memory:
that takes several times as much processor time as sending it. Here the few bytes around the data are written and read
by hand. What others may send besides, as fields that are not known yet, is left to protobuf.
"""

from __future__ import annotations

from cogment_core.api.model_registry_pb2 import CreateVersionRequestChunk, RetrieveVersionDataReplyChunk

__all__ = ["Data", "parse_reply", "parse_request", "serialized_body", "serialized_reply"]

Data = bytes | bytearray | memoryview
"""Some of the data of a model."""

_BODY = b"\x12"
"""Tag of ``CreateVersionRequestChunk.body``: field 2, with a length."""

_DATA = b"\x0a"
"""Tag of ``data_chunk`` in both messages that carry data: field 1, with a length."""


# --- up -------------------------------------------------------------------------------------------------------------


def serialized_body(chunk: Data) -> bytes:
    """A ``CreateVersionRequestChunk`` with ``chunk``, serialized."""
    inner = _DATA + _varint(len(chunk))
    return b"".join((_BODY, _varint(len(inner) + len(chunk)), inner, chunk))


def parse_request(message: bytes) -> CreateVersionRequestChunk | memoryview:
    """The data in a ``CreateVersionRequestChunk``, not copied; the message itself if it has anything else in it.

    Raises:
        google.protobuf.message.DecodeError: It cannot be decoded.
    """
    inner = _only_field(message, 0, _BODY)
    begin = 0 if inner is None else _only_field(message, inner, _DATA)
    if inner is None or begin is None:
        return CreateVersionRequestChunk.FromString(message)
    return memoryview(message)[begin:]


# --- down -----------------------------------------------------------------------------------------------------------


def serialized_reply(chunk: Data) -> bytes:
    """A ``RetrieveVersionDataReplyChunk`` with ``chunk``, serialized."""
    return b"".join((_DATA, _varint(len(chunk)), chunk)) if chunk else b""


def parse_reply(message: bytes) -> bytes | memoryview:
    """The data in a ``RetrieveVersionDataReplyChunk``; not copied if there is nothing else in it.

    Raises:
        google.protobuf.message.DecodeError: It cannot be decoded.
    """
    begin = _only_field(message, 0, _DATA)
    if begin is None:
        return RetrieveVersionDataReplyChunk.FromString(message).data_chunk
    return memoryview(message)[begin:]


# --- fields ---------------------------------------------------------------------------------------------------------


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _only_field(message: bytes, start: int, tag: bytes) -> int | None:
    """Where the content of the field with ``tag`` begins, if from ``start`` on there is that field and no other."""
    if message[start : start + 1] != tag:
        return None
    length = 0
    for index, byte in enumerate(message[start + 1 : start + 6]):
        length |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            begin = start + index + 2
            return begin if length == len(message) - begin else None
    return None
