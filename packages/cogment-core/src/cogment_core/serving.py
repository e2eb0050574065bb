"""What all services of a server share: a guard around their methods, their version, their status, their health."""

from __future__ import annotations

import asyncio
import functools
import importlib
import inspect
import os
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import aclosing, suppress
from typing import Any, NoReturn, TypeVar

import grpc
import grpc.aio

from cogment_core.api.common_pb2 import StatusReply, VersionInfo
from cogment_core.cancellation import task_is_cancelled
from cogment_core.logs import logger

__all__ = ["Health", "guard", "guarded", "overall_load", "status_reply", "version_info"]

MethodT = TypeVar("MethodT", bound=Callable[..., Any])


# --- the guard --------------------------------------------------------------------------------------------------------


def guarded(server: grpc.aio.Server) -> Any:
    """Stands for ``server`` where servicers are added, and puts `guard` around each of their methods.

    ``add_…Servicer_to_server(servicer, guarded(server))``, for gRPC and in-process servers alike.
    """
    return _GuardedServer(server)


def guard(method: MethodT) -> MethodT:
    """A servicer's method that always answers, and never with what only the log should say.

    A ``grpc.aio`` method that raises a ``CancelledError`` of its own, because something that it waited for was
    cancelled, leaves its client without an answer until the deadline, if there is one (measured); and one that raises
    anything else sends the text of the exception to the client. Both become INTERNAL here, with a number that stands in
    the log too. ``abort`` and the cancellation of the call itself pass. A request that cannot be decoded, which
    `guarded` makes None, is an INVALID_ARGUMENT.

    Args:
        method: A coroutine function or an asynchronous generator function; others are left alone.
    """
    result: Any
    if inspect.isasyncgenfunction(method):

        async def many(request: Any, context: Any) -> AsyncIterator[Any]:
            await _check_request(request, context)
            try:
                async with aclosing(method(request, context)) as replies:
                    async for reply in replies:
                        yield reply
            except (Exception, asyncio.CancelledError) as error:
                await _answer(context, method, error)

        result = many
    elif inspect.iscoroutinefunction(method):

        async def one(request: Any, context: Any) -> Any:
            await _check_request(request, context)
            try:
                return await method(request, context)
            except (Exception, asyncio.CancelledError) as error:
                await _answer(context, method, error)

        result = one
    else:
        return method
    functools.update_wrapper(result, method)
    return result  # type: ignore[no-any-return]


async def _check_request(request: Any, context: Any) -> None:
    if request is None:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request cannot be decoded")


async def _answer(context: Any, method: Callable[..., Any], error: BaseException) -> NoReturn:
    """Complete the call of a method that raised ``error``."""
    if isinstance(error, (grpc.aio.AbortError, grpc.aio.InternalError)):
        # It is completed, or cannot be: the client has gone. gRPC knows which.
        raise error
    name = getattr(method, "__qualname__", repr(method))
    number = os.urandom(4).hex()
    text = f"internal error {number}: the log of the server says more"
    if isinstance(error, asyncio.CancelledError):
        cancelled = task_is_cancelled()
        if cancelled is None:
            # Nobody knows whether the call was cancelled. If it was, the answer goes nowhere, and does no harm.
            logger.debug("%s was cancelled, or met a cancellation (error %s)", name, number)
            with suppress(Exception):
                await context.abort(grpc.StatusCode.INTERNAL, text)
        if cancelled is not False:
            raise error
    logger.error("%s failed (error %s)", name, number, exc_info=error)
    await context.abort(grpc.StatusCode.INTERNAL, text)
    raise AssertionError("abort always raises")


class _GuardedServer:
    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        self._server.add_generic_rpc_handlers(tuple(_GuardedHandlers(handlers) for handlers in generic_rpc_handlers))

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Any]) -> None:
        guarded_handlers = {name: _guard_handler(handler) for name, handler in method_handlers.items()}
        self._server.add_registered_method_handlers(service_name, guarded_handlers)


