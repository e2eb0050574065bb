"""Uploads: a stream of messages becomes a version, or nothing."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from cogment_core.api.model_registry_pb2 import ModelVersionInfo
from cogment_core.write_behind import WriteBehind
from cogment_services.model_registry.metrics import RegistryMetrics
from cogment_services.model_registry.names import check_model_id, check_user_data
from cogment_services.model_registry.settings import Settings
from cogment_services.model_registry.storage import Storage
from cogment_services.model_registry.store import Store
from cogment_services.model_registry.upload import Upload
from cogment_services.model_registry.wire import data_in
from cogment_services.model_registry.workers import abandon
from cogment_services.refusals import Refusal

__all__ = ["receive_version"]

UNKNOWN_MODEL = grpc.StatusCode.INTERNAL
"""How clients have always known that the model of a new version is not there."""

SLOWEST = 16 * 1024
"""Bytes per second that a client has to send at least: others would hold the places of uploads for ever."""


async def receive_version(
    context: Any, storage: Storage, settings: Settings, metrics: RegistryMetrics
) -> ModelVersionInfo:
    """Make a version of what a client sends.

    Args:
        context: The call; nothing was read from it yet.
        storage: Where it goes.
        settings: Bounds.
        metrics: Counts it.

    Raises:
        Refusal: What was sent makes no version. Nothing of it is left.
    """
    stream = _Stream(context, settings.patience)
    info = _header(await stream.read(), settings.max_model_size)
    await storage.ask(Store.check_model, info.model_id, UNKNOWN_MODEL)
    upload = storage.new_upload()
    try:
        await _receive_data(stream, info, upload, storage, metrics)
        await storage.movers.start(_complete, upload, info)
        version = await storage.ask(Store.add_version, info, upload, UNKNOWN_MODEL)
    except BaseException:
        storage.movers.later(upload.abandon)
        raise
    metrics.version_created(stored=version.archived)
    return version


def _header(message: Any, max_size: int) -> ModelVersionInfo:
    """The version that a first message announces."""
    if message is grpc.aio.EOF:
        raise _invalid("the stream ended before its header")
    if isinstance(message, memoryview) or message.WhichOneof("msg") != "header":
        raise _invalid("the first message has to be a header")
    if not message.header.HasField("version_info"):
        raise _invalid("the header has no version_info")
    info: ModelVersionInfo = message.header.version_info
    check_model_id(info.model_id)
    check_user_data(info.user_data)
    if info.data_size > max_size:
        text = f"{info.data_size} bytes of data are more than the {max_size} that a version may have (max_model_size)"
        raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
    return info


async def _receive_data(
    stream: _Stream, info: ModelVersionInfo, upload: Upload, storage: Storage, metrics: RegistryMetrics
) -> None:
    """Write what comes to ``upload``, in a thread, while more comes."""
    received = 0
    behind = WriteBehind(storage.movers.start, partial(upload.write, early=info.archived))
    try:
        while (message := await stream.read()) is not grpc.aio.EOF:
            chunk = data_in(message)
            if chunk is None:
                raise _invalid("all messages after the header have to be bodies")
            received += len(chunk)
            stream.brought(len(chunk))
            metrics.received(len(chunk))
            if received > info.data_size:
                break
            await behind.put(chunk)
        if received != info.data_size:
            raise _invalid(f"the stream ended without the expected data: {received} bytes, announced {info.data_size}")
        await behind.finish()
    except BaseException:
        behind.abandon()
        raise


def _complete(upload: Upload, info: ModelVersionInfo) -> None:
    """Blocks until the data are on the disk, if they are to stay; refuses them if they are not those announced."""
    if info.data_hash and info.data_hash != upload.data_hash:
        raise _invalid(f"the data have the hash {upload.data_hash}, announced {info.data_hash[:100]!a}")
    upload.finish(durable=info.archived)


class _Stream:
    """The messages of a client, which has to get on.

    Args:
        context: The call.
        patience: Seconds that the client may send nothing, or less than `SLOWEST`.
    """

    def __init__(self, context: Any, patience: float) -> None:
        self._context = context
        self._patience = patience
        self._left = patience

    def brought(self, size: int) -> None:
        """The last message had so many bytes of data."""
        self._left = min(self._patience, self._left + size / SLOWEST)

    async def read(self) -> Any:
        """The next message; ``EOF`` after the last one, or if the client has gone."""
        began = time.monotonic()
        reading: asyncio.Future[Any] = asyncio.ensure_future(self._context.read())
        try:
            # Not ``wait_for``: a read that is given up is the end of the stream for those who read after it.
            await asyncio.wait({reading}, timeout=self._left)
            if not reading.done():
                text = f"no data came for {self._patience:g} s, or less than {SLOWEST} bytes per second"
                raise Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, text)
            self._left = max(0.0, self._left - (time.monotonic() - began))
            return reading.result()
        except DecodeError as error:
            raise _invalid("a message cannot be decoded") from error
        finally:
            if not reading.done():
                abandon(reading)


def _invalid(text: str) -> Refusal:
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, text)
