"""One end of an open bidirectional call, as a trial sees it.

A trial is pushed forward by messages that come in, and answers at once. So both ends of a ``RunTrial`` call are used
through the same operations, whatever carries them: ``send`` never waits, ``receive`` hands each incoming message to a
callback, ``drain`` waits until all is handed over. gRPC calls are adapted here; in-process calls
(`cogment_core.inprocess`) have a ``Duplex`` of their own, which hands a message over by calling the other end's
callback.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar

import grpc
import grpc.aio

from cogment_core import outbox
from cogment_core.call_status import GRPC_ERRORS, CallStatus, as_rpc_error
from cogment_core.errors import ProtocolError, RpcError, UnavailableError
from cogment_core.outbox import BACKLOG_BYTES, BACKLOG_LIMIT, WRITE_TIMEOUT, Outbox

__all__ = [
    "BACKLOG_BYTES",
    "BACKLOG_LIMIT",
    "WRITE_TIMEOUT",
    "ClientDuplex",
    "Duplex",
    "ServerDuplex",
    "of_call",
    "of_context",
]

SendT = TypeVar("SendT")
RecvT = TypeVar("RecvT")
SendT_contra = TypeVar("SendT_contra", contravariant=True)
RecvT_co = TypeVar("RecvT_co", covariant=True)


class Duplex(Protocol[SendT_contra, RecvT_co]):
    """One end of an open bidirectional call."""

    def send(self, message: SendT_contra, /) -> None:
        """Send ``message`` after all that was sent before. Returns at once.

        The message must not be modified afterwards: it may not have been serialized yet, or never be (in process).
        After the call has ended, or the peer was lost, messages are dropped: `receive` tells.

        Raises:
            BacklogError: The peer does not take messages, and `BACKLOG_LIMIT` of them wait, or `BACKLOG_BYTES`.
        """
        ...

    async def receive(self, on_message: Callable[[RecvT_co], None], /) -> None:
        """Hand over each incoming message, in order; called once. Returns when the peer has sent its last message.

        Cancelling this ends the call of a client.

        Args:
            on_message: Called with each message, one at a time: what arrives while it runs waits until it returns.
                It may use the duplex in any way. What it raises ends `receive`, and is raised by it.

        Raises:
            ProtocolError: The peer sent bytes that are no message.
            RpcError: The call broke. From the server's end a killed peer looks like a clean end first (measured), so
                only the trial protocol's own END and LAST_ACK mean that a peer is done.
        """
        ...

    async def drain(self) -> None:
        """Wait until every message that was sent is with the transport, or can no longer be.

        A peer that takes nothing for `WRITE_TIMEOUT` counts as lost, so this is bounded.
        """
        ...

    async def close(self) -> None:
        """End this side of the call after what was sent: half-close (client), nothing (server: its handler returns)."""
        ...

    def abandon(self) -> None:
        """Drop the call now, whatever waits to be sent. Returns at once.

        The client's call is cancelled. The server's handler has to return: only that completes its call.
        """
        ...


class _GrpcDuplex(ABC, Generic[SendT, RecvT]):
    """What both ends of a gRPC call share: an outbox, one reader, and a single end."""

    def __init__(
        self,
        write: Callable[[SendT], Coroutine[Any, Any, None]],
        opening: Callable[[], Coroutine[Any, Any, None]] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._outbox = Outbox(write, self._write_failed, opening)
        self._end: asyncio.Future[None] = self._loop.create_future()
        self.send = self._outbox.put
        self.drain = self._outbox.drain

    async def receive(self, on_message: Callable[[RecvT], None]) -> None:
        """See `Duplex.receive`."""
        reader = self._loop.create_task(self._read_all(on_message))
        reader.add_done_callback(self._reader_done)
        try:
            await asyncio.shield(self._end)
        finally:
            reader.cancel()
            await asyncio.wait({reader})

    async def close(self) -> None:
        """See `Duplex.close`."""
        await self.drain()

    def abandon(self) -> None:
        """See `Duplex.abandon`."""
        self._outbox.stop()
        self._finish(_unavailable("the call was abandoned"))

    @abstractmethod
    async def _read_all(self, on_message: Callable[[RecvT], None]) -> None:
        """Hand over all messages, and finish."""

    def _reader_done(self, reader: asyncio.Task[None]) -> None:
        if not reader.cancelled() and isinstance(error := reader.exception(), Exception):
            self._finish(error)

    def _hand_over(self, message: RecvT, on_message: Callable[[RecvT], None]) -> bool:
        """Returns False if that was not possible, and finishes."""
        if message is None:  # what a client gets for bytes that are no message of the right type
            self._finish(ProtocolError("the peer sent a message that cannot be decoded"))
            return False
        try:
            on_message(message)
        except Exception as error:
            self._finish(error)
            return False
        return True

    def _write_failed(self, error: Exception) -> None:
        """A write fails because the call is over, because the peer is lost, or because it cannot be done."""
        if isinstance(error, GRPC_ERRORS) and not isinstance(error, RpcError):
            # The reader knows why the call is over, and may have messages left to hand over before it says so.
            self._loop.call_later(outbox.WRITE_TIMEOUT, self._finish, as_rpc_error(error))
        else:
            self._finish(error)

    def _finish(self, error: Exception | None) -> None:
        """Settle how the call ended; the first to say so wins."""
        if self._end.done():
            return
        if error is None:
            self._end.set_result(None)
            return
        self._end.set_exception(error)
        self._end.exception()  # marks it as retrieved: nobody may be in `receive`
        self._outbox.stop()


class ClientDuplex(_GrpcDuplex[SendT, RecvT]):
    """The caller's end of a ``grpc.aio`` bidirectional call."""

    def __init__(self, call: grpc.aio.StreamStreamCall[SendT, RecvT]) -> None:
        super().__init__(call.write, opening=call.wait_for_connection)
        self._call = call
        self._status = CallStatus(call)

    async def close(self) -> None:
        """Half-close after all that was sent."""
        await super().close()
        if self._end.done() or self._call.done():
            return
        try:
            await asyncio.wait_for(self._call.done_writing(), outbox.WRITE_TIMEOUT)
        except asyncio.TimeoutError:
            self._finish(_unavailable(f"the peer did not take the end for {outbox.WRITE_TIMEOUT:g} s"))
        except GRPC_ERRORS as error:
            self._write_failed(error)

    async def _read_all(self, on_message: Callable[[RecvT], None]) -> None:
        try:
            # Not ``read``, which gives up what is left to read as soon as a status is set, even one that is made up.
            async for message in self._call:
                if not self._hand_over(message, on_message):
                    return
        except asyncio.CancelledError:
            # Either `receive` is, or this is how gRPC says that the call was: by closing its channel, for example.
            self._finish(_unavailable("the call was cancelled"))
            raise
        except GRPC_ERRORS as error:
            self._finish(await self._status.true_end(error))
        else:
            self._finish(None)

    def _finish(self, error: Exception | None) -> None:
        super()._finish(error)
        # Whether the server has completed the call, or this side has given it up: nothing more can be sent.
        self._outbox.stop()
        self._call.cancel()


