"""Sending the data of a model, chunk by chunk."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

from cogment_core.api.model_registry_pb2 import CreateVersionReply, CreateVersionRequestChunk, ModelVersionInfo
from cogment_core.chunk_frames import Data
from cogment_core.errors import UsageError
from cogment_model_registry.background import SMALL, Background
from cogment_model_registry.bounded_call import BoundedCall
from cogment_model_registry.chunks import CHUNK_SIZE, Checksum, Progress
from cogment_model_registry.infos import ModelIterationInfo
from cogment_model_registry.wire import as_request

if TYPE_CHECKING:
    from cogment_core.client import RemoteService
    from cogment_model_registry.sources import Source

__all__ = ["upload"]

_SLOWEST_STORING = 8 * 1024 * 1024
"""Bytes per second that a Model Registry stores at least, once it has all of them."""


async def upload(
    service: RemoteService, version: ModelVersionInfo, source: Source, progress: Progress | None, timeout: float
) -> ModelIterationInfo:
    """Make an iteration.

    Args:
        service: The Model Registry.
        version: What to say about the iteration.
        source: Its data, at the beginning.
        progress: Called after each chunk.
        timeout: Seconds that a chunk may take.

    Raises:
        DamagedModelError: The Model Registry got something else than was sent.
        UsageError: ``source`` has become shorter.
        RpcError: The Model Registry did not take it.
    """
    version.data_size = source.size
    header = CreateVersionRequestChunk(header=CreateVersionRequestChunk.Header(version_info=version))
    checksum = Checksum()
    opened = await service.open("CreateVersion")
    call = BoundedCall(opened, service.path("CreateVersion"), service.target, timeout)
    try:
        if await call.write(header):
            await _send(call, partial(as_request, opened), source, checksum, progress)
        reply: CreateVersionReply = await call.reply(timeout + source.size / _SLOWEST_STORING)
    finally:
        call.cancel()
    info = ModelIterationInfo.from_proto(reply.version_info)
    checksum.verify(info, "sent")
    return info


async def _send(
    call: BoundedCall, pack: Callable[[Data], Any], source: Source, checksum: Checksum, progress: Progress | None
) -> None:
    sent = 0
    async with aclosing(_chunks(source, checksum, pack)) as chunks:
        async for request, size in chunks:
            if not await call.write(request):
                return
            sent += size
            if progress is not None:
                progress(sent, source.size)


async def _chunks(
    source: Source, checksum: Checksum, pack: Callable[[Data], Any]
) -> AsyncGenerator[tuple[Any, int], None]:
    """The requests with the data, and how many bytes each has.

    While one is sent, a thread reads, hashes and packs the next. Only these two are in memory.
    """

    def take(size: int) -> tuple[Any, int]:
        chunk = source.read(size)
        if not chunk:
            raise UsageError("the file of the model became shorter while it was sent")
        checksum.add(chunk)
        return pack(chunk), len(chunk)

    if source.size <= SMALL:
        yield take(source.size)
        return
    async with Background[tuple[Any, int]]() as background:
        remaining = source.size
        background.start(take, min(CHUNK_SIZE, remaining))
        while remaining:
            request, size = await background.result()
            remaining -= size
            if remaining:
                background.start(take, min(CHUNK_SIZE, remaining))
            yield request, size