class _GuardedHandlers(grpc.GenericRpcHandler):
    def __init__(self, handlers: grpc.GenericRpcHandler) -> None:
        self._handlers = handlers
        self._guard = functools.lru_cache(maxsize=64)(_guard_handler)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        handler: Any = self._handlers.service(handler_call_details)
        return None if handler is None else self._guard(handler)


_HANDLER_KINDS: dict[tuple[bool, bool], tuple[str, Callable[..., Any]]] = {
    (False, False): ("unary_unary", grpc.unary_unary_rpc_method_handler),
    (False, True): ("unary_stream", grpc.unary_stream_rpc_method_handler),
    (True, False): ("stream_unary", grpc.stream_unary_rpc_method_handler),
    (True, True): ("stream_stream", grpc.stream_stream_rpc_method_handler),
}


def _guard_handler(handler: Any) -> Any:
    kind, make = _HANDLER_KINDS[handler.request_streaming, handler.response_streaming]
    deserializer = handler.request_deserializer
    if deserializer is not None and not handler.request_streaming:
        deserializer = functools.partial(_none_if_undecodable, deserializer)
    return make(guard(getattr(handler, kind)), deserializer, handler.response_serializer)


def _none_if_undecodable(deserializer: Callable[[bytes], Any], data: bytes) -> Any:
    """Let the method be called, so that the guard around it can tell what is wrong."""
    try:
        return deserializer(data)
    except Exception as error:
        logger.debug("a request of %d bytes cannot be decoded: %s", len(data), error)
        return None


# --- version and status -----------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def _versions() -> tuple[tuple[str, str], ...]:
    from importlib import metadata  # takes long to import, and only some ask

    return (("cogment_sdk", metadata.version("cogment-core")), ("grpc", metadata.version("grpcio")))


def version_info(**others: str) -> VersionInfo:
    """The reply of ``Version``: the versions of this SDK and of gRPC, after those of ``others`` by name."""
    versions = (*others.items(), *_versions())
    return VersionInfo(versions=[VersionInfo.Version(name=name, version=version) for name, version in versions])


def status_reply(names: Iterable[str], entries: Mapping[str, Callable[[], object]]) -> StatusReply:
    """The reply of ``Status``.

    Args:
        names: What is asked for, in order. Unknown names are left out; ``*`` stands for all entries, and what comes
            after it is not looked at.
        entries: What can be asked for, usually `overall_load` among it.
    """
    wanted: dict[str, Callable[[], object]] = {}
    for name in names:
        if name == "*":
            wanted.update(entries)
            break
        if name in entries:
            wanted[name] = entries[name]
    return StatusReply(statuses={name: str(entry()) for name, entry in wanted.items()})


def overall_load() -> int:
    """Load of this machine over the last minute, in percent of all its processors, from 0 to 254."""
    try:
        per_processor = os.getloadavg()[0] / (os.cpu_count() or 1)
    except (AttributeError, OSError):
        return 0  # this system does not tell
    return max(0, min(254, int(per_processor * 100)))


# --- health -----------------------------------------------------------------------------------------------------------


class Health:
    """The standard health service (``grpc.health.v1``) of one server; serving from the beginning.

    Args:
        server: The server, before it is started.
        services: Full names of the services that can be asked about, for example ``cogmentAPI.TrialLifecycleSP``,
            besides the server as a whole.
    """

    def __init__(self, server: grpc.aio.Server, services: Iterable[str] = ()) -> None:
        # Only servers need this package, and importing it takes as long as half of ours.
        health = importlib.import_module("grpc_health.v1.health")
        health_grpc = importlib.import_module("grpc_health.v1.health_pb2_grpc")
        self._statuses = importlib.import_module("grpc_health.v1.health_pb2").HealthCheckResponse
        self._servicer: Any = health.aio.HealthServicer()
        self._services = ("", *services)
        health_grpc.add_HealthServicer_to_server(self._servicer, guarded(server))

    async def set_serving(self, serving: bool) -> None:
        """Tell all who ask, and all who watch, whether the server takes calls."""
        status = self._statuses.SERVING if serving else self._statuses.NOT_SERVING
        for service in self._services:
            await self._servicer.set(service, status)
