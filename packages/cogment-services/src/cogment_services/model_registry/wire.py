"""The methods of the service, whose streams of data give and take bytes where gRPC carries them."""

from __future__ import annotations

from typing import Any

import grpc

from cogment_core.api.model_registry_pb2 import (
    CreateVersionReply,
    CreateVersionRequestChunk,
    RetrieveVersionDataReplyChunk,
    RetrieveVersionDataRequest,
)
from cogment_core.api.model_registry_pb2_grpc import add_ModelRegistrySPServicer_to_server
from cogment_core.chunk_frames import Data, parse_request, serialized_reply
from cogment_core.inprocess.context import InProcessServicerContext

__all__ = ["MODEL_REGISTRY", "add_to_server", "as_reply", "data_in"]

MODEL_REGISTRY = "cogmentAPI.ModelRegistrySP"
"""Full name of the service."""


def add_to_server(servicer: Any, server: Any) -> None:
    """Let ``server`` answer calls of the service; those with data go past protobuf, because they are found first."""
    handlers: dict[str, Any] = {
        "CreateVersion": grpc.stream_unary_rpc_method_handler(
            servicer.CreateVersion, parse_request, CreateVersionReply.SerializeToString
        ),
        "RetrieveVersionData": grpc.unary_stream_rpc_method_handler(
            servicer.RetrieveVersionData, RetrieveVersionDataRequest.FromString, _serialize
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(MODEL_REGISTRY, handlers),))
    add: Any = add_ModelRegistrySPServicer_to_server
    add(servicer, server)


def data_in(request: CreateVersionRequestChunk | memoryview) -> Data | None:
    """The data in what was read from a call; None if it is another message."""
    if isinstance(request, memoryview):
        return request
    return request.body.data_chunk if request.WhichOneof("msg") == "body" else None


def as_reply(context: Any, chunk: Data) -> RetrieveVersionDataReplyChunk | bytes:
    """The message with a copy of ``chunk``, as it is written to a call: serialized already, if it will be."""
    if isinstance(context, InProcessServicerContext):
        return RetrieveVersionDataReplyChunk(data_chunk=bytes(chunk))
    return serialized_reply(chunk)


def _serialize(reply: RetrieveVersionDataReplyChunk | bytes) -> bytes:
    return reply if isinstance(reply, bytes) else reply.SerializeToString()
