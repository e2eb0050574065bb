"""``ModelRegistrySP``: models are made, kept in versions, given out, and followed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator
from contextlib import aclosing, asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import grpc

from cogment_core.api import model_registry_pb2 as messages
from cogment_core.api.model_registry_pb2_grpc import ModelRegistrySPServicer
from cogment_core.errors import CogmentError
from cogment_core.logs import logger
from cogment_services.model_registry.incoming import receive_version
from cogment_services.model_registry.metrics import RegistryMetrics
from cogment_services.model_registry.names import check_model_id, check_user_data
from cogment_services.model_registry.pages import limit_of, offset_in, parse_handle, selected
from cogment_services.model_registry.places import Places
from cogment_services.model_registry.reader import DamagedError, VersionReader
from cogment_services.model_registry.settings import Settings
from cogment_services.model_registry.storage import Storage
from cogment_services.model_registry.store import Store
from cogment_services.model_registry.subscribers import Subscribers
from cogment_services.model_registry.wire import as_reply
from cogment_services.model_registry.workers import abandon
from cogment_services.refusals import Refusal, refuse
from cogment_services.status import StatusReporter

__all__ = ["ModelRegistryService"]

UNKNOWN_TO_FOLLOWERS = grpc.StatusCode.INVALID_ARGUMENT
"""How clients have always known that the model that they want to follow is not there."""


class ModelRegistryService(StatusReporter, ModelRegistrySPServicer):
    """What clients use.

    Args:
        storage: What is kept.
        subscribers: Those who follow models.
        metrics: What is counted.
        settings: Bounds.
    """

    def __init__(
        self, storage: Storage, subscribers: Subscribers, metrics: RegistryMetrics, settings: Settings
    ) -> None:
        self._storage = storage
        self._subscribers = subscribers
        self._metrics = metrics
        self._settings = settings
        self._uploads = Places("uploads", settings.max_uploads)
        self._downloads = Places("downloads", settings.max_downloads)

    # --- models -------------------------------------------------------------------------------------------------

    async def CreateOrUpdateModel(
        self, request: messages.CreateOrUpdateModelRequest, context: Any
    ) -> messages.CreateOrUpdateModelReply:
        """Make a model without versions, or replace the user data of one."""
        async with _refusing(context):
            if not request.HasField("model_info"):
                raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "there is no model_info")
            check_model_id(request.model_info.model_id)
            check_user_data(request.model_info.user_data)
            await self._storage.ask(Store.put_model, request.model_info)
        return messages.CreateOrUpdateModelReply()

    async def DeleteModel(self, request: messages.DeleteModelRequest, context: Any) -> messages.DeleteModelReply:
        """Remove a model with all its versions."""
        async with _refusing(context):
            await self._storage.ask(Store.delete_model, check_model_id(request.model_id))
        return messages.DeleteModelReply()

    async def RetrieveModels(
        self, request: messages.RetrieveModelsRequest, context: Any
    ) -> messages.RetrieveModelsReply:
        """A page of the models that are asked for, of all if none are."""
        reply = messages.RetrieveModelsReply()
        async with _refusing(context):
            if request.model_ids:
                offset, model_ids = selected(request.model_ids, request.model_handle, request.models_count)
                model_ids = [check_model_id(model_id) for model_id in model_ids]
                found = await self._storage.ask(Store.models_called, model_ids)
            else:
                offset = offset_in(request.model_handle)
                found = await self._storage.ask(Store.models, offset, limit_of(request.models_count))
            reply.model_infos.extend(found)
            reply.next_model_handle = str(offset + len(found))
        return reply

    # --- versions -----------------------------------------------------------------------------------------------

    async def CreateVersion(self, request_iterator: Any, context: Any) -> messages.CreateVersionReply:
        """Add a version: a header, then its data in as many pieces as it takes."""
        reply = messages.CreateVersionReply()
        async with _refusing(context):
            with self._uploads.take():
                version = await receive_version(context, self._storage, self._settings, self._metrics)
            reply.version_info.CopyFrom(version)
        return reply

    async def RetrieveVersionInfos(
        self, request: messages.RetrieveVersionInfosRequest, context: Any
    ) -> messages.RetrieveVersionInfosReply:
        """A page of the versions that are asked for, of all if none are."""
        reply = messages.RetrieveVersionInfosReply()
        async with _refusing(context):
            check_model_id(request.model_id)
            if request.version_numbers:
                offset, numbers = selected(request.version_numbers, request.version_handle, request.versions_count)
                found = await self._storage.ask(Store.versions_numbered, request.model_id, list(numbers))
                following = offset + len(found)
            else:
                start = _first_number(request.version_handle)
                limit = limit_of(request.versions_count)
                found = await self._storage.ask(Store.versions, request.model_id, start, limit)
                following = found[-1].version_number + 1 if found else start
            reply.version_infos.extend(found)
            reply.next_version_handle = str(following)
        return reply

    async def RetrieveVersionData(
        self, request: messages.RetrieveVersionDataRequest, context: Any
    ) -> AsyncIterator[Any]:
        """The data of one version, in pieces. The last one comes only if all of them are what was stored."""
        async with _refusing(context):
            check_model_id(request.model_id)
            with self._downloads.take() as place, self._noting_damage():
                pack = partial(_packed, context)
                async with aclosing(self._replies(request.model_id, request.version_number, pack)) as replies:
                    async for reply, size in replies:
                        with place.lent(self._settings.patience):
                            yield reply
                        self._metrics.sent(size)

    async def VersionUpdate(
        self, request: messages.VersionUpdateRequest, context: Any
    ) -> AsyncIterator[messages.VersionUpdateReply]:
        """The newest version of a model, now and each time that there is a newer one."""
        async with _refusing(context):
            check_model_id(request.model_id)
            subscription = self._subscribers.add(request.model_id)
            try:
                newest = await self._storage.ask(Store.newest, request.model_id, UNKNOWN_TO_FOLLOWERS)
                if newest is not None:
                    subscription.offer(newest)
                await context.send_initial_metadata(())  # tells the client that from here on it misses nothing
                async for info in subscription:
                    yield messages.VersionUpdateReply(version_info=info)
            finally:
                self._subscribers.remove(subscription)

    async def _replies(
        self, model_id: str, number: int, pack: Callable[[memoryview], tuple[Any, int]]
    ) -> AsyncGenerator[tuple[Any, int], None]:
        """Messages with the data of a version, and their sizes; while one is sent, the next one is read."""
        movers, size = self._storage.movers, self._settings.chunk_size
        reader = VersionReader()
        reading: asyncio.Future[tuple[Any, int]] | None = None
        try:
            await self._storage.ask(Store.open, reader, model_id, number)
            reading = movers.start(reader.read, size, pack)
            while True:
                reply = await reading
                is_last = not reader.left
                if not is_last:
                    reading = movers.start(reader.read, size, pack)
                yield reply
                if is_last:
                    return
        finally:
            if reading is not None:
                abandon(reading)
            movers.later(reader.close)

    @contextmanager
    def _noting_damage(self) -> Generator[None, None, None]:
        try:
            yield
        except DamagedError as error:
            self._metrics.damaged()
            logger.error("%s", error)
            raise


def _packed(context: Any, chunk: memoryview) -> tuple[Any, int]:
    return as_reply(context, chunk), len(chunk)


def _first_number(handle: str) -> int:
    number = parse_handle(handle)
    if number < 0:
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, f"{handle!r} is no handle of a version")
    return number


@asynccontextmanager
async def _refusing(context: Any) -> AsyncGenerator[None, None]:
    """Ends the call with the status that an error stands for."""
    try:
        yield
    except CogmentError as error:
        await refuse(context, error)
