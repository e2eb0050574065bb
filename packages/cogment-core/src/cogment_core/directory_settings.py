"""Where the Directory is, and what it lets us in with: as given, or as the environment says."""

from __future__ import annotations

import os

from cogment_core.checks import checked_token, wrong
from cogment_core.endpoints import Endpoint, GrpcUrl, parse_url, redact_url
from cogment_core.errors import EndpointError
from cogment_core.logs import logger

__all__ = ["as_directory_endpoint", "as_directory_token", "directory_address"]


def as_directory_endpoint(given: object) -> Endpoint | None:
    """The Directory's endpoint: the one that was given, or that the environment variable names; None for none.

    Raises:
        EndpointError: It is no address.
        UsageError: ``given`` is no endpoint.
    """
    chosen = given if given is not None else os.environ.get("COGMENT_DIRECTORY_ENDPOINT") or None
    return None if chosen is None else directory_address("directory_endpoint", chosen)


def directory_address(name: str, given: object) -> Endpoint:
    """``given`` as the endpoint of a Directory, which cannot be discovered itself.

    Args:
        name: What to call it in the error.
        given: An `Endpoint`, or its URL.

    Raises:
        EndpointError: It is no address.
        UsageError: ``given`` is no endpoint.
    """
    endpoint = Endpoint(given) if isinstance(given, str) else given
    if not isinstance(endpoint, Endpoint):
        raise wrong(name, "an Endpoint", endpoint)
    if not endpoint.in_process and not isinstance(parse_url(endpoint.url), GrpcUrl):
        raise EndpointError(f"Directory endpoint: {redact_url(endpoint.url)!r} is no address, as 'grpc://HOST:PORT' is")
    return endpoint


def as_directory_token(given: str | None, endpoint: Endpoint | None) -> str | None:
    """What the Directory lets us in with: the token that was given, or the environment variable's; None for none.

    Raises:
        UsageError: ``given`` cannot be sent.
    """
    token = given if given is not None else os.environ.get("COGMENT_DIRECTORY_AUTHENTICATION_TOKEN") or None
    if token and endpoint is None:
        logger.warning("there is a token for the Directory, but no endpoint of it")
    return checked_token("directory_auth_token", token)
