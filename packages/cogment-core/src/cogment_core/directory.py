"""The client of a Directory, which knows where services are."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from cogment_core.checks import as_flag, as_text, as_whole, checked_token, wrong
from cogment_core.client import AwaitableClient
from cogment_core.directory_entries import DirectoryEntry, NothingFoundError, Wanted
from cogment_core.directory_settings import directory_address
from cogment_core.endpoints import DiscoverUrl, Endpoint, ServiceType, parse_url, redact_url
from cogment_core.errors import EndpointError, RefusedError
from cogment_core.logs import logger

if TYPE_CHECKING:
    from cogment_core.api.directory_pb2 import InquireRequest
    from cogment_core.channels import ChannelPool

__all__ = ["DEREGISTER_TIMEOUT", "INQUIRE_TIMEOUT", "REGISTER_TIMEOUT", "Directory", "DirectoryEntry", "ServiceType"]

REGISTER_TIMEOUT = 60.0
"""Seconds that a Directory has to register a service: it tries to reach it first, which may take it 35 s."""

INQUIRE_TIMEOUT = 60.0
"""Seconds that an inquiry may take: a Directory may be told to wait for services that are not there yet."""

DEREGISTER_TIMEOUT = 10.0
"""Seconds that a Directory has to forget a service."""

_TOKEN_KEY = "authentication-token"
_SERVICE = "cogmentAPI.DirectorySP"

_PORT = as_whole(1, 65535)
_ID = as_whole(1, (1 << 64) - 1)


class Directory(AwaitableClient):
    """Registers services in a Directory, and finds them.

    Made by ``Context.get_directory`` and ``Context.get_context_directory``.

    Args:
        endpoint: Where it is: an address, for example ``grpc://localhost:9005``.
        authentication_token: Services are registered with this token, and only found with the same one.
        channels: Keeps the connection; None for one of its own, which `close` closes.
        metadata: What goes with every call besides.

    Raises:
        EndpointError: ``endpoint`` is no address.
        UsageError: An argument is of a wrong kind.
    """

    def __init__(
        self,
        endpoint: Endpoint | str,
        authentication_token: str | None = None,
        *,
        channels: ChannelPool | None = None,
        metadata: Sequence[tuple[str, str | bytes]] = (),
    ) -> None:
        self._endpoint = directory_address("endpoint", endpoint)
        self._token = checked_token("authentication_token", authentication_token)
        self._metadata = [pair for pair in metadata if pair[0] != _TOKEN_KEY]
        self._own_channels: ChannelPool | None = None
        self._channels = channels
        self._channel: Any = None
        self._stub: Any = None

    def __repr__(self) -> str:
        return f"Directory({self.target!r})"

    @property
    def endpoint(self) -> Endpoint:
        """Where it is."""
        return self._endpoint

    @property
    def target(self) -> str:
        """Where it is, for messages."""
        return redact_url(self._endpoint.url)

    # --- registering --------------------------------------------------------------------------------------------

    async def register_host(
        self,
        type: ServiceType,
        host: str,
        port: int,
        ssl: bool = False,
        properties: Mapping[str, str] | None = None,
        *,
        permanent: bool = False,
    ) -> tuple[int, str]:
        """Register a service.

        Args:
            type: What it is.
            host: Name or address of the machine that it is on, as others reach it.
            port: Its port there.
            ssl: Whether it takes TLS connections.
            properties: What it can be found by.
            permanent: Whether the Directory keeps it even if it cannot be reached.

        Returns:
            The number that the Directory gave it, and the secret that is needed to deregister it.

        Raises:
            RefusedError: The Directory refuses, and says why.
            RpcError: It cannot be reached, or fails.
            UsageError: An argument is wrong.
        """
        from cogment_core.api.directory_pb2 import RegisterRequest, ServiceDetails, ServiceEndpoint

        request = RegisterRequest(
            endpoint=ServiceEndpoint(
                protocol=ServiceEndpoint.GRPC_SSL if as_flag("ssl", ssl) else ServiceEndpoint.GRPC,
                host=as_text("host", host),
                port=_PORT("port", port),
            ),
            details=ServiceDetails(type=_wire_type(type), properties=_checked(properties)),
            permanent=permanent,
        )
        reply = await self._ask_once("Register", request, REGISTER_TIMEOUT)
        return reply.service_id, reply.secret

    async def deregister_service(self, service_id: int, secret: str, *, timeout: float = DEREGISTER_TIMEOUT) -> None:
        """Let the Directory forget a service.

        Args:
            service_id: What `register_host` returned.
            secret: The same.
            timeout: Seconds until `DeadlineError`.

        Raises:
            RefusedError: The Directory does not know it, or the secret or the token is wrong.
            RpcError: The Directory cannot be reached, or fails.
        """
        from cogment_core.api.directory_pb2 import DeregisterRequest

        request = DeregisterRequest(service_id=_ID("service_id", service_id), secret=as_text("secret", secret))
        await self._ask_once("Deregister", request, timeout)

    async def _ask_once(self, method: str, request: Any, timeout: float) -> Any:
        """Send one request, and return the reply to it.

        Raises:
            RefusedError: The reply is a refusal.
        """
        import grpc

        from cogment_core import rpc

        reply = await rpc.exchange(
            getattr(self._connect(), method),
            request,
            method=_path(method),
            target=self.target,
            metadata=self._with_token(self._token),
            timeout=timeout,
        )
        if reply.status != reply.OK:
            text = reply.error_msg or f"it does not say why (status {reply.status})"
            raise RefusedError(grpc.StatusCode.FAILED_PRECONDITION, text, method=_path(method), target=self.target)
        return reply

    # --- inquiring ----------------------------------------------------------------------------------------------

    async def inquire_by_id(self, service_id: int) -> list[tuple[str, bool]]:
        """Where the service is that the Directory gave this number, and whether it takes TLS connections.

        Returns:
            At most one URL, and whether it is for TLS; nothing if the Directory does not know the service.

        Raises:
            RpcError: The Directory cannot be reached, or fails.
        """
        return _urls(await self.entries(service_id=service_id))

    async def inquire_by_type(
        self, type: ServiceType | None, properties: Mapping[str, str] | None = None
    ) -> list[tuple[str, bool]]:
        """Where services are that are of this type and have these properties; best first.

        Args:
            type: What they are; None for anything.
            properties: What they have been registered with, among others.

        Returns:
            For each its URL, and whether it is for TLS.

        Raises:
            RpcError: The Directory cannot be reached, or fails.
        """
        return _urls(await self.entries(type, properties))

    async def entries(
        self,
        type: ServiceType | None = None,
        properties: Mapping[str, str] | None = None,
        *,
        service_id: int | None = None,
        authentication_token: str | None = None,
        timeout: float = INQUIRE_TIMEOUT,
    ) -> list[DirectoryEntry]:
        """What the Directory knows, best first.

        Args:
            type: What the services are; None for anything.
            properties: What they have been registered with, among others.
            service_id: The number of the only one that is asked for; then there are no type and no properties.
            authentication_token: Token to use instead of the usual one.
            timeout: Seconds until `DeadlineError`.

        Raises:
            RpcError: The Directory cannot be reached, or fails.
            UsageError: An argument is wrong.
        """
        found = self._inquire(_inquiry(type, properties, service_id), authentication_token, timeout)
        async with aclosing(found):
            return [entry async for entry in found]

    async def _inquire(
        self, request: InquireRequest, token: str | None, timeout: float
    ) -> AsyncGenerator[DirectoryEntry, None]:
        from cogment_core import rpc

        replies = rpc.iterate(
            self._connect().Inquire,
            request,
            method=_path("Inquire"),
            target=self.target,
            metadata=self._with_token(checked_token("authentication_token", token) or self._token),
            timeout=timeout,
        )
        async with aclosing(replies):
            async for reply in replies:
                yield DirectoryEntry.of_proto(reply.data)

    async def find(
        self,
        endpoint: Endpoint,
        url: DiscoverUrl,
        type: ServiceType,
        properties: Mapping[str, str] | None = None,
        *,
        client_allowed: bool = False,
    ) -> DirectoryEntry:
        """The service that a discovery URL leads to.

        Args:
            endpoint: Says whether TLS is wanted; its URL is for messages only.
            url: The URL.
            type: What to look for if the URL does not say.
            properties: What it has to have then, besides what the URL says, which comes first.
            client_allowed: Whether an entry that stands for a client actor will do.

        Raises:
            NothingFoundError: There is none.
            EndpointError: There is none that can be used: TLS that is asked for is not given up.
            RpcError: The Directory cannot be reached, or fails.
        """
        if url.from_context:
            url = DiscoverUrl(type, properties={**(properties or {}), **url.properties}, token=url.token)
        request = _inquiry(url.service_type, url.properties, url.service_id)
        inquiry = self._inquire(request, url.token, INQUIRE_TIMEOUT)
        wanted = Wanted(ssl=endpoint.using_ssl(), client_allowed=client_allowed)
        useless: list[DirectoryEntry] = []
        async with aclosing(inquiry):
            async for entry in inquiry:
                if wanted.fits(entry):
                    return entry
                useless.append(entry)
        raise wanted.missing(f"{redact_url(endpoint.url)!r}: the Directory at {self.target}", url, useless)

    async def get_inquired_endpoint(
        self, endpoint: Endpoint, type: ServiceType | None = None, properties: Mapping[str, str] | None = None
    ) -> Endpoint:
        """An endpoint that leads where ``endpoint`` does, but is an address; ``endpoint`` itself if nothing is found.

        Args:
            endpoint: Where to find the service. An address is returned as it is.
            type: What to look for if the URL does not say.
            properties: What it has to have then.

        Raises:
            EndpointError: The URL cannot be understood, says nothing of the type, or there are only services that
                do not take the kind of connection, TLS or not, that ``endpoint`` asks for.
            RpcError: The Directory cannot be reached, or fails.
        """
        url = None if endpoint.in_process else parse_url(endpoint.url)
        if not isinstance(url, DiscoverUrl):
            return endpoint
        if url.from_context and type is None:
            raise EndpointError(f"{redact_url(endpoint.url)!r}: say which type of service to look for")
        try:
            entry = await self.find(endpoint, url, type or ServiceType.OTHER, properties)
        except NothingFoundError as error:
            logger.warning("%s", error)
            return endpoint
        return endpoint.with_url(entry.url)

    # --- connecting ---------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """Close the connection, if it is not the Context's."""
        if self._own_channels is not None:
            await self._own_channels.close()

    def _connect(self) -> Any:
        from cogment_core.api.directory_pb2_grpc import DirectorySPStub
        from cogment_core.channels import ChannelPool

        if self._channels is None:
            self._channels = self._own_channels = ChannelPool()
        channel = self._channels.get(self._endpoint.current())
        if channel is not self._channel:
            self._channel, self._stub = channel, DirectorySPStub(channel)
        return self._stub

    def _with_token(self, token: str | None) -> list[tuple[str, str | bytes]]:
        return self._metadata if token is None else [*self._metadata, (_TOKEN_KEY, token)]


def _path(method: str) -> str:
    return f"/{_SERVICE}/{method}"


def _inquiry(type: ServiceType | None, properties: Mapping[str, str] | None, service_id: int | None) -> InquireRequest:
    from cogment_core.api.directory_pb2 import InquireRequest, ServiceDetails

    if service_id is not None:
        return InquireRequest(service_id=_ID("service_id", service_id))
    number: Any = 0 if type is None else _wire_type(type)
    return InquireRequest(details=ServiceDetails(type=number, properties=_checked(properties)))


def _wire_type(given: object) -> Any:
    if not isinstance(given, ServiceType):
        raise wrong("type", "a ServiceType", given)
    return given.value


def _checked(properties: Mapping[str, str] | None) -> dict[str, str]:
    return {
        as_text("the name of a property", name): as_text(f"property {name!r}", value)
        for name, value in (properties or {}).items()
    }


def _urls(entries: Sequence[DirectoryEntry]) -> list[tuple[str, bool]]:
    return [(entry.url, entry.ssl) for entry in entries if entry.usable]
