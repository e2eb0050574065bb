"""A Model Registry over real gRPC, and what tests ask of it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from cogment_core.api import model_registry_pb2 as messages
from cogment_core.api.model_registry_pb2_grpc import ModelRegistrySPStub
from cogment_services.model_registry import ModelRegistryServer

PATIENCE = 30.0
"""Seconds that a test waits for what has to come."""

Chunk = messages.CreateVersionRequestChunk


class Client:
    """Calls of a stub, with bounds."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.stub: Any = ModelRegistrySPStub(channel)

    async def create(self, model_id: str, **user_data: str) -> None:
        info = messages.ModelInfo(model_id=model_id, user_data=user_data)
        await self.stub.CreateOrUpdateModel(messages.CreateOrUpdateModelRequest(model_info=info), timeout=PATIENCE)

    async def delete(self, model_id: str) -> None:
        await self.stub.DeleteModel(messages.DeleteModelRequest(model_id=model_id), timeout=PATIENCE)

    async def models(self, ids: Iterable[str] = (), count: int = 0, handle: str = "") -> Any:
        request = messages.RetrieveModelsRequest(model_ids=ids, models_count=count, model_handle=handle)
        return await self.stub.RetrieveModels(request, timeout=PATIENCE)

    async def names(self) -> list[str]:
        return [info.model_id for info in (await self.models()).model_infos]

    def header(self, model_id: str, size: int, archived: bool = True, **fields: Any) -> Any:
        """The first message of an upload."""
        info = messages.ModelVersionInfo(model_id=model_id, data_size=size, archived=archived, **fields)
        return Chunk(header=Chunk.Header(version_info=info))

    def body(self, data: bytes) -> Any:
        """Another message of an upload."""
        return Chunk(body=Chunk.Body(data_chunk=data))

    async def upload(self, *requests: Any) -> Any:
        """The version that these messages make."""
        return (await self.stub.CreateVersion(iter(requests), timeout=PATIENCE)).version_info

    async def push(self, model_id: str, data: bytes = b"data", *, archived: bool = True, **fields: Any) -> Any:
        """A new version."""
        bodies = [self.body(data[start : start + 2**20]) for start in range(0, len(data), 2**20)]
        return await self.upload(self.header(model_id, len(data), archived, **fields), *bodies)

    async def infos(self, model_id: str, *numbers: int, count: int = 0, handle: str = "") -> Any:
        request = messages.RetrieveVersionInfosRequest(
            model_id=model_id, version_numbers=numbers, versions_count=count, version_handle=handle
        )
        return await self.stub.RetrieveVersionInfos(request, timeout=PATIENCE)

    async def all_infos(self, model_id: str) -> list[Any]:
        """All versions, page by page."""
        found: list[Any] = []
        reply = await self.infos(model_id)
        while reply.version_infos:
            found += reply.version_infos
            reply = await self.infos(model_id, handle=reply.next_version_handle)
        return found

    async def numbers(self, model_id: str) -> list[int]:
        return [info.version_number for info in await self.all_infos(model_id)]

    async def chunks(self, model_id: str, number: int = -1) -> list[bytes]:
        request = messages.RetrieveVersionDataRequest(model_id=model_id, version_number=number)
        return [reply.data_chunk async for reply in self.stub.RetrieveVersionData(request, timeout=PATIENCE)]

    async def data(self, model_id: str, number: int = -1) -> bytes:
        return b"".join(await self.chunks(model_id, number))

    def follow(self, model_id: str) -> Any:
        """A stream of the newest versions."""
        return self.stub.VersionUpdate(messages.VersionUpdateRequest(model_id=model_id), timeout=2 * PATIENCE)


def hash_of(data: bytes) -> str:
    """The SHA-256 of ``data`` as it is in messages."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


async def status_of(call: Any) -> grpc.StatusCode:
    """The status that a call fails with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code()


@pytest.fixture(name="hash_of")
def _hash_of() -> Callable[[bytes], str]:
    return hash_of


@pytest.fixture(name="status_of")
def _status_of() -> Callable[[Any], Any]:
    return status_of


@pytest.fixture
async def connect() -> AsyncIterator[Callable[[int], Client]]:
    """Makes clients of the server at a port."""
    channels: list[grpc.aio.Channel] = []

    def connect(port: int) -> Client:
        channels.append(grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]))
        return Client(channels[-1])

    yield connect
    for channel in channels:
        await channel.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where models are kept."""
    return tmp_path / "models"


@pytest.fixture
async def serve(root: Path) -> AsyncIterator[Callable[..., Any]]:
    """Starts servers that keep their models in ``root``; those that still run are closed in the end."""
    servers: list[ModelRegistryServer] = []

    async def serve(path: Path | None = root, **settings: Any) -> ModelRegistryServer:
        servers.append(ModelRegistryServer(path, **{"port": 0, "grace": 0.5, **settings}))
        await servers[-1].start()
        return servers[-1]

    yield serve
    for server in servers:
        await server.close()


@pytest.fixture
async def client(serve: Callable[..., Any], connect: Callable[[int], Client]) -> Client:
    """A client of a server with a model called ``m``."""
    result = connect((await serve()).port)
    await result.create("m")
    return result
