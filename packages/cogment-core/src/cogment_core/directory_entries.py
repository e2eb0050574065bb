"""What a Directory knows of a service, and which of several services to use."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogment_core.endpoints import DiscoverUrl, ServiceType
from cogment_core.errors import EndpointError

if TYPE_CHECKING:
    from cogment_core.api.directory_pb2 import FullServiceData

__all__ = ["DirectoryEntry", "NothingFoundError", "Wanted"]

_GRPC, _GRPC_SSL, _COGMENT = 1, 2, 3
"""Protocols of entries, as numbered on the wire."""

_HOST_NAME = r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?"
_CLIENT = "client"


class NothingFoundError(EndpointError):
    """The Directory knows no such service."""


@dataclass(frozen=True)
class DirectoryEntry:
    """A service, as a Directory knows it.

    All of it is what somebody registered: it may be anything.
    """

    service_id: int
    """The number that the Directory gave it."""
    type: ServiceType | None
    """What it is; None for a type that this version does not know."""
    protocol: int
    """How it is reached, as numbered on the wire: 1 gRPC, 2 gRPC with TLS, 3 Cogment."""
    host: str
    """Name or address of its machine; ``client`` for an actor that joins by itself (protocol 3)."""
    port: int
    """Its port."""
    properties: Mapping[str, str]
    """What it was registered with."""
    permanent: bool
    """Whether the Directory keeps it even if it cannot be reached."""

    @classmethod
    def of_proto(cls, data: FullServiceData) -> DirectoryEntry:
        """The entry that ``data`` tells of."""
        try:
            kind = ServiceType(data.details.type)
        except ValueError:
            kind = None
        return cls(
            data.service_id,
            kind,
            data.endpoint.protocol,
            data.endpoint.host,
            data.endpoint.port,
            dict(data.details.properties),
            data.permanent,
        )

    @property
    def ssl(self) -> bool:
        """Whether it takes TLS connections."""
        return self.protocol == _GRPC_SSL

    @property
    def is_client(self) -> bool:
        """Whether it stands for an actor that joins by itself."""
        return self.protocol == _COGMENT and self.host.lower() == _CLIENT

    @property
    def usable(self) -> bool:
        """Whether there is an address to connect to."""
        return self.protocol in (_GRPC, _GRPC_SSL) and self._address is not None

    @property
    def url(self) -> str:
        """Where it is.

        Raises:
            EndpointError: There is no address that could be connected to.
        """
        if self.is_client:
            return "cogment://client"
        if self._address is None or not self.usable:
            raise EndpointError(f"service {self.service_id} is no address: host {self.host!r}, port {self.port}")
        return f"grpc://{self._address}"

    @property
    def _address(self) -> str | None:
        # Registered by anybody: gRPC would take "unix:/run/some.sock", or several addresses, as a host, too.
        if not 0 < self.port <= 65535:
            return None
        if re.fullmatch(_HOST_NAME, self.host):
            return f"{self.host}:{self.port}"
        try:
            return f"[{ipaddress.IPv6Address(self.host.strip('[]'))}]:{self.port}"
        except ValueError:
            return None


@dataclass(frozen=True)
class Wanted:
    """Which entries can be used. An endpoint that asks for TLS gets no other."""

    ssl: bool
    """Whether TLS is wanted; if not, services with TLS cannot be used."""
    client_allowed: bool = False
    """Whether an entry that stands for a client actor will do."""

    def fits(self, entry: DirectoryEntry) -> bool:
        """Whether ``entry`` can be used."""
        if entry.is_client:
            return self.client_allowed
        return entry.usable and entry.ssl is self.ssl

    def missing(self, asked: str, url: DiscoverUrl, entries: Sequence[DirectoryEntry]) -> EndpointError:
        """The error that says why nothing can be used.

        Args:
            asked: Who was asked.
            url: What was looked for.
            entries: What there is, none of it of use.
        """
        wanted = _describe(url)
        if not entries:
            return NothingFoundError(f"{asked} knows no {wanted}")
        if not any(entry.usable for entry in entries):
            return EndpointError(f"{asked} knows {wanted}, but no address that could be used here")
        if self.ssl:
            return EndpointError(f"{asked} knows {wanted}, but only without TLS, and TLS is asked for")
        return EndpointError(f"{asked} knows {wanted}, but only with TLS, and none is asked for (use_ssl)")


def _describe(url: DiscoverUrl) -> str:
    """What ``url`` looks for, in words."""
    if url.service_id is not None:
        return f"service with the number {url.service_id}"
    kind = "service" if url.service_type is None else f"{url.service_type.name} service"
    asked = ", ".join(f"{name}={value}" for name, value in url.properties.items())
    return f"{kind} with {asked}" if asked else kind
