"""One end of an open bidirectional call, as a trial sees it.

A trial is pushed forward by messages that come in, and answers at once. So both ends of a ``RunTrial`` call are used
through the same three operations, whatever carries them: ``send`` never waits, ``receive`` hands each incoming message
to a callback, ``drain`` waits until all is handed over. gRPC calls are adapted here; in-process calls
(`cogment_core.inprocess`) are a ``Duplex`` already, and hand a message over by calling the other end's callback.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

import grpc
import grpc.aio

from cogment_core.errors import BacklogError, RpcError, UnavailableError, from_grpc

__all__ = ["BACKLOG_LIMIT", "WRITE_TIMEOUT", "ClientDuplex", "Duplex", "ServerDuplex", "of_call", "of_context"]

BACKLOG_LIMIT = 65_536
"""How many messages may wait to be sent on one call before `BacklogError`."""

WRITE_TIMEOUT = 5.0
"""Seconds that the transport may take for one message before the peer counts as lost."""

SendT = TypeVar("SendT")
RecvT = TypeVar("RecvT")
SendT_contra = TypeVar("SendT_contra", contravariant=True)
RecvT_co = TypeVar("RecvT_co", covariant=True)


class Duplex(Protocol[SendT_contra, RecvT_co]):
    """One end of an open bidirectional call."""

    def send(self, message: SendT_contra) -> None:
        """Send ``message`` after all that was sent before. Returns at once.

        After the call has ended, or the peer was lost, messages are dropped: `receive` tells.

        Raises:
            BacklogError: The peer does not take messages and `BACKLOG_LIMIT` of them wait.
        """
        ...

    async def receive(self, on_message: Callable[[RecvT_co], None]) -> None:
        """Hand over each incoming message, in order; called once. Returns when the peer has sent its last message.

        Raises:
            RpcError: The call broke. From the server's end a killed peer looks like a clean end first (measured), so
                only the trial protocol's own END and LAST_ACK mean that a peer is done.
        """
        ...

    async def drain(self) -> None:
        """Wait until every message that was sent is with the transport, or can no longer be."""
        ...

    async def close(self) -> None:
        """End this side of the call after what was sent: half-close (client), nothing (server: its handler returns)."""
        ...

    def abandon(self) -> None:
        """Drop the call now, whatever waits to be sent. Returns at once."""
        ...


class _GrpcDuplex(Generic[SendT, RecvT]):
    """What both ends of a gRPC call share: a queue with one writer, one reader, and a single end."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._outgoing: deque[SendT] = deque()
        self._writer: asyncio.Task[None] | None = None
        self._written = 0
        self._end: asyncio.Future[None] = self._loop.create_future()

    def send(self, message: SendT) -> None:
        """See `Duplex.send`."""
        if self._end.done():
            return
        if len(self._outgoing) >= BACKLOG_LIMIT:
            raise BacklogError(f"{BACKLOG_LIMIT} messages wait for a peer that does not take them")
        self._outgoing.append(message)
        if self._writer is None:
            # The writer lives as long as there is something to write, so that an idle call costs no task.
            self._writer = self._loop.create_task(self._write_all())

    async def receive(self, on_message: Callable[[RecvT], None]) -> None:
        """See `Duplex.receive`."""
        reader = self._loop.create_task(self._read_all(on_message))
        try:
            await asyncio.shield(self._end)
        finally:
            reader.cancel()
            await asyncio.wait({reader})

    async def drain(self) -> None:
        """See `Duplex.drain`."""
        while self._writer is not None:
            await asyncio.wait({self._writer})

    async def close(self) -> None:
        """See `Duplex.close`."""
        await self.drain()

    def abandon(self) -> None:
        """See `Duplex.abandon`."""
        self._finish(UnavailableError(grpc.StatusCode.UNAVAILABLE, "the call was abandoned"))

    async def _write_all(self) -> None:
        watchdog = self._loop.call_later(WRITE_TIMEOUT, self._check_progress, self._written)
        try:
            while self._outgoing and not self._lost():
                await self._write(self._outgoing.popleft())
                self._written += 1
        except Exception as error:
            # The reader knows better why the call broke; it gets the word first, see `_read_all`.
            self._loop.call_soon(self._finish, _as_rpc_error(error))
        finally:
            watchdog.cancel()
            self._writer = None

    def _check_progress(self, written_before: int) -> None:
        if self._writer is None:
            return
        if self._written == written_before:
            text = f"the peer did not take a message for {WRITE_TIMEOUT:g} s"
            self._finish(UnavailableError(grpc.StatusCode.UNAVAILABLE, text))
        else:
            self._loop.call_later(WRITE_TIMEOUT, self._check_progress, self._written)

    async def _read_all(self, on_message: Callable[[RecvT], None]) -> None:
        try:
            while (message := await self._read()) is not grpc.aio.EOF:
                on_message(message)
        except Exception as error:
            self._finish(_as_rpc_error(error) if isinstance(error, grpc.aio.AioRpcError) else error)
        else:
            self._finish(None)

    def _finish(self, error: Exception | None) -> None:
        """Settle how the call ended; the first to say so wins."""
        if self._end.done():
            return
        if error is None:
            self._end.set_result(None)
            return
        self._end.set_exception(error)
        self._end.exception()  # marks it as retrieved: nobody may be in `receive`
        self._outgoing.clear()
        if self._writer is not None:
            self._writer.cancel()

    def _lost(self) -> bool:
        return self._end.done() and self._end.exception() is not None

    async def _write(self, message: SendT) -> None:
        raise NotImplementedError

    async def _read(self) -> Any:
        raise NotImplementedError


class ClientDuplex(_GrpcDuplex[SendT, RecvT]):
    """The caller's end of a ``grpc.aio`` bidirectional call."""

    def __init__(self, call: grpc.aio.StreamStreamCall[SendT, RecvT]) -> None:
        super().__init__()
        self._call = call
        self._write = call.write  # type: ignore[method-assign]
        self._read = call.read  # type: ignore[method-assign]

    async def close(self) -> None:
        """Half-close after all that was sent."""
        await super().close()
        if not self._call.done():
            await self._call.done_writing()

    def abandon(self) -> None:
        """Drop the call; the peer sees it cancelled."""
        super().abandon()
        self._call.cancel()


class ServerDuplex(_GrpcDuplex[SendT, RecvT]):
    """The servicer's end of a ``grpc.aio`` bidirectional call."""

    def __init__(self, context: grpc.aio.ServicerContext[RecvT, SendT]) -> None:
        super().__init__()
        self._write = context.write  # type: ignore[method-assign]
        self._read = context.read  # type: ignore[method-assign]


def of_call(call: Any) -> Duplex[Any, Any]:
    """The `Duplex` of a stub's ``RunTrial`` call, gRPC or in process."""
    return call.duplex() if hasattr(call, "duplex") else ClientDuplex(call)


def of_context(context: Any) -> Duplex[Any, Any]:
    """The `Duplex` of a servicer's context, gRPC or in process."""
    return context.duplex() if hasattr(context, "duplex") else ServerDuplex(context)


def _as_rpc_error(error: Exception) -> RpcError:
    if isinstance(error, grpc.aio.AioRpcError):
        return from_grpc(error)
    return UnavailableError(grpc.StatusCode.UNAVAILABLE, f"the call broke: {error}")
