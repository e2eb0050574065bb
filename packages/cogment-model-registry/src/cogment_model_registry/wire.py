"""The messages that carry data, without the copies that protobuf makes.

A message for 2 MiB of data is built, nested, and serialized by protobuf, each time with a copy in new memory: that
takes three times as much processor time as sending it. Here the few bytes around the data are written by hand.
"""

from __future__ import annotations

from typing import Any

import grpc.aio

from cogment_core.api.model_registry_pb2 import (
    CreateVersionReply,
    CreateVersionRequestChunk,
    RetrieveVersionDataReplyChunk,
    RetrieveVersionDataRequest,
)
from cogment_core.api.model_registry_pb2_grpc import ModelRegistrySPStub
from cogment_core.inprocess import InProcessChannel
from cogment_core.inprocess.calls import Call

__all__ = ["as_request", "data_of", "make_stub", "parse_reply", "serialized_body"]

_BODY = b"\x12"
"""Tag of ``CreateVersionRequestChunk.body``: field 2, with a length."""

_DATA = b"\x0a"
"""Tag of ``data_chunk`` in both messages that carry data: field 1, with a length."""


def make_stub(channel: grpc.aio.Channel) -> Any:
    """The stub of the service, whose streams take and give bytes where gRPC carries them."""
    make_stub: Any = ModelRegistrySPStub
    stub = make_stub(channel)
    if isinstance(channel, InProcessChannel):
        return stub  # nothing is serialized
    stub.CreateVersion = channel.stream_unary(
        "/cogmentAPI.ModelRegistrySP/CreateVersion",
        request_serializer=_serialize,
        response_deserializer=CreateVersionReply.FromString,
    )
    stub.RetrieveVersionData = channel.unary_stream(
        "/cogmentAPI.ModelRegistrySP/RetrieveVersionData",
        request_serializer=RetrieveVersionDataRequest.SerializeToString,
        response_deserializer=parse_reply,
    )
    return stub


# --- up -------------------------------------------------------------------------------------------------------------


def as_request(call: Any, chunk: bytes) -> CreateVersionRequestChunk | bytes:
    """The message with ``chunk``, as it is written to ``call``: serialized already, if it will be."""
    if isinstance(call, Call):
        return CreateVersionRequestChunk(body=CreateVersionRequestChunk.Body(data_chunk=chunk))
    return serialized_body(chunk)


def serialized_body(chunk: bytes) -> bytes:
    """The message with ``chunk``, serialized."""
    inner = _DATA + _varint(len(chunk))
    return b"".join((_BODY, _varint(len(inner) + len(chunk)), inner, chunk))


def _serialize(request: CreateVersionRequestChunk | bytes) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString()


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


# --- down -----------------------------------------------------------------------------------------------------------


def parse_reply(message: bytes) -> bytes | memoryview:
    """The data in a message; not copied if there is nothing else in it."""
    length, begin = _length(message)
    if message[:1] == _DATA and length == len(message) - begin:
        return memoryview(message)[begin:]
    return RetrieveVersionDataReplyChunk.FromString(message).data_chunk


def _length(message: bytes) -> tuple[int, int]:
    """The length after the tag, and where what it is the length of begins."""
    length = 0
    for position, byte in enumerate(message[1:6]):
        length |= (byte & 0x7F) << (7 * position)
        if byte < 0x80:
            return length, position + 2
    return -1, 0


def data_of(reply: Any) -> bytes | memoryview:
    """The data in what was read from a call."""
    return reply.data_chunk if isinstance(reply, RetrieveVersionDataReplyChunk) else reply
