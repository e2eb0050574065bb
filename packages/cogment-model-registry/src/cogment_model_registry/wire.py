"""The stub of the Model Registry, whose streams of data take and give bytes where gRPC carries them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc.aio

from cogment_core.api.model_registry_pb2 import (
    CreateVersionReply,
    CreateVersionRequestChunk,
    RetrieveVersionDataReplyChunk,
    RetrieveVersionDataRequest,
)
from cogment_core.api.model_registry_pb2_grpc import ModelRegistrySPStub
from cogment_core.chunk_frames import Data, parse_reply, serialized_body
from cogment_core.inprocess import InProcessChannel
from cogment_core.inprocess.calls import Call

__all__ = ["as_request", "data_of", "make_stub"]

_CHUNKS_AHEAD = 2
"""How many chunks may wait for a reader in the same process; over gRPC there are as many."""


def make_stub(channel: grpc.aio.Channel) -> Any:
    """The stub of the service."""
    make_stub: Any = ModelRegistrySPStub
    stub = make_stub(channel)
    if isinstance(channel, InProcessChannel):  # nothing is serialized
        stub.CreateVersion = _not_far_ahead(stub.CreateVersion)
        stub.RetrieveVersionData = _not_far_ahead(stub.RetrieveVersionData)
        return stub
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


def _not_far_ahead(method: Callable[..., Call]) -> Callable[..., Call]:
    def begin(*args: Any, **options: Any) -> Call:
        call = method(*args, **options)
        call.set_queue_limit(_CHUNKS_AHEAD)
        return call

    return begin


def as_request(call: Any, chunk: Data) -> CreateVersionRequestChunk | bytes:
    """The message with a copy of ``chunk``, as it is written to ``call``: serialized already, if it will be."""
    if isinstance(call, Call):
        return CreateVersionRequestChunk(body=CreateVersionRequestChunk.Body(data_chunk=bytes(chunk)))
    return serialized_body(chunk)


def _serialize(request: CreateVersionRequestChunk | bytes) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString()


def data_of(reply: Any) -> bytes | memoryview:
    """The data in what was read from a call."""
    return reply.data_chunk if isinstance(reply, RetrieveVersionDataReplyChunk) else reply
