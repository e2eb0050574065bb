"""Where the Directory is, and the kinds of services that it knows."""

from __future__ import annotations

import os

from cogment_core.checks import as_text, wrong
from cogment_core.endpoints import Endpoint, GrpcUrl, ServiceType, parse_url, redact_url
from cogment_core.errors import EndpointError
from cogment_core.logs import logger

__all__ = ["ServiceType", "as_directory_endpoint", "as_directory_token"]


def as_directory_endpoint(given: object) -> Endpoint | None:
    """The Directory's endpoint: the one that was given, or that the environment variable names; None for none.

    Raises:
        EndpointError: It is no address.
        UsageError: ``given`` is no endpoint.
    """
    endpoint = given if given is not None else os.environ.get("COGMENT_DIRECTORY_ENDPOINT") or None
    if isinstance(endpoint, str):
        endpoint = Endpoint(endpoint)
    if endpoint is None:
        return None
    if not isinstance(endpoint, Endpoint):
        raise wrong("directory_endpoint", "an Endpoint", endpoint)
    if not isinstance(parse_url(endpoint.url), GrpcUrl):
        raise EndpointError(f"Directory endpoint: {redact_url(endpoint.url)!r} is no address, as 'grpc://HOST:PORT' is")
    return endpoint


def as_directory_token(given: str | None, endpoint: Endpoint | None) -> str | None:
    """What the Directory lets us in with: the token that was given, or the environment variable's; None for none.

    Raises:
        UsageError: ``given`` is no text.
    """
    token = given if given is not None else os.environ.get("COGMENT_DIRECTORY_AUTHENTICATION_TOKEN") or None
    if token is not None:
        as_text("directory_auth_token", token)
        if endpoint is None:
            logger.warning("there is a token for the Directory, but no endpoint of it")
    return token
