"""Receiving the data of a model, chunk by chunk."""

from __future__ import annotations

import asyncio
import io
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from cogment_core.api.model_registry_pb2 import RetrieveVersionDataRequest
from cogment_core.write_behind import WriteBehind
from cogment_model_registry.background import SMALL
from cogment_model_registry.bounded_call import BoundedCall
from cogment_model_registry.chunks import Checksum, Progress
from cogment_model_registry.destinations import write_all
from cogment_model_registry.errors import DamagedModelError
from cogment_model_registry.infos import ModelIterationInfo
from cogment_model_registry.wire import data_of

if TYPE_CHECKING:
    from cogment_core.client import RemoteService

__all__ = ["CACHE_SIZE", "Downloads"]

CACHE_SIZE = 32 * 1024 * 1024
"""Bytes of models that are kept in memory, to be had again without asking."""


class Downloads:
    """Gets the data of iterations, and verifies it.

    Models in memory are kept by the hash of their data, the latest used ones up to ``CACHE_SIZE`` bytes: several users
    of one model, and iterations that do not differ, cost one transfer.

    Args:
        service: The Model Registry.
    """

    def __init__(self, service: RemoteService) -> None:
        self._service = service
        self._cache: OrderedDict[str, bytes] = OrderedDict()
        self._cached = 0

    async def to_memory(self, info: ModelIterationInfo, progress: Progress | None, timeout: float) -> bytes:
        """The data of an iteration. Errors are those of `to_file`."""
        cached = self._cache.get(info.hash)
        if cached is not None and len(cached) == info.size:
            self._cache.move_to_end(info.hash)
            if progress is not None:
                progress(info.size, info.size)
            return cached
        buffer = io.BytesIO()  # gives its contents without copying them
        await self.to_file(info, buffer, progress, timeout)
        data = buffer.getvalue()
        self._keep(info.hash, data)
        return data

    async def to_file(
        self, info: ModelIterationInfo, file: BinaryIO, progress: Progress | None, timeout: float
    ) -> None:
        """Write the data of an iteration to ``file``.

        While chunks are received, those before are hashed and written in a thread.

        Args:
            info: The iteration.
            file: Where to write.
            progress: Called after each chunk.
            timeout: Seconds that a chunk may take.

        Raises:
            DamagedModelError: The data is not what ``info`` says. ``file`` may have it.
            NotFoundError: The iteration is not there any more.
            RpcError: The Model Registry did not send it.
        """
        checksum = Checksum()

        def take(chunk: bytes | memoryview) -> None:
            checksum.add(chunk)
            write_all(file, chunk)

        received = 0
        in_thread = partial(asyncio.get_running_loop().run_in_executor, None)
        async with WriteBehind(in_thread, take) as behind, aclosing(self._chunks(info, timeout)) as chunks:
            async for chunk in chunks:
                received += len(chunk)
                if received > info.size:
                    text = f"{info}: more data comes than the {info.size} bytes that the Model Registry says"
                    raise DamagedModelError(text, model_name=info.model_name, iteration=info.iteration)
                if info.size <= SMALL:
                    take(chunk)
                else:
                    await behind.put(chunk)
                if progress is not None:
                    progress(received, info.size)
            await behind.finish()
        checksum.verify(info, "received")

    async def _chunks(self, info: ModelIterationInfo, timeout: float) -> AsyncGenerator[bytes | memoryview, None]:
        request = RetrieveVersionDataRequest(model_id=info.model_name, version_number=info.iteration)
        method = "RetrieveVersionData"
        opened = await self._service.open(method, request)
        call = BoundedCall(opened, self._service.path(method), self._service.target, timeout)
        try:
            while (reply := await call.read()) is not None:
                yield data_of(reply)
        finally:
            call.cancel()

    def _keep(self, digest: str, data: bytes) -> None:
        if not digest or len(data) > CACHE_SIZE or digest in self._cache:
            return
        self._cache[digest] = data
        self._cached += len(data)
        while self._cached > CACHE_SIZE:
            _, dropped = self._cache.popitem(last=False)
            self._cached -= len(dropped)
