"""From an endpoint to one that can be connected to."""

from __future__ import annotations

from cogment_core.endpoints import ClientUrl, Endpoint, GrpcUrl, ServiceType, parse_url, redact_url
from cogment_core.errors import EndpointError
from cogment_core.inprocess import InProcessEndpoint

__all__ = ["resolve"]


def resolve(endpoint: Endpoint | str, service_type: ServiceType) -> Endpoint:
    """The endpoint itself if it is an address.

    Args:
        endpoint: Where the service is.
        service_type: What it is, for the error.

    Raises:
        EndpointError: It is no address. Discovery endpoints need a Directory.
    """
    if isinstance(endpoint, str):
        endpoint = Endpoint(endpoint)
    if isinstance(endpoint, InProcessEndpoint):
        return endpoint
    url = parse_url(endpoint.url)
    if isinstance(url, GrpcUrl):
        return endpoint
    wanted = f"the {service_type.name.lower().replace('_', ' ')} service"
    if isinstance(url, ClientUrl):
        raise EndpointError(f"{endpoint.url!r} stands for an actor that joins by itself, not for {wanted}")
    raise EndpointError(
        f"{redact_url(endpoint.url)!r}: discovery through a Directory is not available in this version; "
        f"give the address of {wanted}, for example Endpoint('grpc://localhost:9000')"
    )
