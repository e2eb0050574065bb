"""A gRPC channel whose calls end when it is closed."""

from __future__ import annotations

import asyncio
import weakref
from types import TracebackType
from typing import Any, TypeVar

import grpc
import grpc.aio

__all__ = ["TrackingChannel"]

ChannelT = TypeVar("ChannelT", bound="TrackingChannel")


class TrackingChannel(grpc.aio.Channel):
    """``channel``, and the calls that were made on it.

    Closing a ``grpc.aio`` channel is said to cancel its calls. Before grpcio 1.85 it only finds those that are not
    connected yet, and leaves whoever reads from a stream waiting forever (measured with 1.62).

    Args:
        channel: The channel, from now on this one's to close.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._calls: weakref.WeakSet[Any] = weakref.WeakSet()

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """See ``grpc.aio.Channel``."""
        return _Tracked(self._channel.unary_unary(*args, **kwargs), self._calls)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """See ``grpc.aio.Channel``."""
        return _Tracked(self._channel.unary_stream(*args, **kwargs), self._calls)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """See ``grpc.aio.Channel``."""
        return _Tracked(self._channel.stream_unary(*args, **kwargs), self._calls)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """See ``grpc.aio.Channel``."""
        return _Tracked(self._channel.stream_stream(*args, **kwargs), self._calls)

    async def close(self, grace: float | None = None) -> None:
        """Cancel all calls, after at most ``grace`` seconds that they have to end."""
        calls = [call for call in self._calls if not call.done()]
        if grace and calls:
            ends = [asyncio.ensure_future(call.code()) for call in calls]
            await asyncio.wait(ends, timeout=grace)
            for end in ends:
                end.cancel()
        for call in calls:
            call.cancel()
        await self._channel.close()

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """See ``grpc.aio.Channel``."""
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """See ``grpc.aio.Channel``."""
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """See ``grpc.aio.Channel``."""
        await self._channel.channel_ready()

    async def __aenter__(self: ChannelT) -> ChannelT:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()


class _Tracked:
    """Calls one method."""

    def __init__(self, multicallable: Any, calls: weakref.WeakSet[Any]) -> None:
        self._multicallable = multicallable
        self._calls = calls

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = self._multicallable(*args, **kwargs)
        self._calls.add(call)
        return call
