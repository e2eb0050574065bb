"""What callers ask of a Directory, checked."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import grpc

from cogment_core.api.directory_pb2 import OTHER_SERVICE, RegisterRequest, ServiceDetails, ServiceEndpoint
from cogment_core.errors import CogmentError, EndpointError
from cogment_services.addresses import check_host, is_loopback
from cogment_services.directory.limits import DirectoryLimits
from cogment_services.directory.probes import SERVICES
from cogment_services.directory.records import Target
from cogment_services.directory.tokens import digest
from cogment_services.refusals import Refusal

__all__ = ["Caller", "Denied", "caller_of", "checked_properties", "checked_target"]

TOKEN = "authentication-token"
"""Metadata key of the token."""


class Denied(CogmentError):
    """What is asked for is not done; the text is for the caller."""


@dataclass(frozen=True)
class Caller:
    """Who calls."""

    token: bytes = field(repr=False)
    """Digest of the token; that of no token if there was none."""
    address: str
    """The address that the call comes from; the same for all calls of one machine."""
    local: bool
    """Whether that is this machine."""


def caller_of(context: Any) -> Caller:
    """Who makes the call of ``context``.

    Raises:
        Refusal: There are several tokens: it would be unclear which one counts.
    """
    tokens = {str(value) for key, value in context.invocation_metadata() or () if key == TOKEN}
    if len(tokens) > 1:
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, f"several different '{TOKEN}' in the metadata")
    address, local = _address(context.peer())
    return Caller(digest(tokens.pop() if tokens else ""), address, local)


def _address(peer: str) -> tuple[str, bool]:
    """The address in what gRPC calls a peer (``ipv4:1.2.3.4:5``, ``ipv6:%5B::1%5D:5``), and whether it is local."""
    kind, _, rest = unquote(peer).partition(":")
    if kind not in ("ipv4", "ipv6"):
        return kind, True  # in process, or a socket of this machine
    host = rest.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        return host, is_loopback(ipaddress.ip_address(host))
    except ValueError:
        return host, False


def checked_target(request: RegisterRequest, caller: Caller) -> Target:
    """Where the entry that is asked for leads.

    Raises:
        Denied: It is incomplete, or leads to where no entry may.
    """
    endpoint, details = request.endpoint, request.details
    if not endpoint.host:
        raise Denied("the endpoint has no host")
    if endpoint.protocol not in (ServiceEndpoint.GRPC, ServiceEndpoint.GRPC_SSL, ServiceEndpoint.COGMENT):
        raise Denied(f"there is no protocol {endpoint.protocol} (1 is gRPC, 2 gRPC with TLS, 3 Cogment)")
    if details.type not in SERVICES and details.type != OTHER_SERVICE:
        raise Denied(f"there is no service type {details.type} (there are 1 to 9 and 100)")
    if endpoint.port > 65_535 or (not endpoint.port and endpoint.protocol != ServiceEndpoint.COGMENT):
        raise Denied(f"a port is a number from 1 to 65535, not {endpoint.port}")
    try:
        check_host(endpoint.host, caller.local)
    except EndpointError as error:
        raise Denied(str(error)) from None
    return Target(endpoint.protocol, endpoint.host, endpoint.port, details.type, caller.local)


def checked_properties(details: ServiceDetails, limits: DirectoryLimits) -> Mapping[str, str]:
    """The properties that an entry has, or that are asked for.

    Raises:
        Denied: They are too many or too long.
    """
    if len(details.properties) > limits.properties:
        raise Denied(f"{len(details.properties)} properties are more than the {limits.properties} that are allowed")
    size = sum(len(name.encode()) + len(value.encode()) for name, value in details.properties.items())
    if size > limits.properties_size:
        raise Denied(f"{size} bytes of properties are more than the {limits.properties_size} that are allowed")
    return dict(details.properties)
