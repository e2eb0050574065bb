"""The connection of ``cogment client directory``."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from cogment_core import rpc
from cogment_core.api.directory_pb2 import FullServiceData, InquireRequest
from cogment_core.api.directory_pb2_grpc import DirectorySPStub
from cogment_core.channels import open_channel
from cogment_core.endpoints import Endpoint, redact_url
from cogment_core.errors import RefusedError, UnavailableError
from cogment_services.cli.terminal import one_line

__all__ = ["Connection", "DirectoryOptions", "connect"]


@dataclass(frozen=True)
class DirectoryOptions:
    """Where the Directory is, and how to talk to it."""

    url: str
    """Its endpoint."""
    token: str = field(default="", repr=False)
    """What to be let in with; empty for nothing."""
    private_key: str | None = None
    """File of this client's key, for mutual TLS."""
    root_cert: str | None = None
    """File of the authority that is trusted, for TLS."""
    trust_chain: str | None = None
    """File of this client's certificate, for mutual TLS."""
    timeout: float = 30.0
    """Seconds for connecting and for the call, together."""
    as_json: bool = False
    """Whether results are for programs to read."""


class Connection:
    """A Directory that is connected.

    Args:
        options: How.
        channel: The connection.
        until: When its time is over, on the monotonic clock.
    """

    def __init__(self, options: DirectoryOptions, channel: Any, until: float) -> None:
        self._target = redact_url(options.url)
        self._metadata = [("authentication-token", options.token)] if options.token else []
        self._stub: Any = DirectorySPStub(channel)
        self._until = until

    async def ask(self, method: str, request: Any) -> Any:
        """Register or deregister; returns the reply.

        Raises:
            RefusedError: The Directory refuses.
            RpcError: The call failed.
        """
        reply = await rpc.exchange(getattr(self._stub, method), request, **self._call(method))
        if reply.status != reply.OK:
            raise RefusedError(
                grpc.StatusCode.FAILED_PRECONDITION, one_line(reply.error_msg), method=method, target=self._target
            )
        return reply

    async def inquire(self, request: InquireRequest) -> list[FullServiceData]:
        """What the Directory knows.

        Raises:
            RpcError: The call failed.
        """
        return [reply.data async for reply in rpc.iterate(self._stub.Inquire, request, **self._call("Inquire"))]

    def _call(self, method: str) -> dict[str, Any]:
        left = max(0.0, self._until - time.monotonic())
        return {"method": method, "target": self._target, "metadata": self._metadata, "timeout": left}


@asynccontextmanager
async def connect(options: DirectoryOptions) -> AsyncGenerator[Connection, None]:
    """The Directory, once it can be reached.

    Raises:
        EndpointError: The URL or the files for TLS are wrong.
        UnavailableError: It could not be reached in time.
    """
    until = time.monotonic() + options.timeout
    endpoint = Endpoint(options.url)
    if options.private_key or options.root_cert or options.trust_chain:
        endpoint.set_from_files(options.private_key, options.root_cert, options.trust_chain)
    channel = open_channel(endpoint)
    try:
        await asyncio.wait_for(channel.channel_ready(), options.timeout)
        yield Connection(options, channel, until)
    except asyncio.TimeoutError:
        text = (
            f"cannot be reached within {options.timeout:g} s (is a server running at this address, do both sides use "
            "TLS, or neither, and are all certificates valid?)"
        )
        raise UnavailableError(grpc.StatusCode.UNAVAILABLE, text, target=redact_url(options.url)) from None
    finally:
        await channel.close()
