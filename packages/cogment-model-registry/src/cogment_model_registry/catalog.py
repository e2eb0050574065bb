"""Which models there are, and which iterations: everything but their data."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING

import grpc

from cogment_core.api.model_registry_pb2 import (
    CreateOrUpdateModelRequest,
    DeleteModelRequest,
    RetrieveModelsReply,
    RetrieveModelsRequest,
    RetrieveVersionInfosReply,
    RetrieveVersionInfosRequest,
    VersionUpdateRequest,
)
from cogment_core.api.model_registry_pb2 import ModelInfo as ModelInfoProto
from cogment_core.errors import NotFoundError, ProtocolError, RefusedError
from cogment_model_registry.infos import ModelInfo, ModelIterationInfo

if TYPE_CHECKING:
    from cogment_core.client import RemoteService

__all__ = ["Catalog"]

_PAGE = 100
"""Entries that are asked for at a time. There may be fewer in an answer, which is not the end: an empty one is."""


class Catalog:
    """What a Model Registry says about models.

    Args:
        service: The Model Registry.
    """

    def __init__(self, service: RemoteService) -> None:
        self._service = service

    # --- models -------------------------------------------------------------------------------------------------

    async def put_model(self, name: str, properties: Mapping[str, str]) -> None:
        """Make a model, or replace the properties of one."""
        info = ModelInfoProto(model_id=name, user_data=properties)
        await self._service.call("CreateOrUpdateModel", CreateOrUpdateModelRequest(model_info=info))

    async def delete_model(self, name: str) -> None:
        """Remove a model with all its iterations."""
        await self._service.call("DeleteModel", DeleteModelRequest(model_id=name))

    async def model(self, name: str) -> ModelInfo | None:
        """A model; None if there is none of that name."""
        try:
            reply: RetrieveModelsReply = await self._service.call(
                "RetrieveModels", RetrieveModelsRequest(model_ids=[name])
            )
        except NotFoundError:
            return None
        return ModelInfo.from_proto(reply.model_infos[0]) if reply.model_infos else None

    async def models(self) -> list[ModelInfo]:
        """All models."""
        found: list[ModelInfo] = []
        request = RetrieveModelsRequest(models_count=_PAGE)
        while True:
            reply: RetrieveModelsReply = await self._service.call("RetrieveModels", request)
            found.extend(ModelInfo.from_proto(info) for info in reply.model_infos)
            if not reply.model_infos or not reply.next_model_handle:
                return found
            self._check_progress("RetrieveModels", request.model_handle, reply.next_model_handle)
            request.model_handle = reply.next_model_handle

    # --- iterations ---------------------------------------------------------------------------------------------

    async def iteration(self, name: str, iteration: int) -> ModelIterationInfo | None:
        """An iteration; None if the model does not have it.

        Raises:
            NotFoundError: There is no such model.
        """
        request = RetrieveVersionInfosRequest(model_id=name, version_numbers=[iteration])
        try:
            reply: RetrieveVersionInfosReply = await self._service.call("RetrieveVersionInfos", request)
        except NotFoundError:
            if await self.model(name) is None:
                raise self._unknown_model("RetrieveVersionInfos", name) from None
            return None
        return ModelIterationInfo.from_proto(reply.version_infos[0]) if reply.version_infos else None

    async def iterations(self, name: str) -> list[ModelIterationInfo]:
        """All iterations of a model that are available."""
        found: list[ModelIterationInfo] = []
        request = RetrieveVersionInfosRequest(model_id=name, versions_count=_PAGE)
        while True:
            reply: RetrieveVersionInfosReply = await self._service.call("RetrieveVersionInfos", request)
            found.extend(ModelIterationInfo.from_proto(info) for info in reply.version_infos)
            if not reply.version_infos or not reply.next_version_handle:
                return found
            self._check_progress("RetrieveVersionInfos", request.version_handle, reply.next_version_handle)
            request.version_handle = reply.next_version_handle

    async def updates(self, name: str) -> AsyncGenerator[ModelIterationInfo, None]:
        """The latest iteration of a model, and each newer one.

        Raises:
            NotFoundError: There is no such model.
        """
        request = VersionUpdateRequest(model_id=name)
        try:
            async with aclosing(self._service.iterate("VersionUpdate", request)) as replies:
                async for reply in replies:
                    yield ModelIterationInfo.from_proto(reply.version_info)
        except RefusedError as error:
            # That is how existing servers say it.
            if error.code() is not grpc.StatusCode.INVALID_ARGUMENT or await self.model(name) is not None:
                raise
            raise self._unknown_model("VersionUpdate", name) from error

    # --- errors -------------------------------------------------------------------------------------------------

    def _unknown_model(self, method: str, name: str) -> NotFoundError:
        text = f"there is no model {name!r}"
        path, target = self._service.path(method), self._service.target
        return NotFoundError(grpc.StatusCode.NOT_FOUND, text, method=path, target=target)

    def _check_progress(self, method: str, handle: str, next_handle: str) -> None:
        if next_handle == handle:
            raise ProtocolError(f"{method} at {self._service.target}: the list does not go on after {handle!r}")
