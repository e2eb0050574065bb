"""The in-process server."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, NamedTuple, NoReturn, TypeVar

import grpc
import grpc.aio

from cogment_core.errors import UsageError
from cogment_core.inprocess.channel import InProcessChannel
from cogment_core.inprocess.context import InProcessServicerContext, Requests
from cogment_core.inprocess.exchange import Exchange, Metadatum, Status
from cogment_core.logs import logger
from cogment_core.tasks import TaskOwner

__all__ = ["InProcessServer"]

ServerT = TypeVar("ServerT", bound="InProcessServer")


class _CallDetails(NamedTuple):
    """What a generic handler is asked with."""

    method: str
    invocation_metadata: tuple[Metadatum, ...]


class InProcessServer(grpc.aio.Server):
    """Serves ``grpc.aio`` servicers to clients in the same process and event loop.

    Takes servicers from the generated ``add_…Servicer_to_server`` functions and serves as soon as it has them. Its
    methods must be coroutine functions or asynchronous generators; a plain function is called on the event loop.

    Usable as ``async with InProcessServer() as server``, which stops it at the end.

    Args:
        name: What to call it in the log and in endpoints.
    """

    def __init__(self, name: str = "server") -> None:
        self.name = name
        self._loop: asyncio.AbstractEventLoop | None = None
        self._methods: dict[str, Any] = {}
        self._generic_handlers: list[grpc.GenericRpcHandler] = []
        self._exchanges: set[Exchange] = set()
        self._handlers = TaskOwner(f"in-process {name}")
        self._stopped = asyncio.Event()

    # --- what is served -----------------------------------------------------------------------------------------

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Serve what ``generic_rpc_handlers`` know."""
        self._generic_handlers.extend(generic_rpc_handlers)

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Serve these methods of ``service_name``."""
        for method, handler in method_handlers.items():
            self._methods[f"/{service_name}/{method}"] = handler

    def add_insecure_port(self, address: str) -> NoReturn:
        """Not possible.

        Raises:
            UsageError: Always.
        """
        raise UsageError(f"the in-process server {self.name!r} has no ports: connect through its channel()")

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> NoReturn:
        """Not possible.

        Raises:
            UsageError: Always.
        """
        self.add_insecure_port(address)

    def channel(self) -> InProcessChannel:
        """A new channel to this server."""
        return InProcessChannel(self)

    # --- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Does nothing: the server serves from the beginning."""

    async def stop(self, grace: float | None = None) -> None:
        """Take no more calls, and end those in progress.

        Args:
            grace: Seconds that calls have to end by themselves. Those that remain end as UNAVAILABLE, and their
                handlers are cancelled and waited for.
        """
        self._stopped.set()
        if grace:
            await self._handlers.wait(grace)
        for exchange in list(self._exchanges):
            exchange.break_off(Status(grpc.StatusCode.UNAVAILABLE, f"the in-process server {self.name!r} has stopped"))
        await self._handlers.close()

    @property
    def is_stopped(self) -> bool:
        """Whether no more calls are taken."""
        return self._stopped.is_set()

    async def wait_until_stopped(self) -> Literal[True]:
        """Wait until no more calls are taken."""
        return await self._stopped.wait()

    async def wait_for_termination(self, timeout: float | None = None) -> bool:
        """Wait until the server is stopped. Returns whether ``timeout`` seconds were not enough."""
        try:
            await asyncio.wait_for(self._stopped.wait(), timeout)
        except asyncio.TimeoutError:
            return True
        return False

    async def __aenter__(self: ServerT) -> ServerT:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def __repr__(self) -> str:
        return f"InProcessServer({self.name!r})"

    # --- calls --------------------------------------------------------------------------------------------------

    def open_exchange(self, method: str, metadata: tuple[Metadatum, ...], timeout: float | None) -> Exchange:
        """Begin a call; the handler starts with the next turn of the event loop."""
        self._check_loop()
        exchange = Exchange(method, metadata, timeout)
        handler = self._find_handler(method, metadata)
        if self._stopped.is_set():
            text = f"the in-process server {self.name!r} has stopped"
            exchange.complete(Status(grpc.StatusCode.UNAVAILABLE, text))
        elif handler is None:
            exchange.complete(Status(grpc.StatusCode.UNIMPLEMENTED, "Method not found!"))
        else:
            self._exchanges.add(exchange)
            exchange.handler = self._handlers.spawn(self._serve(handler, exchange), what=method)
            exchange.handler.add_done_callback(lambda _task: self._exchanges.discard(exchange))
        return exchange

    def _check_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise UsageError(f"the in-process server {self.name!r} belongs to another event loop than this caller")

    def _find_handler(self, method: str, metadata: tuple[Metadatum, ...]) -> Any:
        if (handler := self._methods.get(method)) is not None:
            return handler
        details: Any = _CallDetails(method, metadata)
        for generic_handler in self._generic_handlers:
            if (found := generic_handler.service(details)) is not None:
                return found
        return None

    async def _serve(self, handler: Any, exchange: Exchange) -> None:
        """Run the servicer's method for one call, to the end of both."""
        context = InProcessServicerContext(exchange, f"inprocess:{self.name}")
        try:
            await _respond(handler, context, exchange)
            context.complete()
        except grpc.aio.AbortError:
            context.complete()
        except asyncio.CancelledError as error:
            context.fail(error)
            raise
        except Exception as error:
            if exchange.status is None or not isinstance(error, grpc.aio.InternalError):
                logger.exception("in-process %s: %s failed", self.name, exchange.method)
            context.fail(error)
        finally:
            context.handler_returned()


async def _respond(handler: Any, context: InProcessServicerContext, exchange: Exchange) -> None:
    request = Requests(context) if handler.request_streaming else await context.read()
    if handler.response_streaming:
        method = handler.stream_stream if handler.request_streaming else handler.unary_stream
        await _respond_with_many(method(request, context), context)
        return
    method = handler.stream_unary if handler.request_streaming else handler.unary_unary
    reply = method(request, context)
    if inspect.isawaitable(reply):
        reply = await reply
    if context.code() in (None, grpc.StatusCode.OK) and exchange.status is None:
        if reply is None:
            raise TypeError(f"{exchange.method} returned None instead of a reply")
        exchange.to_client.put(reply)


async def _respond_with_many(replies: Any, context: InProcessServicerContext) -> None:
    """A streaming method writes its replies itself, or gives them as an iterator."""
    if inspect.isawaitable(replies):
        await replies
    elif hasattr(replies, "__aiter__"):
        try:
            async for reply in replies:
                await context.write(reply)
        finally:
            # A handler that is cancelled while it writes leaves the generator suspended, and its clean-up undone.
            if hasattr(replies, "aclose"):
                await replies.aclose()
    else:
        for reply in replies:
            await context.write(reply)
