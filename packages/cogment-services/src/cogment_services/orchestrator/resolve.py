"""From the endpoints in trial parameters to the services that are there.

``cogment://discover`` leads to what is attached to the Orchestrator within its process, and else to what the Directory
knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TypeVar

from cogment_core.api.common_pb2 import ActorParams, EnvironmentParams, TrialParams
from cogment_core.directory import Directory
from cogment_core.endpoints import ClientUrl, DiscoverUrl, Endpoint, GrpcUrl, ServiceType, parse_url, redact_url
from cogment_core.errors import EndpointError
from cogment_services.orchestrator.attached import AttachedComponents
from cogment_services.orchestrator.channels import PeerChannels, Route
from cogment_services.orchestrator.policy import Gate
from cogment_services.orchestrator.world import Routes

__all__ = ["Resolver"]

AT_ONCE = 16
"""Most components of one trial that are looked for at the same time."""

T = TypeVar("T")


class Resolver:
    """Finds the components of trials.

    Args:
        channels: Keeps the connections.
        attached: What is attached within this process.
        outgoing: How to connect to gRPC endpoints: an endpoint whose URL does not matter.
        gate: Which gRPC endpoints are allowed.
        directory: Knows what is not attached; None for none.
    """

    def __init__(
        self,
        channels: PeerChannels,
        attached: AttachedComponents,
        outgoing: Endpoint,
        gate: Gate,
        directory: Directory | None = None,
    ) -> None:
        self._channels = channels
        self._attached = attached
        self._outgoing = outgoing
        self._gate = gate
        self._directory = directory

    async def routes(self, params: TrialParams) -> Routes:
        """How the components of a trial with these parameters are reached.

        Raises:
            EndpointError: One of them is not where its endpoint says; says which, and what is there.
            RpcError: The Directory cannot be reached, or fails.
        """
        found = await self._all(
            partial(self._environment, params.environment),
            partial(self._datalog, params.datalog.endpoint),
            *(partial(self._actor, actor) for actor in params.actors),
        )
        environment, datalog, *actors = found
        assert environment is not None, "only actors join by themselves"
        return Routes(environment=environment, actors=actors, datalog=datalog)

    async def service(self, what: str, url: str, wanted: ServiceType) -> Route:
        """How the service at ``url`` is reached.

        Args:
            what: Whose endpoint it is, for messages.
            url: The endpoint.
            wanted: What it has to be, if the URL does not say.

        Raises:
            EndpointError: It is not there.
            RpcError: The Directory cannot be reached, or fails.
        """
        route = await self._route(what, url, wanted, {})
        if route is None:
            raise EndpointError(f"{what}: only actors can have the endpoint cogment://client")
        return route

    async def _environment(self, params: EnvironmentParams) -> Route:
        properties = {"__implementation": params.implementation} if params.implementation else {}
        url = params.endpoint or "cogment://discover"
        route = await self._route("the environment", url, ServiceType.ENVIRONMENT, properties)
        if route is None:
            raise EndpointError("the environment: only actors can have the endpoint cogment://client")
        return route

    async def _datalog(self, url: str) -> Route | None:
        return await self.service("the datalog", url, ServiceType.DATALOG) if url else None

    async def _actor(self, params: ActorParams) -> Route | None:
        properties = {"__actor_class": params.actor_class}
        if params.implementation:
            properties["__implementation"] = params.implementation
        url = params.endpoint or "cogment://discover"
        return await self._route(f"actor [{params.name}]", url, ServiceType.ACTOR, properties)

    async def _route(self, what: str, url: str, wanted: ServiceType, properties: Mapping[str, str]) -> Route | None:
        """How the service at ``url`` is reached; None if it comes by itself."""
        parsed = parse_url(url)
        if isinstance(parsed, DiscoverUrl):
            attached = self._find_attached(parsed, wanted, properties)
            if attached is not None:
                return Route(attached, self._channels)
            parsed = await self._inquire(what, url, parsed, wanted, properties)
        if isinstance(parsed, ClientUrl):
            return None
        allowed = await self._gate.admit(parsed.address)
        endpoint = self._outgoing.current().with_url(f"grpc://{allowed.address}")
        return Route(endpoint, self._channels, authority=allowed.authority, problem=allowed.problem)

    def _find_attached(self, url: DiscoverUrl, wanted: ServiceType, properties: Mapping[str, str]) -> Endpoint | None:
        if url.service_id is not None:
            return None
        if url.from_context:
            return self._attached.find(wanted, {**properties, **url.properties})
        return self._attached.find(url.service_type or wanted, url.properties)

    async def _inquire(
        self, what: str, url: str, parsed: DiscoverUrl, wanted: ServiceType, properties: Mapping[str, str]
    ) -> GrpcUrl | ClientUrl:
        """Where the Directory says that the service is."""
        if self._directory is None:
            raise self._nothing_attached(what, url, parsed, wanted, properties)
        asking = self._outgoing.with_url(url)
        is_actor = wanted is ServiceType.ACTOR
        try:
            entry = await self._directory.find(asking, parsed, wanted, properties, client_allowed=is_actor)
            found = parse_url(entry.url)
        except EndpointError as error:
            raise EndpointError(f"{what}: {error}") from error
        assert not isinstance(found, DiscoverUrl), "an entry is an address"
        return found

    def _nothing_attached(
        self, what: str, url: str, parsed: DiscoverUrl, wanted: ServiceType, properties: Mapping[str, str]
    ) -> EndpointError:
        if parsed.service_id is not None:
            return EndpointError(f"{what}: {redact_url(url)!r} needs a Directory, and this Orchestrator has none")
        if parsed.from_context:
            properties = {**properties, **parsed.properties}
        else:
            wanted, properties = parsed.service_type or wanted, parsed.properties
        asked = ", ".join(f"{name}={value}" for name, value in properties.items()) or "anything"
        return EndpointError(
            f"{what}: {redact_url(url)!r} finds nothing ({wanted.name} with {asked}); without a Directory it finds "
            f"what is attached to this Orchestrator: {self._attached.known(wanted)}. Or give a grpc:// endpoint"
        )

    async def _all(self, *works: Callable[[], Awaitable[T]]) -> list[T]:
        """The results of ``works``, in order. Of several failures the first in that order is raised."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def do(work: Callable[[], Awaitable[T]]) -> T:
            async with slots:
                return await work()

        results = await asyncio.gather(*(do(work) for work in works), return_exceptions=True)
        found: list[T] = []
        for result in results:
            if isinstance(result, BaseException):
                raise result
            found.append(result)
        return found
