"""The channel to an in-process server."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterable, Callable, Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio

from cogment_core.inprocess.calls import Call, StreamStreamCall, StreamUnaryCall, UnaryStreamCall, UnaryUnaryCall
from cogment_core.inprocess.exchange import Exchange, as_pairs
from cogment_core.tasks import TaskOwner

if TYPE_CHECKING:
    from cogment_core.inprocess.server import InProcessServer

__all__ = ["InProcessChannel"]

Requests = AsyncIterable[Any] | Iterable[Any]
CallT = TypeVar("CallT", bound=Call)
ChannelT = TypeVar("ChannelT", bound="InProcessChannel")


class InProcessChannel(grpc.aio.Channel):
    """A ``grpc.aio`` channel to a server in the same process and event loop.

    Stubs of any generator version work on it. Serializers are not used: the servicer gets the very objects that the
    caller sends, and the other way round. See `cogment_core.inprocess` for what that asks of both.

    Args:
        server: Whom calls go to.
    """

    def __init__(self, server: InProcessServer) -> None:
        self._server = server
        self._calls: weakref.WeakSet[Call] = weakref.WeakSet()
        self._senders = TaskOwner("in-process channel")
        self._closed = asyncio.Event()

    # --- what stubs call ----------------------------------------------------------------------------------------

    def unary_unary(self, method: str, *_serializers: Any, **_options: Any) -> Any:
        """A callable for a method with one request and one reply."""
        return _UnaryCallable(self, method, UnaryUnaryCall)

    def unary_stream(self, method: str, *_serializers: Any, **_options: Any) -> Any:
        """A callable for a method with one request and many replies."""
        return _UnaryCallable(self, method, UnaryStreamCall)

    def stream_unary(self, method: str, *_serializers: Any, **_options: Any) -> Any:
        """A callable for a method with many requests and one reply."""
        return _StreamCallable(self, method, StreamUnaryCall)

    def stream_stream(self, method: str, *_serializers: Any, **_options: Any) -> Any:
        """A callable for a method with many requests and many replies."""
        return _StreamCallable(self, method, StreamStreamCall)

    # --- state --------------------------------------------------------------------------------------------------

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Ready until the channel is closed or the server stopped."""
        if self._closed.is_set():
            return grpc.ChannelConnectivity.SHUTDOWN
        if self._server.is_stopped:
            return grpc.ChannelConnectivity.TRANSIENT_FAILURE
        return grpc.ChannelConnectivity.READY

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until `get_state` gives something else."""
        while self.get_state() is last_observed_state:
            changes = {asyncio.create_task(self._closed.wait())}
            if not self._server.is_stopped:
                changes.add(asyncio.create_task(self._server.wait_until_stopped()))
            try:
                await asyncio.wait(changes, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for change in changes:
                    change.cancel()

    async def channel_ready(self) -> None:
        """Wait until `get_state` is ready."""
        while (state := self.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
            await self.wait_for_state_change(state)

    async def close(self, grace: float | None = None) -> None:
        """Cancel all calls, after at most ``grace`` seconds that they have to end."""
        if self._closed.is_set():
            return
        self._closed.set()
        calls = list(self._calls)
        if grace and calls:
            await asyncio.wait([call.settled for call in calls], timeout=grace)
        for call in calls:
            call.cancel()
        await self._senders.close()

    async def __aenter__(self: ChannelT) -> ChannelT:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def open_call(self, kind: Callable[[Exchange], CallT], method: str, timeout: float | None, metadata: Any) -> CallT:
        """Begin a call of the given kind."""
        if self._closed.is_set():
            raise grpc.aio.UsageError("Channel is closed.")
        call = kind(self._server.open_exchange(method, as_pairs(metadata), timeout))
        self._calls.add(call)
        return call

    def send_all(self, call: StreamUnaryCall | StreamStreamCall, requests: Requests) -> None:
        """Send what ``requests`` gives for as long as ``call`` lasts."""
        sender = self._senders.spawn(call.send_all(requests), what="sending requests")
        call.settled.add_done_callback(lambda _settled: sender.cancel())


class _UnaryCallable:
    """Calls one method that takes one request."""

    def __init__(self, channel: InProcessChannel, method: str, kind: Any) -> None:
        self._channel = channel
        self._method = method
        self._kind = kind

    def __call__(
        self, request: Any, *, timeout: float | None = None, metadata: Any = None, **_transport_options: Any
    ) -> Any:
        call = self._channel.open_call(self._kind, self._method, timeout, metadata)
        call.send_only(request)
        return call


class _StreamCallable:
    """Calls one method that takes many requests."""

    def __init__(self, channel: InProcessChannel, method: str, kind: Any) -> None:
        self._channel = channel
        self._method = method
        self._kind = kind

    def __call__(
        self,
        request_iterator: Requests | None = None,
        timeout: float | None = None,
        metadata: Any = None,
        **_transport_options: Any,
    ) -> Any:
        call = self._channel.open_call(self._kind, self._method, timeout, metadata)
        if request_iterator is not None:
            self._channel.send_all(call, request_iterator)
        return call
