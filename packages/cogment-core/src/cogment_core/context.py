"""The Context: where a user's environments, actors, hooks and datalogs are registered, served and joined to trials.

What only serving, joining and connecting need is imported where it is used: together it would take as long to import as
all the rest, and every program that uses Cogment imports this.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from cogment_core.checks import as_specs, as_text
from cogment_core.connections import Connections
from cogment_core.directory_settings import as_directory_endpoint, as_directory_token
from cogment_core.endpoints import Endpoint, ServedEndpoint, ServiceType, as_served_endpoint
from cogment_core.errors import CogmentError, UsageError
from cogment_core.implementations import Callback, Component, Implementation, Implementations
from cogment_core.logs import logger
from cogment_core.metadata import GrpcMetadata

if TYPE_CHECKING:
    import grpc.aio
    from prometheus_client import CollectorRegistry

    from cogment_core.directory import Directory
    from cogment_core.inprocess import InProcessServer
    from cogment_core.served import Served
    from cogment_core.specs import CogSettings

__all__ = ["Context"]

ContextT = TypeVar("ContextT", bound="Context")

_GLOBAL_REGISTRY: Any = object()
"""Stands for ``prometheus_client.core.REGISTRY``, which takes long to import."""


class Context:
    """Everything that one user of Cogment does in one event loop.

    Usable as ``async with Context(...) as context``, which closes it at the end.

    Args:
        user_id: Who this is.
        cog_settings: The specs: the module that the generator made from the spec file. None to work without.
        asyncio_loop: The event loop to work in; None for the one that runs.
        prometheus_registry: Where metrics are kept; None for no metrics.
        directory_endpoint: The Directory, to find and register services; by default the endpoint that the environment
            variable ``COGMENT_DIRECTORY_ENDPOINT`` names.
        directory_auth_token: The token for the Directory; by default ``COGMENT_DIRECTORY_AUTHENTICATION_TOKEN``.
        metadata: Sent with every call.

    Raises:
        EndpointError: The endpoint of the Directory is no address.
        UsageError: An argument is of a wrong kind.
    """

    def __init__(
        self,
        user_id: str,
        cog_settings: Any,
        asyncio_loop: asyncio.AbstractEventLoop | None = None,
        prometheus_registry: CollectorRegistry | None = _GLOBAL_REGISTRY,
        directory_endpoint: Endpoint | str | None = None,
        directory_auth_token: str | None = None,
        metadata: GrpcMetadata | None = None,
    ) -> None:
        self._user_id = as_text("user_id", user_id or "")
        self._settings: CogSettings | None = as_specs(cog_settings)
        self._loop = asyncio_loop
        self._registry = prometheus_registry
        self._metadata = metadata.copy() if metadata is not None else GrpcMetadata()
        directory_endpoint = as_directory_endpoint(directory_endpoint)
        token = as_directory_token(directory_auth_token, directory_endpoint)
        self._connections = Connections(directory_endpoint, token, self.grpc_metadata())
        self._implementations = Implementations()
        self._served: Served | None = None
        self._listening = asyncio.Event()
        self._failure: Exception | None = None
        self._serving: asyncio.Task[Any] | None = None

    # --- who and where ------------------------------------------------------------------------------------------

    @property
    def user_id(self) -> str:
        """Who this is."""
        return self._user_id

    @property
    def settings(self) -> CogSettings | None:
        """The specs, None if they are not known."""
        return self._settings

    def has_specs(self) -> bool:
        """Whether the specs are known."""
        return self._settings is not None

    @property
    def asyncio_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of this Context.

        Raises:
            RuntimeError: None was given, and none runs.
        """
        return self._loop or asyncio.get_running_loop()

    @property
    def served_port(self) -> int:
        """The port that `serve_all_registered` listens on; 0 before."""
        return self._served.port if self._served is not None else 0

    def grpc_metadata(self) -> list[tuple[str, str | bytes]]:
        """The metadata that goes with every call."""
        return self._metadata.to_grpc_metadata()

    async def channel(self, endpoint: Endpoint, service_type: ServiceType, *, stream_of: str = "") -> grpc.aio.Channel:
        """The channel to ``endpoint``, shared by all that go there and closed with the Context.

        Args:
            endpoint: Where the service is, or how to discover it.
            service_type: What to discover if the endpoint does not say.
            stream_of: Full name of the service, if a stream of it is to be opened: one that may last, and has to know
                soon when its server is frozen.

        Raises:
            EndpointError: The endpoint cannot be understood, or leads nowhere.
            UnavailableError: The server of a stream, or the Directory, cannot be reached.
            RpcError: The Directory fails.
        """
        return await self._connections.channel(endpoint, service_type, stream_of)

    # --- the Directory ------------------------------------------------------------------------------------------

    def get_directory(self, endpoint: Endpoint | str, authentication_token: str | None = None) -> Directory:
        """Get the client of any Directory. The result can be awaited, and need not be.

        Args:
            endpoint: Where it is: an address, for example ``grpc://localhost:9005``.
            authentication_token: What it lets us in with. Services are registered with this token, and only found with
                the same one.

        Raises:
            EndpointError: The endpoint is no address.
            UsageError: An argument is of a wrong kind.
        """
        return self._connections.directory(endpoint, authentication_token)

    def get_context_directory(self) -> Directory | None:
        """Get the client of the Directory of this Context; None if it has none."""
        return self._connections.own_directory()

    # --- registering --------------------------------------------------------------------------------------------

    def register_environment(
        self, impl: Callback, impl_name: str = "default", properties: Mapping[str, str] | None = None
    ) -> None:
        """Register the function that runs an environment.

        Args:
            impl: ``async def impl(session: EnvironmentSession)``, called for each trial.
            impl_name: Name of the implementation.
            properties: For the Directory, to find it by.

        Raises:
            UsageError: The name is taken, or serving has begun.
        """
        self._check_registration()
        self._implementations.add_environment(Implementation(impl_name, impl, (), dict(properties or {})))

    def register_actor(
        self,
        impl: Callback,
        impl_name: str,
        actor_classes: Sequence[str] = (),
        properties: Mapping[str, str] | None = None,
    ) -> None:
        """Register the function that runs actors.

        Args:
            impl: ``async def impl(session: ActorSession)``, called for each trial.
            impl_name: Name of the implementation.
            actor_classes: The classes of actors that it can run; empty for all.
            properties: For the Directory, to find it by.

        Raises:
            UsageError: The name is taken, an actor class is not in the specs, or serving has begun.
        """
        self._check_registration()
        classes = (actor_classes,) if isinstance(actor_classes, str) else tuple(actor_classes)
        added = Implementation(impl_name, impl, classes, dict(properties or {}))
        self._implementations.add_actor(added, self._settings)

    def register_pre_trial_hook(self, impl: Callback, properties: Mapping[str, str] | None = None) -> None:
        """Register the function that completes the parameters of new trials.

        Args:
            impl: ``async def impl(session: PrehookSession)``, called before each trial.
            properties: For the Directory, to find it by.

        Raises:
            UsageError: There is one already, or serving has begun.
        """
        self._check_registration()
        self._implementations.add_hook(Implementation("", impl, (), dict(properties or {})))

    def register_datalog(self, impl: Callback, properties: Mapping[str, str] | None = None) -> None:
        """Register the function that takes the samples of trials.

        Args:
            impl: ``async def impl(session: DatalogSession)``, called for each trial.
            properties: For the Directory, to find it by.

        Raises:
            UsageError: There is one already, or serving has begun.
        """
        self._check_registration()
        self._implementations.add_datalog(Implementation("", impl, (), dict(properties or {})))

    @property
    def components(self) -> tuple[Component, ...]:
        """What is registered, as it can be looked for."""
        return self._implementations.components()

    def _check_registration(self) -> None:
        if self._served is not None:
            raise UsageError("nothing can be registered once serving has begun")

    # --- serving ------------------------------------------------------------------------------------------------

    async def serve_all_registered(
        self,
        served_endpoint: ServedEndpoint | None = None,
        prometheus_port: int | None = None,
        directory_registration_host: str | None = None,
    ) -> None:
        """Serve everything that is registered, until the Context is closed or this task is cancelled.

        `wait_until_serving` tells when the server listens. Cancelling the task stops the server and gives the port
        back.

        If the Context has a Directory, everything is registered there: before `wait_until_serving` returns if the
        Directory answers within seconds, and again whenever it has forgotten. Services work without it, too.

        Args:
            served_endpoint: Where to listen; by default on all interfaces, at a port that the system chooses and
                `served_port` tells.
            prometheus_port: Port to serve the metrics on; None not to.
            directory_registration_host: Name or address of this machine to register in the Directory; None for the one
                that is listened on, or with all interfaces, for the address that the Directory sees.

        Raises:
            UsageError: Nothing is registered, or this Context serves already, or did; or an argument is wrong.
            CogmentError: A port cannot be had; another one can be tried.
            RefusedError: The Directory does not want what is registered here.
        """
        self._listening.clear()
        self._failure = None
        self._serving = asyncio.current_task()
        try:
            endpoint = as_served_endpoint(served_endpoint)
            served = self._claim_serving()
            await self._listen(served, endpoint, prometheus_port, directory_registration_host)
        except Exception as error:
            # Programs that cancel this task at their end, without awaiting it, would never see the error.
            logger.error("nothing is served: %s", error)
            self._failure = error
            raise
        finally:
            self._listening.set()
        try:
            await served.wait()
        finally:
            await served.stop()

    async def _listen(
        self, served: Served, served_endpoint: ServedEndpoint, prometheus_port: int | None, directory_host: str | None
    ) -> None:
        try:
            await served.listen(served_endpoint, prometheus_port)
            directory = self.get_context_directory()
            if directory is not None:
                await served.register(directory, served_endpoint, directory_host)
        except BaseException:
            self._served = None
            await served.stop()
            raise

    async def wait_until_serving(self) -> int:
        """Wait until `serve_all_registered` listens. Returns the port.

        Raises:
            CogmentError: It has failed; this says why.
        """
        await asyncio.sleep(0)  # a task of serve_all_registered() that was just made begins before an answer is given
        await self._listening.wait()
        if not self.served_port:
            if self._serving is not None and self._serving.done() and not self._serving.cancelled():
                self._serving.exception()  # seen: asyncio need not complain once more of what is told here
            why = self._failure or "serve_all_registered() was cancelled"
            raise CogmentError(f"nothing is served: {why}") from self._failure
        return self.served_port

    def serve_in_process(self) -> InProcessServer:
        """Serve everything that is registered to callers in this process and event loop, without a port.

        Raises:
            UsageError: Nothing is registered, or it is served already.
        """
        return self._claim_serving().in_process()

    def _claim_serving(self) -> Served:
        from cogment_core.served import Served

        if self._served is not None:
            raise UsageError("this Context serves already; make another one to serve again")
        if not self._implementations:
            raise UsageError("nothing is registered that could be served")
        registry = self._registry
        if registry is _GLOBAL_REGISTRY:
            from prometheus_client import REGISTRY

            registry = REGISTRY
        self._served = Served(self._implementations, self._settings, registry)
        return self._served

    @property
    def _grpc_server(self) -> Served | None:
        """What is served, None if nothing is: existing code stops it with ``stop(grace)`` for lack of `close`."""
        return self._served

    # --- joining ------------------------------------------------------------------------------------------------

    async def join_trial(
        self,
        trial_id: str,
        endpoint: Endpoint | None = None,
        impl_name: str | None = None,
        actor_name: str | None = None,
        actor_class: str | None = None,
        *,
        join_token: str | None = None,
    ) -> None:
        """Take part in a trial as one of its client actors, until the registered function returns.

        Args:
            trial_id: The trial to join.
            endpoint: The Orchestrator that runs it.
            impl_name: Deprecated: stands for the first actor class of that implementation.
            actor_name: The actor to be: one with the endpoint ``cogment://client`` in the trial parameters.
            actor_class: The class of actor to be, if there is no name.
            join_token: What lets this actor in, if the Orchestrator asks for it; whoever starts the trial has it, see
                `cogment_core.join_tokens`.

        Raises:
            UsageError: Neither a name nor a class was given, or ``trial_id`` cannot be the id of a trial, or
                ``join_token`` cannot be sent.
            RpcError: The Orchestrator refuses (no such trial or actor, or it is taken), or cannot be reached.
            Exception: Whatever the registered function raises.
        """
        from cogment_core.client_actor import SERVICE, ClientActor

        if actor_name and actor_class:
            logger.warning("join_trial: actor_class %r is ignored, actor_name %r says it all", actor_class, actor_name)
        if not actor_name and not actor_class:
            if not impl_name:
                raise UsageError("join_trial needs an actor_name or an actor_class")
            logger.deprecated("[Context.join_trial(impl_name)]: use [actor_name] or [actor_class]")
            actor_class = self._implementations.first_class_of(impl_name)
        actor = ClientActor(
            trial_id,
            actor_name=actor_name or "",
            actor_class="" if actor_name else actor_class or "",
            implementations=self._implementations,
            settings=self._settings,
            join_token=join_token,
        )
        channel = await self.channel(endpoint or Endpoint(), ServiceType.CLIENT_ACTOR, stream_of=SERVICE)
        await actor.run(channel, self.grpc_metadata())

    # --- closing ------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Stop serving and close all connections. Does nothing the second time."""
        if self._served is not None:
            await self._served.stop()
        await self._connections.close()

    async def wait_closed(self) -> None:
        """Wait until this Context closes its connections."""
        await self._connections.wait_closed()

    async def __aenter__(self: ContextT) -> ContextT:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()
