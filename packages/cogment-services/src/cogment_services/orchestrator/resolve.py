"""From the endpoints in trial parameters to the services that are there.

Until there is a Directory, ``cogment://discover`` leads to what is attached to the Orchestrator within its process.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from cogment_core.api.common_pb2 import ActorParams, EnvironmentParams, TrialParams
from cogment_core.endpoints import ClientUrl, DiscoverUrl, Endpoint, GrpcUrl, ServiceType, parse_url, redact_url
from cogment_core.errors import EndpointError
from cogment_core.inprocess import InProcessEndpoint
from cogment_services.orchestrator.channels import PeerChannels, Route
from cogment_services.orchestrator.world import Routes

if TYPE_CHECKING:
    from cogment_core.implementations import Component

__all__ = ["AttachedComponents", "EndpointPolicy", "Resolver", "allow_public_addresses"]

EndpointPolicy = Callable[[str], None]
"""Called with the address of each gRPC endpoint; raises `EndpointError` if the Orchestrator may not connect to it."""

# No "%": gRPC decodes it, so that what is checked here would not be what it connects to.
_ADDRESS = re.compile(r"(?:\[([^\]%]+)\]|([^:%]+))(?::[0-9]+)?")


def allow_public_addresses(address: str) -> None:
    """The default policy: any ``host:port``, except link-local addresses, where clouds keep the secrets of machines.

    Raises:
        EndpointError: ``address`` is something else, for example ``unix:/run/some.sock``.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise EndpointError(f"endpoint 'grpc://{address}': trials may only use endpoints like grpc://host:port")
    ip = _ip(match[1] or match[2])
    if ip is None:
        return
    if ip.is_link_local or getattr(getattr(ip, "ipv4_mapped", None), "is_link_local", False):
        raise EndpointError(f"endpoint 'grpc://{address}': trials may not use link-local addresses")


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The IP address that ``host`` is, None if it is a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:  # "2852039166" and "0xa9.254.43518" are 169.254.169.254 for the resolver of the system
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeEncodeError):
        return None


class AttachedComponents:
    """What is attached to the Orchestrator within its process."""

    def __init__(self) -> None:
        self._found: list[tuple[Component, InProcessEndpoint]] = []

    def add(self, components: Iterable[Component], endpoint: InProcessEndpoint) -> None:
        """Attach ``components``, which are reached at ``endpoint`` until its server is stopped."""
        self._found = [*self._of_servers_that_run(), *((component, endpoint) for component in components)]

    def find(self, wanted: ServiceType, properties: Mapping[str, str]) -> InProcessEndpoint | None:
        """Where the first component of this type with these properties is, None if there is none."""
        for component, endpoint in self._of_servers_that_run():
            if component.type is wanted and _fits(component, properties):
                return endpoint
        return None

    def known(self, wanted: ServiceType) -> str:
        """What there is of this type, for messages."""
        names = [_describe(component) for component, _ in self._of_servers_that_run() if component.type is wanted]
        return ", ".join(names) or "none"

    def _of_servers_that_run(self) -> Iterator[tuple[Component, InProcessEndpoint]]:
        return (found for found in self._found if not found[1].server.is_stopped)


def _fits(component: Component, properties: Mapping[str, str]) -> bool:
    for name, value in properties.items():
        if name == "__implementation":
            fits = component.implementation == value
        elif name == "__actor_class":
            fits = component.actor_class in (None, value)
        else:
            fits = component.properties.get(name) == value
        if not fits:
            return False
    return True


def _describe(component: Component) -> str:
    name = component.implementation or "unnamed"
    return f"{name} for {component.actor_class}" if component.actor_class else name


class Resolver:
    """Finds the components of trials.

    Args:
        channels: Keeps the connections.
        attached: What is attached within this process.
        outgoing: How to connect to gRPC endpoints: an endpoint whose URL does not matter.
        policy: Which gRPC endpoints are allowed.
    """

    def __init__(
        self, channels: PeerChannels, attached: AttachedComponents, outgoing: Endpoint, policy: EndpointPolicy
    ) -> None:
        self._channels = channels
        self._attached = attached
        self._outgoing = outgoing
        self._policy = policy

    def routes(self, params: TrialParams) -> Routes:
        """How the components of a trial with these parameters are reached.

        Raises:
            EndpointError: One of them is not where its endpoint says; says which, and what is there.
        """
        datalog = params.datalog.endpoint
        return Routes(
            environment=self._environment(params.environment),
            actors=[self._actor(actor) for actor in params.actors],
            datalog=self.service("the datalog", datalog, ServiceType.DATALOG) if datalog else None,
        )

    def service(self, what: str, url: str, wanted: ServiceType, properties: Mapping[str, str] | None = None) -> Route:
        """How the service at ``url`` is reached.

        Args:
            what: Whose endpoint it is, for messages.
            url: The endpoint.
            wanted: What it has to be, if the URL does not say.
            properties: What it has to have then.

        Raises:
            EndpointError: It is not there.
        """
        parsed = parse_url(url)
        if isinstance(parsed, ClientUrl):
            raise EndpointError(f"{what}: only actors can have the endpoint cogment://client")
        if isinstance(parsed, GrpcUrl):
            self._policy(parsed.address)
            return Route(self._outgoing.with_url(f"grpc://{parsed.address}"), self._channels)
        return Route(self._discover(what, url, parsed, wanted, properties or {}), self._channels)

    def _discover(
        self, what: str, url: str, parsed: DiscoverUrl, wanted: ServiceType, properties: Mapping[str, str]
    ) -> Endpoint:
        if parsed.service_id is not None:
            raise EndpointError(f"{what}: {redact_url(url)!r} needs a Directory, and this Orchestrator has none")
        if parsed.from_context:
            properties = {**properties, **parsed.properties}
        else:
            wanted, properties = parsed.service_type or wanted, parsed.properties
        found = self._attached.find(wanted, properties)
        if found is None:
            asked = ", ".join(f"{name}={value}" for name, value in properties.items()) or "anything"
            raise EndpointError(
                f"{what}: {redact_url(url)!r} finds nothing ({wanted.name} with {asked}); without a Directory it finds "
                f"what is attached to this Orchestrator: {self._attached.known(wanted)}. Or give a grpc:// endpoint"
            )
        return found

    def _environment(self, params: EnvironmentParams) -> Route:
        properties = {"__implementation": params.implementation} if params.implementation else {}
        url = params.endpoint or "cogment://discover"
        return self.service("the environment", url, ServiceType.ENVIRONMENT, properties)

    def _actor(self, params: ActorParams) -> Route | None:
        url = params.endpoint or "cogment://discover"
        if isinstance(parse_url(url), ClientUrl):
            return None
        properties = {"__actor_class": params.actor_class}
        if params.implementation:
            properties["__implementation"] = params.implementation
        return self.service(f"actor [{params.name}]", url, ServiceType.ACTOR, properties)
