"""A Model Registry in memory that can be made to misbehave, and the client of it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio
import pytest

from cogment_core.api import common_pb2, model_registry_pb2, model_registry_pb2_grpc
from cogment_core.channels import open_channel
from cogment_core.endpoints import Endpoint, ServiceType
from cogment_core.inprocess import InProcessEndpoint, InProcessServer
from cogment_model_registry import ModelRegistry, connect


def hash_of(data: bytes) -> str:
    """How the protocol writes the SHA-256 of ``data``."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


class FakeRegistry(model_registry_pb2_grpc.ModelRegistrySPServicer):
    """Keeps models in dictionaries.

    Attributes:
        models: Properties of the models, by name.
        versions: Infos and data of the iterations, by name.
        calls: The names of the methods called.
        page: Most entries in one answer; existing clients ask for 10.
        chunk: Bytes in one message of a download.
        existing: Whether unknown models are told of as existing servers do.
        failure: What all calls but ``Version`` fail with, if set.
        alter: Changes what is said about an iteration before it is said.
        send: Replaces the chunks of downloads.
        receive: Called with each message of an upload; may abort.
        next_handle: Instead of the right handle of the next page of models.
        metadata: That of the last call.
        watchers: How many watch.
        watched: Set when somebody begins to watch.
    """

    def __init__(self) -> None:
        self.models: dict[str, dict[str, str]] = {}
        self.versions: dict[str, list[tuple[Any, bytes]]] = {}
        self.calls: list[str] = []
        self.page = 10
        self.chunk = 1000
        self.existing = False
        self.failure: tuple[grpc.StatusCode, str] | None = None
        self.alter: Callable[[Any], None] = lambda info: None
        self.send: Callable[[bytes, Any], AsyncIterator[bytes]] | None = None
        self.receive: Callable[[Any, Any], Any] | None = None
        self.next_handle = ""
        self.metadata: dict[str, Any] = {}
        self.watchers = 0
        self.watched = asyncio.Event()
        self._changed = asyncio.Event()

    # --- what tests do ------------------------------------------------------------------------------------------

    def add(self, name: str, data: bytes, stored: bool = True) -> Any:
        """Add an iteration."""
        self.models.setdefault(name, {})
        versions = self.versions.setdefault(name, [])
        info = model_registry_pb2.ModelVersionInfo(
            model_id=name,
            version_number=len(versions) + 1,
            creation_timestamp=1_700_000_000_000_000_000 + len(versions),
            archived=stored,
            data_hash=hash_of(data),
            data_size=len(data),
        )
        versions.append((info, data))
        self.tell()
        return info

    def tell(self) -> None:
        """Let those who watch look again."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def said(self, info: Any) -> Any:
        """A copy of ``info``, as it is said."""
        copy = model_registry_pb2.ModelVersionInfo()
        copy.CopyFrom(info)
        self.alter(copy)
        return copy

    # --- the service --------------------------------------------------------------------------------------------

    async def _called(self, method: str, context: Any) -> None:
        self.calls.append(method)
        self.metadata = dict(context.invocation_metadata())
        if self.failure is not None:
            await context.abort(*self.failure)

    async def _find(self, name: str, number: int, context: Any) -> tuple[Any, bytes]:
        versions = self.versions.get(name, [])
        if number < 0:
            number += len(versions) + 1
        for info, data in versions:
            if info.version_number == number and data is not None:
                return info, data
        await context.abort(grpc.StatusCode.NOT_FOUND, f"no version {number} of model {name!r} found")
        raise AssertionError

    async def CreateOrUpdateModel(self, request: Any, context: Any) -> Any:
        await self._called("CreateOrUpdateModel", context)
        self.models[request.model_info.model_id] = dict(request.model_info.user_data)
        self.versions.setdefault(request.model_info.model_id, [])
        return model_registry_pb2.CreateOrUpdateModelReply()

    async def DeleteModel(self, request: Any, context: Any) -> Any:
        await self._called("DeleteModel", context)
        if self.models.pop(request.model_id, None) is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no model")
        self.versions.pop(request.model_id, None)
        return model_registry_pb2.DeleteModelReply()

    async def RetrieveModels(self, request: Any, context: Any) -> Any:
        await self._called("RetrieveModels", context)
        for name in request.model_ids:
            if name not in self.models:
                await context.abort(grpc.StatusCode.NOT_FOUND, f"no model {name!r} found")
        names = list(request.model_ids) or sorted(self.models)
        begin = int(request.model_handle or 0)
        chosen = names[begin : begin + min(request.models_count or self.page, self.page)]
        infos = [model_registry_pb2.ModelInfo(model_id=name, user_data=self.models[name]) for name in chosen]
        return model_registry_pb2.RetrieveModelsReply(
            model_infos=infos, next_model_handle=self.next_handle or str(begin + len(chosen))
        )

    async def CreateVersion(self, requests: Any, context: Any) -> Any:
        await self._called("CreateVersion", context)
        header, data = None, b""
        async for request in requests:
            if self.receive is not None:
                await self.receive(request, context)
            if header is None:
                header = request.header.version_info
            else:
                data += request.body.data_chunk
        assert header is not None
        if header.data_size != len(data):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "ended without expected data")
        if header.model_id not in self.models:
            code = grpc.StatusCode.INTERNAL if self.existing else grpc.StatusCode.NOT_FOUND
            await context.abort(code, f"no model {header.model_id!r} found")
        info = self.add(header.model_id, data, header.archived)
        info.user_data.update(header.user_data)
        return model_registry_pb2.CreateVersionReply(version_info=self.said(info))

    async def RetrieveVersionInfos(self, request: Any, context: Any) -> Any:
        await self._called("RetrieveVersionInfos", context)
        if request.model_id not in self.models:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.model_id!r} found")
        if request.version_numbers:
            infos = [(await self._find(request.model_id, n, context))[0] for n in request.version_numbers]
            return model_registry_pb2.RetrieveVersionInfosReply(version_infos=map(self.said, infos))
        begin = int(request.version_handle or 0) or 1
        count = min(request.versions_count or self.page, self.page)
        infos = [info for info, _ in self.versions[request.model_id] if info.version_number >= begin][:count]
        handle = str(infos[-1].version_number + 1) if infos else request.version_handle or "0"
        return model_registry_pb2.RetrieveVersionInfosReply(version_infos=infos, next_version_handle=handle)

    async def RetrieveVersionData(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self._called("RetrieveVersionData", context)
        _, data = await self._find(request.model_id, request.version_number, context)
        send = self.send or self._pieces
        async for chunk in send(data, context):
            yield model_registry_pb2.RetrieveVersionDataReplyChunk(data_chunk=chunk)

    async def _pieces(self, data: bytes, context: Any) -> AsyncIterator[bytes]:
        for begin in range(0, max(len(data), 1), self.chunk):
            yield data[begin : begin + self.chunk]

    async def VersionUpdate(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self._called("VersionUpdate", context)
        if request.model_id not in self.models:
            code = grpc.StatusCode.INVALID_ARGUMENT if self.existing else grpc.StatusCode.NOT_FOUND
            await context.abort(code, f"no model {request.model_id!r} found")
        last = 0
        self.watchers += 1
        self.watched.set()
        try:
            while True:
                changed = self._changed
                if self.failure is not None:
                    await context.abort(*self.failure)
                versions = self.versions.get(request.model_id, [])
                if versions and versions[-1][0].version_number > last:
                    last = versions[-1][0].version_number
                    yield model_registry_pb2.VersionUpdateReply(version_info=self.said(versions[-1][0]))
                await changed.wait()
        finally:
            self.watchers -= 1

    async def Version(self, request: Any, context: Any) -> Any:
        return common_pb2.VersionInfo()  # as existing ones answer


class FakeContext:
    """As much of a Context as a client needs."""

    def __init__(self, channel: Any) -> None:
        self.user_id = "me"
        self.settings = None
        self.asked_for: list[ServiceType] = []
        self.failure: Exception | None = None
        self.closed = asyncio.Event()
        self._channel = channel

    async def wait_closed(self) -> None:
        await self.closed.wait()

    def grpc_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        return [("x-project", "demo")]

    async def channel(self, endpoint: Endpoint, service_type: ServiceType, *, stream_of: str = "") -> Any:
        if self.failure is not None:
            raise self.failure
        self.asked_for.append(service_type)
        return self._channel


@pytest.fixture
async def fake() -> FakeRegistry:
    """The Model Registry."""
    return FakeRegistry()


@asynccontextmanager
async def serving(fake: FakeRegistry, address: str = "127.0.0.1:0") -> AsyncIterator[tuple[grpc.aio.Server, int]]:
    """Serve the Model Registry over gRPC."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    servicer: Any = fake
    model_registry_pb2_grpc.add_ModelRegistrySPServicer_to_server(servicer, server)
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield server, port
    finally:
        await server.stop(None)


@pytest.fixture
def serve() -> Any:
    """Serves a Model Registry over gRPC; at a given address, or any."""
    return serving


@pytest.fixture(params=["in process", "grpc"])
async def channel(request: pytest.FixtureRequest, fake: FakeRegistry) -> AsyncIterator[Any]:
    """A channel to the Model Registry: what holds over one transport holds over the other."""
    if request.param == "in process":
        server = InProcessServer()
        servicer: Any = fake
        model_registry_pb2_grpc.add_ModelRegistrySPServicer_to_server(servicer, server)
        yield open_channel(InProcessEndpoint(server))
        await server.stop(None)
        return
    async with serving(fake) as (_, port), open_channel(Endpoint(f"grpc://127.0.0.1:{port}")) as opened:
        yield opened


@pytest.fixture
async def context(channel: Any) -> FakeContext:
    """The Context."""
    return FakeContext(channel)


@pytest.fixture
async def registry(context: FakeContext) -> AsyncIterator[ModelRegistry]:
    """The client."""
    async with connect(context, Endpoint("grpc://registry:9002")) as client:
        yield client


@pytest.fixture
def sha256() -> Callable[[bytes], str]:
    """The hash of data, as the protocol writes it."""
    return hash_of
