"""Store, publish and retrieve models, and follow them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar, overload

import grpc
import grpc.aio

from cogment_core.api.model_registry_pb2 import ModelVersionInfo
from cogment_core.checks import as_seconds
from cogment_core.client import AwaitableClient, RemoteService
from cogment_core.endpoints import ServiceType
from cogment_core.errors import NotFoundError, RpcError
from cogment_model_registry.arguments import as_deserializer, as_iteration, as_name, as_properties, as_timeout
from cogment_model_registry.catalog import Catalog
from cogment_model_registry.chunks import STALL_TIMEOUT, Progress
from cogment_model_registry.destinations import ModelDestination, open_destination
from cogment_model_registry.downloads import Downloads
from cogment_model_registry.infos import ModelInfo, ModelIterationInfo
from cogment_model_registry.latest import LatestModel
from cogment_model_registry.sources import ModelSource, Source, open_source
from cogment_model_registry.trackers import Trackers
from cogment_model_registry.uploads import upload

if TYPE_CHECKING:
    from cogment_core.client import ClientContext
    from cogment_core.endpoints import Endpoint

__all__ = ["ModelRegistry", "connect"]

T = TypeVar("T")
RegistryT = TypeVar("RegistryT", bound="ModelRegistry")

_ATTEMPTS = 3
"""How often something is tried while others remove it: an iteration by the time that its data is asked for, or a model
by the time that its data is there."""

_KNOWN_LIMIT = 10_000
"""Names of models that are remembered as existing."""


class ModelRegistry(AwaitableClient):
    """Stores, publishes, retrieves and follows the models of one Model Registry.

    Made by ``Context.get_model_registry_v2``, or by `connect`. Nothing is sent before the first call. A model is a name
    with iterations, numbered from 1; an iteration is bytes, which the Model Registry does not look into.

    The data of models is sent and received in chunks. It may take as long as it needs, as long as it gets on; its size
    and SHA-256 are verified on both ways.

    Usable as ``async with``: at the end it is closed.

    Args:
        context: The Context that it belongs to.
        endpoint: Where the Model Registry is.
    """

    def __init__(self, context: ClientContext, endpoint: Endpoint) -> None:
        self._service = RemoteService(
            context, endpoint, ServiceType.MODEL_REG, "cogmentAPI.ModelRegistrySP", _make_stub
        )
        self._catalog = Catalog(self._service)
        self._downloads = Downloads(self._service)
        self._known: set[str] = set()
        self._trackers = Trackers(self._service, self._catalog, self._downloads)

    def __repr__(self) -> str:
        return f"ModelRegistry({self._service.target!r})"

    def has_specs(self) -> bool:
        """Always true: models do not need the specs of a trial."""
        return True

    async def close(self) -> None:
        """Follow models no more: those who wait for one get a `UsageError`. Does nothing the second time.

        The connection is the Context's, and closed with it.
        """
        await self._trackers.close()

    async def __aenter__(self: RegistryT) -> RegistryT:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    # --- sending ------------------------------------------------------------------------------------------------

    async def store_model(
        self,
        name: str,
        model: ModelSource,
        iteration_properties: Mapping[str, str] | None = None,
        *,
        progress: Progress | None = None,
        timeout: float = STALL_TIMEOUT,
    ) -> ModelIterationInfo:
        """Add an iteration that is kept until the model is removed. A model that is not there yet is made.

        Args:
            name: The model.
            model: Its data: anything like bytes, a ``pathlib.Path``, or a file that is open for reading, which is read
                from where it stands.
            iteration_properties: Free labels for the iteration.
            progress: Called after each chunk with the bytes sent and the bytes in all.
            timeout: Seconds without any progress until `DeadlineError`.

        Returns:
            What the Model Registry says about the new iteration, its number above all.

        Raises:
            UsageError: An argument is wrong, or there is no data.
            DamagedModelError: The Model Registry got something else than was sent. The iteration exists.
            RpcError: The Model Registry did not take it. After an `UnavailableError` or a `DeadlineError` it is not
                known whether it did.
        """
        return await self._add(name, model, iteration_properties, True, progress, timeout)

    async def publish_model(
        self,
        name: str,
        model: ModelSource,
        iteration_properties: Mapping[str, str] | None = None,
        *,
        progress: Progress | None = None,
        timeout: float = STALL_TIMEOUT,
    ) -> ModelIterationInfo:
        """Add a transient iteration: the Model Registry keeps it for a while, and drops it when it needs the room.

        Arguments, result and errors are those of `store_model`.
        """
        return await self._add(name, model, iteration_properties, False, progress, timeout)

    async def _add(
        self,
        name: str,
        model: ModelSource,
        properties: Mapping[str, str] | None,
        stored: bool,
        progress: Progress | None,
        timeout: float,
    ) -> ModelIterationInfo:
        version = ModelVersionInfo(model_id=as_name(name), archived=stored, user_data=as_properties(properties))
        seconds = as_timeout(timeout)
        with open_source(model) as source:
            for _ in range(_ATTEMPTS - 1):
                try:
                    return await self._try_to_add(version, source, progress, seconds)
                except RpcError as error:
                    if not _says_unknown_model(error):
                        raise
                # Somebody has removed the model since.
                self._known.discard(name)
                source.rewind()
            return await self._try_to_add(version, source, progress, seconds)

    async def _try_to_add(
        self, version: ModelVersionInfo, source: Source, progress: Progress | None, timeout: float
    ) -> ModelIterationInfo:
        if version.model_id not in self._known:
            await self._make_known(version.model_id)
        return await upload(self._service, version, source, progress, timeout)

    async def _make_known(self, name: str) -> None:
        """Make sure that there is a model of this name; one that there is keeps its properties."""
        if await self._catalog.model(name) is None:
            await self._catalog.put_model(name, {})
        if len(self._known) >= _KNOWN_LIMIT:
            self._known.clear()
        self._known.add(name)

    # --- receiving ----------------------------------------------------------------------------------------------

    async def retrieve_model(
        self,
        name: str,
        iteration: int = -1,
        *,
        progress: Progress | None = None,
        timeout: float = STALL_TIMEOUT,
    ) -> bytes | None:
        """Get the data of an iteration.

        Args:
            name: The model.
            iteration: Its number; or counted from the latest, which is -1.
            progress: Called after each chunk with the bytes received and the bytes in all.
            timeout: Seconds without any progress until `DeadlineError`.

        Returns:
            The data; None if the model does not have that iteration, or not any more.

        Raises:
            NotFoundError: There is no such model.
            DamagedModelError: What came is not what the Model Registry says it is.
            RpcError: The Model Registry did not send it.
        """
        seconds = as_timeout(timeout)
        for _ in range(_ATTEMPTS):
            info = await self.get_iteration_info(name, iteration)
            if info is None:
                return None
            try:
                return await self._downloads.to_memory(info, progress, seconds)
            except NotFoundError:
                continue  # dropped since
        return None

    async def retrieve_model_to(
        self,
        name: str,
        destination: ModelDestination,
        iteration: int = -1,
        *,
        progress: Progress | None = None,
        timeout: float = STALL_TIMEOUT,
    ) -> ModelIterationInfo | None:
        """Write the data of an iteration to a file. However large it is, only few chunks are in memory.

        Args:
            name: The model.
            destination: A ``pathlib.Path``, where the file appears, or is replaced, once all of it is verified; or a
                file that is open for writing, or the path of a pipe or a device, which may have some of the data after
                an error.
            iteration: Its number; or counted from the latest, which is -1.
            progress: Called after each chunk with the bytes received and the bytes in all.
            timeout: Seconds without any progress until `DeadlineError`.

        Returns:
            What is known about the iteration; None if the model does not have it, or not any more. Nothing is written
            then.

        Raises:
            NotFoundError: There is no such model.
            DamagedModelError: What came is not what the Model Registry says it is.
            RpcError: The Model Registry did not send it.
            OSError: The file cannot be written.
        """
        seconds = as_timeout(timeout)
        for _ in range(_ATTEMPTS):
            info = await self.get_iteration_info(name, iteration)
            if info is None:
                return None
            try:
                async with open_destination(destination) as file:
                    await self._downloads.to_file(info, file, progress, seconds)
            except NotFoundError:
                continue  # dropped since
            return info
        return None

    # --- models and iterations ----------------------------------------------------------------------------------

    async def remove_model(self, name: str) -> None:
        """Remove a model with all its iterations.

        Raises:
            NotFoundError: There is no such model.
            RpcError: The Model Registry did not do it.
        """
        await self._catalog.delete_model(as_name(name))
        self._known.discard(name)

    async def list_models(self) -> list[ModelInfo]:
        """All models of the Model Registry.

        Raises:
            RpcError: The Model Registry could not be asked.
        """
        return await self._catalog.models()

    async def list_iterations(self, model_name: str) -> list[ModelIterationInfo]:
        """All iterations of a model that are available, the stored and the transient ones.

        Raises:
            NotFoundError: There is no such model.
            RpcError: The Model Registry could not be asked.
        """
        return await self._catalog.iterations(as_name(model_name))

    async def get_iteration_info(self, name: str, iteration: int) -> ModelIterationInfo | None:
        """What is known about an iteration.

        Args:
            name: The model.
            iteration: Its number; or counted from the latest, which is -1.

        Returns:
            The information; None if the model does not have that iteration, or not any more.

        Raises:
            NotFoundError: There is no such model.
            RpcError: The Model Registry could not be asked.
        """
        return await self._catalog.iteration(as_name(name), as_iteration(iteration))

    async def update_model_info(self, name: str, properties: Mapping[str, str]) -> None:
        """Replace the properties of a model. A model that is not there yet is made, without iterations.

        Args:
            name: The model.
            properties: Free labels for the model; what there was before is gone.

        Raises:
            RpcError: The Model Registry did not do it.
        """
        await self._catalog.put_model(as_name(name), as_properties(properties))

    async def get_model_info(self, name: str) -> ModelInfo | None:
        """What is known about a model; None if there is no such model.

        Raises:
            RpcError: The Model Registry could not be asked.
        """
        return await self._catalog.model(as_name(name))

    # --- following ----------------------------------------------------------------------------------------------

    async def iteration_updates(self, model_name: str) -> AsyncGenerator[ModelIterationInfo, None]:
        """Iterate over the iterations of a model: first the latest, if there is one, then each newer one as it comes.

        Of several that come in quick succession, there may only be the last. Leaving the loop, or closing the
        generator, stops it.

        Args:
            model_name: The model.

        Raises:
            NotFoundError: There is no such model.
            UnavailableError: The Model Registry cannot be reached, or the connection was lost: iterations may be
                missed. `track_latest_model` goes on by itself.
            RpcError: The Model Registry broke off.
        """
        async with aclosing(self._catalog.updates(as_name(model_name))) as updates:
            async for info in updates:
                yield info

    @overload
    async def track_latest_model(
        self, name: str, deserialize_func: None = None, initial_wait: float = 0
    ) -> LatestModel[bytes]: ...

    @overload
    async def track_latest_model(
        self, name: str, deserialize_func: Callable[[bytes], T], initial_wait: float = 0
    ) -> LatestModel[T]: ...

    async def track_latest_model(
        self, name: str, deserialize_func: Callable[[bytes], Any] | None = None, initial_wait: float = 0
    ) -> LatestModel[Any]:
        """Follow a model in the background: have its latest iteration at hand.

        All calls for one model give the same object. The model is followed until this ModelRegistry, or its Context, is
        closed, or some minutes after nobody has the object any more.

        Args:
            name: The model.
            deserialize_func: Makes what users get of the bytes. It runs in a thread, and may take its time. None for
                the bytes themselves.
            initial_wait: Seconds to wait for the model to be there. It need not have iterations.

        Raises:
            NotFoundError: There is no such model, nor was one made within ``initial_wait`` seconds.
            UnavailableError: The Model Registry could not be reached within that time.
            UsageError: The model is followed with another ``deserialize_func`` already, or an argument is wrong.
        """
        function = as_deserializer(deserialize_func)
        return await self._trackers.follow(as_name(name), function, as_seconds("initial_wait", initial_wait))


def connect(context: ClientContext, endpoint: Endpoint) -> ModelRegistry:
    """Make the client of the Model Registry at ``endpoint``.

    Args:
        context: The Context that the client belongs to: it calls with its metadata, over its channels.
        endpoint: Where the Model Registry is. Nothing is sent there before the first call.
    """
    return ModelRegistry(context, endpoint)


def _says_unknown_model(error: RpcError) -> bool:
    """Existing servers say it as an internal error."""
    unknown = error.code() is grpc.StatusCode.INTERNAL and "no model" in (error.details() or "")
    return unknown or isinstance(error, NotFoundError)


def _make_stub(channel: grpc.aio.Channel) -> Any:
    # Only needed once something is called, and then soon loaded.
    from cogment_model_registry.wire import make_stub

    return make_stub(channel)
