"""The client's end of in-process calls, as ``grpc.aio`` calls.

Like a ``grpc.aio`` call, a call is cancelled when a task that waits for it is, and when nobody holds it any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable
from functools import partial
from typing import Any

import grpc
import grpc.aio

from cogment_core.inprocess.ends import ClientEnd
from cogment_core.inprocess.exchange import Exchange, Status
from cogment_core.logs import logger

__all__ = ["Call", "StreamStreamCall", "StreamUnaryCall", "UnaryStreamCall", "UnaryUnaryCall"]

_CANCELLED_HERE = "Locally cancelled by application!"


class Call:
    """What all calls have: a status, metadata and an end."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __del__(self) -> None:
        exchange = getattr(self, "_exchange", None)
        if exchange is not None and not exchange.settled.done() and not exchange.loop.is_closed():
            # Garbage is collected in any thread.
            exchange.loop.call_soon_threadsafe(exchange.cancel, "Cancelled upon garbage collection!")

    @property
    def settled(self) -> asyncio.Future[Status]:
        """Done when the call is over."""
        return self._exchange.settled

    def set_queue_limit(self, limit: int) -> None:
        """Let ``limit`` messages wait in each direction, not `QUEUE_LIMIT`: for those that are large."""
        self._exchange.to_server.limit = self._exchange.to_client.limit = limit

    def send_only(self, request: Any) -> None:
        """Send the only request there is."""
        self._exchange.to_server.put(request)
        self._exchange.to_server.close()

    def cancel(self) -> bool:
        """Cancel the call. Returns whether that made a difference."""
        return self._exchange.cancel(_CANCELLED_HERE)

    def cancelled(self) -> bool:
        """Whether the call ended as cancelled."""
        return self.done() and self._exchange.settled.result().code is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        """Whether the call is over: it has a status, and all messages before it were taken."""
        return self._exchange.settled.done()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call ``callback`` with this call when it is over."""
        self._exchange.when_settled(partial(callback, self))

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, None if there is none."""
        return self._exchange.time_remaining()

    async def wait_for_connection(self) -> None:
        """Return at once, unless the call has failed."""
        if self.done():
            await self._raise_for_status()

    async def initial_metadata(self) -> grpc.aio.Metadata:
        """What the servicer sent ahead of its first reply."""
        return grpc.aio.Metadata(*await asyncio.shield(self._exchange.initial_metadata))

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        """What the servicer sent with the status."""
        return grpc.aio.Metadata(*(await self._status()).trailing_metadata)

    async def code(self) -> grpc.StatusCode:
        """How the call ended."""
        return (await self._status()).code

    async def details(self) -> str:
        """What there is to say about how the call ended."""
        return (await self._status()).details

    async def debug_error_string(self) -> str:
        """Empty: there is no transport to debug."""
        await self._status()
        return ""

    async def _status(self) -> Status:
        return await asyncio.shield(self._exchange.settled)

    async def _raise_for_status(self) -> None:
        await self._status()
        if self._exchange.cancelled_by_client:
            raise asyncio.CancelledError
        if (error := self._exchange.error()) is not None:
            raise error


class _UnaryResponse(Call):
    """A call with one reply, which awaiting the call gives."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange)
        self._replies: list[Any] = []
        exchange.to_client.subscribe(self._replies.append)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._reply().__await__()

    async def _reply(self) -> Any:
        try:
            await self._raise_for_status()
        except asyncio.CancelledError:
            self.cancel()
            raise
        return self._replies[0]


class _StreamResponse(Call):
    """A call with many replies, to read or to iterate over."""

    async def read(self) -> Any:
        """The next reply; ``grpc.aio.EOF`` after the last one."""
        try:
            reply = await self._exchange.to_client.read()
            if reply is grpc.aio.EOF:
                await self._raise_for_status()
        except asyncio.CancelledError:
            self.cancel()
            raise
        return reply

    async def __aiter__(self) -> AsyncIterator[Any]:
        while (reply := await self.read()) is not grpc.aio.EOF:
            yield reply


class _StreamRequest(Call):
    """A call with many requests, written or taken from an iterator."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange)
        self._writing_done = False

    async def write(self, request: Any) -> None:
        """Send a request; waits while the servicer is far behind.

        Raises:
            asyncio.InvalidStateError: The call is over, or `done_writing` was called.
        """
        if self.done():
            raise asyncio.InvalidStateError("RPC already finished.")
        if self._writing_done:
            raise asyncio.InvalidStateError('RPC is half closed after calling "done_writing".')
        try:
            await self._exchange.to_server.room()
            self._exchange.to_server.put(request)
            await asyncio.sleep(0)  # a loop of writes must not keep the event loop for itself
        except asyncio.CancelledError:
            self.cancel()
            raise

    async def done_writing(self) -> None:
        """Tell the servicer that this was the last request."""
        self._writing_done = True
        self._exchange.to_server.close()

    async def send_all(self, requests: AsyncIterable[Any] | Iterable[Any]) -> None:
        """Send what ``requests`` gives; if it raises, the call is cancelled."""
        try:
            if isinstance(requests, AsyncIterable):
                async for request in requests:
                    await self.write(request)
            else:
                for request in requests:
                    await self.write(request)
            await self.done_writing()
        except asyncio.InvalidStateError:
            logger.debug("%s: the call ended before all requests were sent", self._exchange.method)
        except Exception:
            logger.exception("%s: the requests to send failed; the call is cancelled", self._exchange.method)
            self.cancel()


class UnaryUnaryCall(_UnaryResponse, grpc.aio.UnaryUnaryCall[Any, Any]):
    """One request, one reply."""


class UnaryStreamCall(_StreamResponse, grpc.aio.UnaryStreamCall[Any, Any]):
    """One request, many replies."""


class StreamUnaryCall(_StreamRequest, _UnaryResponse, grpc.aio.StreamUnaryCall[Any, Any]):
    """Many requests, one reply."""


class StreamStreamCall(_StreamRequest, _StreamResponse, grpc.aio.StreamStreamCall[Any, Any]):
    """Many requests, many replies."""

    def duplex(self) -> ClientEnd:
        """This end of the call as a `cogment_core.duplex.Duplex`."""
        return ClientEnd(self._exchange, self)