class ServerDuplex(_GrpcDuplex[SendT, RecvT]):
    """The servicer's end of a ``grpc.aio`` bidirectional call."""

    def __init__(self, context: grpc.aio.ServicerContext[RecvT, SendT]) -> None:
        super().__init__(context.write)
        self._context = context
        self._write_error: Exception | None = None
        # Others than the handler may hold this end, and would read and write a call that is gone.
        context.add_done_callback(self._handler_returned)  # type: ignore[arg-type]

    async def _read_all(self, on_message: Callable[[RecvT], None]) -> None:
        read = self._context.read
        try:
            while (message := await read()) is not grpc.aio.EOF:
                if not self._hand_over(message, on_message):
                    return
        except GRPC_ERRORS as error:
            self._finish(as_rpc_error(error))
            return
        except Exception as error:
            self._finish(ProtocolError(f"the peer sent a message that cannot be decoded: {error}"))
            return
        # A client that closes its side still reads; one that is gone seems to have closed its side first.
        self._finish(None if self._write_error is None else as_rpc_error(self._write_error))

    def _write_failed(self, error: Exception) -> None:
        self._write_error = error
        super()._write_failed(error)

    def _handler_returned(self, _context: object) -> None:
        self._finish(_unavailable("the call was completed"))
        self._outbox.stop()


def of_call(call: Any) -> Duplex[Any, Any]:
    """The `Duplex` of a stub's ``RunTrial`` call, gRPC or in process."""
    return call.duplex() if hasattr(call, "duplex") else ClientDuplex(call)


def of_context(context: Any) -> Duplex[Any, Any]:
    """The `Duplex` of a servicer's context, gRPC or in process."""
    return context.duplex() if hasattr(context, "duplex") else ServerDuplex(context)


def _unavailable(text: str) -> UnavailableError:
    return UnavailableError(grpc.StatusCode.UNAVAILABLE, text)
