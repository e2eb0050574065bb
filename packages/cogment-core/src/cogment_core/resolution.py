"""From endpoints to addresses: what the clients of a Context connect to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field

import grpc
import grpc.aio

from cogment_core.channels import identity
from cogment_core.directory import Directory
from cogment_core.endpoints import ClientUrl, DiscoverUrl, Endpoint, GrpcUrl, ServiceType, parse_url, redact_url
from cogment_core.errors import CogmentError, EndpointError, UnavailableError
from cogment_core.logs import logger

__all__ = ["Resolver"]


@dataclass
class _Found:
    """Where a discovery endpoint has led to."""

    address: Endpoint | None = None
    """The address; None before the first answer, and when it is in doubt."""
    doubted: Endpoint | None = None
    """The address that could not be reached."""
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the one call that asks the Directory."""

    def doubt(self, address: Endpoint) -> None:
        """``address`` cannot be reached: ask again before it is used, unless somebody did."""
        if self.address is address:
            self.address, self.doubted = None, address


class Resolver:
    """Resolves the endpoints of one Context.

    What a discovery endpoint leads to is kept for as long as it can be reached: the calls of a Controller all go to the
    same Orchestrator. When the connection to it has failed, the next call asks the Directory again; if that knows
    nothing better, the old address stays in use.

    Args:
        directory: The Directory; None for none.
    """

    def __init__(self, directory: Directory | None) -> None:
        self._directory = directory
        self._found: dict[Hashable, _Found] = {}

    async def connect(
        self,
        endpoint: Endpoint,
        service_type: ServiceType,
        open_channel: Callable[[Endpoint], Awaitable[grpc.aio.Channel]],
    ) -> grpc.aio.Channel:
        """A channel to where ``endpoint`` leads.

        Args:
            endpoint: Where the service is.
            service_type: What it is, if the endpoint does not say.
            open_channel: Gives the channel to an address.

        Raises:
            EndpointError: It leads nowhere.
            RpcError: The Directory cannot be reached; or what ``open_channel`` raises.
        """
        url = _discovery_url(endpoint, service_type)
        if url is None:
            return await open_channel(endpoint)
        found = self._found.setdefault((identity(endpoint), service_type), _Found())
        address = await self._address(found, endpoint, url, service_type)
        try:
            channel = await open_channel(address)
        except UnavailableError:
            found.doubt(address)
            raise
        if channel.get_state() is not grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            return channel
        found.doubt(address)
        return await open_channel(await self._address(found, endpoint, url, service_type))

    async def _address(
        self, found: _Found, endpoint: Endpoint, url: DiscoverUrl, service_type: ServiceType
    ) -> Endpoint:
        async with found.asking:
            if found.address is None:
                found.address = await self._ask(endpoint, url, service_type, found.doubted)
            return found.address

    async def _ask(
        self, endpoint: Endpoint, url: DiscoverUrl, service_type: ServiceType, doubted: Endpoint | None
    ) -> Endpoint:
        if self._directory is None:
            raise EndpointError(
                f"{redact_url(endpoint.url)!r} has to be looked up, but no Directory is configured: give "
                f"Context(directory_endpoint=...), set COGMENT_DIRECTORY_ENDPOINT, or give the address of "
                f"{_in_words(service_type)}, for example Endpoint('grpc://localhost:9000')"
            )
        try:
            entry = await self._directory.find(endpoint, url, service_type)
        except CogmentError as error:
            if doubted is None:
                raise
            logger.warning("%s cannot be looked up again, %s stays in use: %s", _in_words(service_type), doubted, error)
            return doubted
        address = endpoint.with_url(entry.url)
        logger.debug("%r leads to %s", redact_url(endpoint.url), address)
        return address


def _discovery_url(endpoint: Endpoint, service_type: ServiceType) -> DiscoverUrl | None:
    """What to look up, None for an address.

    Raises:
        EndpointError: It is neither.
    """
    if endpoint.in_process:
        return None
    url = parse_url(endpoint.url)
    if isinstance(url, GrpcUrl):
        return None
    if isinstance(url, ClientUrl):
        text = f"{endpoint.url!r} stands for an actor that joins by itself, not for {_in_words(service_type)}"
        raise EndpointError(text)
    if url.service_type not in (None, service_type):
        logger.warning("%r looks for something else than %s", redact_url(endpoint.url), _in_words(service_type))
    return url


def _in_words(service_type: ServiceType) -> str:
    return f"the {service_type.name.lower().replace('_', ' ')} service"
