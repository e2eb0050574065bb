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

    endpoint: Endpoint
    """Where it is."""
    token: str = field(default="", repr=False)
    """What to be let in with; empty for nothing."""
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
        self._target = redact_url(options.endpoint.url)
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
        EndpointError: The URL is wrong, or what there is for TLS.
        UnavailableError: It could not be reached in time.
    """
    until = time.monotonic() + options.timeout
    channel = open_channel(options.endpoint)
    try:
        await _until_ready(channel, options)
        yield Connection(options, channel, until)
    finally:
        await channel.close()


async def _until_ready(channel: Any, options: DirectoryOptions) -> None:
    try:
        await asyncio.wait_for(channel.channel_ready(), options.timeout)
    except asyncio.TimeoutError:
        text = (
            f"cannot be reached within {options.timeout:g} s (is a server running at this address, do both sides use "
            "TLS, or neither, and are all certificates valid?)"
        )
        raise UnavailableError(grpc.StatusCode.UNAVAILABLE, text, target=redact_url(options.endpoint.url)) from None
