"""Connections for calls that last: trials and watchers have to know soon when their server is frozen.

A connection finds a frozen server by asking it every few seconds whether it lives. Servers of ours allow that; gRPC
servers with stock options close a connection on which they are asked so often while nothing else happens, after some
25 s. So a server is asked first which version it has. That is done on a connection of the watchful kind already: a
server that is frozen from the beginning is found, and one that is only busy, and will answer, is waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
import grpc.aio

from cogment_core.api.common_pb2 import VersionInfo, VersionRequest
from cogment_core.errors import UnavailableError, from_grpc

__all__ = ["ASK_TIMEOUT", "LastingChannel"]

ASK_TIMEOUT = 15.0
"""Seconds that a server has to say which version it has; stock servers put up with a watchful connection for longer."""

_WATCHFUL_SINCE = 3
"""Major version of the SDK from which on its servers let their clients ask every few seconds whether they live."""


class LastingChannel:
    """The connection to one server: a watchful one, if the server allows that.

    Args:
        watchful: Opens a channel that soon knows when its server is frozen (`channels.WATCHFUL_CLIENT_OPTIONS`).
        plain: Opens a channel that any server allows.
        target: Which server that is, for the error.
    """

    def __init__(
        self, watchful: Callable[[], grpc.aio.Channel], plain: Callable[[], grpc.aio.Channel], target: str = ""
    ) -> None:
        self._target = target
        self._open_watchful = watchful
        self._open_plain = plain
        self._settled: grpc.aio.Channel | None = None
        self._plain: grpc.aio.Channel | None = None
        self._asking: asyncio.Task[grpc.aio.Channel] | None = None

    async def get(self, service: str) -> grpc.aio.Channel:
        """The channel; the first time, its server is asked for its version.

        Args:
            service: Full name of a service that the server has, for example ``cogmentAPI.ClientActorSP``.

        Raises:
            UnavailableError: The server cannot be reached, or the connection was closed meanwhile.
        """
        if self._settled is not None:
            return self._settled
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(self._settle(service))
            self._asking.add_done_callback(self._asked)
        asking = self._asking
        await asyncio.wait({asking})  # others may wait for it, too: it is not cancelled with this one
        if asking.cancelled():
            raise UnavailableError(grpc.StatusCode.UNAVAILABLE, "the connection was closed")
        return asking.result()

    def _asked(self, asking: asyncio.Task[grpc.aio.Channel]) -> None:
        self._asking = None
        if not asking.cancelled():
            asking.exception()  # marks it as retrieved: those who waited may be gone

    async def _settle(self, service: str) -> grpc.aio.Channel:
        watchful = self._open_watchful()
        is_ours: bool | None = None
        try:
            is_ours = await _is_ours(watchful, service, self._target)
        finally:
            if not is_ours:
                await watchful.close()
        if is_ours:
            self._settled = watchful
            return watchful
        if self._plain is None:
            self._plain = self._open_plain()
        if is_ours is not None:
            self._settled = self._plain
        return self._plain

    async def close(self) -> None:
        """Close the connection; calls in progress are cancelled."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})
        for channel in {self._settled, self._plain} - {None}:
            assert channel is not None
            await channel.close()


async def _is_ours(channel: grpc.aio.Channel, service: str, target: str) -> bool | None:
    """Whether the server is one of ours; None if it did not say in time.

    Raises:
        UnavailableError: It cannot be reached.
    """
    method = f"/{service}/Version"
    ask = channel.unary_unary(
        method,
        request_serializer=VersionRequest.SerializeToString,
        response_deserializer=VersionInfo.FromString,
    )
    try:
        reply = await ask(VersionRequest(), timeout=ASK_TIMEOUT)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNAVAILABLE:
            raise from_grpc(error, method=method, target=target) from error
        return None if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED else False
    found = {version.name: version.version for version in reply.versions}.get("cogment_sdk", "")
    major = found.partition(".")[0]
    return major.isdecimal() and int(major) >= _WATCHFUL_SINCE
