"""The servicer's end of an in-process call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import grpc
import grpc.aio

from cogment_core.inprocess.ends import ServerEnd
from cogment_core.inprocess.exchange import Exchange, Metadatum, Status, as_pairs

__all__ = ["InProcessServicerContext", "Requests"]


class InProcessServicerContext(grpc.aio.ServicerContext[Any, Any]):
    """What ``grpc.aio`` servicers use, for a call that comes from the same process."""

    def __init__(self, exchange: Exchange, peer: str) -> None:
        self._exchange = exchange
        self._peer = peer
        self._code: grpc.StatusCode | None = None
        self._details = ""
        self._trailing_metadata: tuple[Metadatum, ...] = ()
        self._abort: grpc.aio.AbortError | None = None
        self._callbacks: list[Callable[[Any], None]] = []

    # --- messages -----------------------------------------------------------------------------------------------

    async def read(self) -> Any:
        """The next request; ``grpc.aio.EOF`` when the client has sent its last one, or is gone."""
        self._raise_if_completed()
        return await self._exchange.to_server.read()

    async def write(self, message: Any) -> None:
        """Send a reply; waits while the client is far behind.

        Raises:
            grpc.aio.InternalError: The client is gone.
        """
        self._raise_if_completed()
        self._exchange.send_initial_metadata()
        await self._exchange.to_client.room()
        if (status := self._exchange.status) is not None:
            raise grpc.aio.InternalError(f"the call is over: {status.code.name}")
        self._exchange.to_client.put(message)
        await asyncio.sleep(0)  # a loop of writes must not keep the event loop for itself

    def duplex(self) -> ServerEnd:
        """This end of the call as a `cogment_core.duplex.Duplex`."""
        self._exchange.send_initial_metadata()
        return ServerEnd(self._exchange)

    # --- the end ------------------------------------------------------------------------------------------------

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        """Complete the call with an error.

        Raises:
            grpc.aio.AbortError: Always; let it pass.
        """
        if code is grpc.StatusCode.OK:
            raise grpc.aio.UsageError("abort needs a status other than OK")
        if self._abort is not None:
            raise grpc.aio.UsageError("Abort already called!")
        self._abort = grpc.aio.AbortError("Locally aborted.")
        self._code = code
        self._details = details or self._details
        self._trailing_metadata = as_pairs(trailing_metadata) or self._trailing_metadata
        self.complete()
        raise self._abort

    async def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """`abort` with what ``status`` holds."""
        await self.abort(status.code, status.details, status.trailing_metadata)

    def complete(self) -> None:
        """Complete the call with the status that was set, OK if none was."""
        code = self._code or grpc.StatusCode.OK
        self._exchange.complete(Status(code, self._details, self._trailing_metadata))

    def fail(self, error: BaseException) -> None:
        """Complete the call of a handler that raised ``error``."""
        details = f"Unexpected {type(error)}: {error}"
        if self._code is None or self._code is grpc.StatusCode.OK:
            self._code = grpc.StatusCode.UNKNOWN
        self._exchange.complete(Status(self._code, details, self._trailing_metadata))

    def handler_returned(self) -> None:
        """Tell those who asked to be told; called once."""
        for callback in self._callbacks:
            callback(self)

    def done(self) -> bool:
        """Whether the call has ended."""
        return self._exchange.status is not None

    def cancelled(self) -> bool:
        """Whether the client cancelled the call."""
        return self._exchange.cancelled_by_client

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Call ``callback`` with this context when the handler has returned."""
        self._callbacks.append(callback)

    def set_code(self, code: grpc.StatusCode) -> None:
        """Status for the end of the call."""
        self._code = code

    def set_details(self, details: str) -> None:
        """Text for the end of the call."""
        self._details = details

    def code(self) -> Any:
        """The status that was set, None if none was."""
        return self._code

    def details(self) -> str:
        """The text that was set."""
        return self._details

    # --- metadata -----------------------------------------------------------------------------------------------

    def invocation_metadata(self) -> Any:
        """What the client sent, as a tuple of pairs."""
        return self._exchange.metadata

    async def send_initial_metadata(self, initial_metadata: Any) -> None:
        """Send metadata ahead of the first reply."""
        self._raise_if_completed()
        if not self._exchange.send_initial_metadata(as_pairs(initial_metadata)):
            raise grpc.aio.UsageError("Send initial metadata failed: already sent")

    def set_trailing_metadata(self, trailing_metadata: Any) -> None:
        """Metadata for the end of the call."""
        self._trailing_metadata = as_pairs(trailing_metadata)

    def trailing_metadata(self) -> Any:
        """The trailing metadata that was set."""
        return self._trailing_metadata

    def time_remaining(self) -> Any:
        """Seconds until the deadline, None if there is none."""
        return self._exchange.time_remaining()

    # --- what means nothing in process --------------------------------------------------------------------------

    def peer(self) -> str:
        """Who calls."""
        return self._peer

    def peer_identities(self) -> Iterable[bytes] | None:
        """None: nobody is authenticated."""
        return None

    def peer_identity_key(self) -> str | None:
        """None: nobody is authenticated."""
        return None

    def auth_context(self) -> Mapping[str, Iterable[bytes]]:
        """Empty: nobody is authenticated."""
        return {}

    def set_compression(self, compression: grpc.Compression) -> None:
        """Does nothing: nothing is serialized."""

    def disable_next_message_compression(self) -> None:
        """Does nothing: nothing is serialized."""

    def _raise_if_completed(self) -> None:
        if self._abort is not None:
            raise self._abort


class Requests:
    """The requests of a streaming call, as an asynchronous iterator."""

    def __init__(self, context: InProcessServicerContext) -> None:
        self._context = context

    def __aiter__(self) -> Requests:
        return self

    async def __anext__(self) -> Any:
        request = await self._context.read()
        if request is grpc.aio.EOF:
            raise StopAsyncIteration
        return request
