"""``DirectorySP``: services are registered, deregistered and asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import grpc
import grpc.aio

from cogment_core.api.directory_pb2 import (
    DeregisterReply,
    DeregisterRequest,
    InquireReply,
    InquireRequest,
    RegisterReply,
    RegisterRequest,
)
from cogment_core.api.directory_pb2_grpc import DirectorySPServicer
from cogment_core.errors import CogmentError
from cogment_services.directory.limits import DirectoryLimits
from cogment_services.directory.records import Record
from cogment_services.directory.registry import ServiceRegistry
from cogment_services.directory.requests import Caller, Denied, caller_of, checked_properties
from cogment_services.refusals import Refusal, refuse
from cogment_services.status import StatusReporter

__all__ = ["DirectoryService"]

IDLE = 60.0
"""Seconds after which a stream ends on which nothing is asked. Clients use one stream for each request."""


class DirectoryService(StatusReporter, DirectorySPServicer):
    """What registers and discovers services.

    Whatever is wrong with a request to register or deregister is said in a FAILED reply, and the stream goes on.

    Args:
        registry: The entries.
        limits: How much may be asked.
    """

    def __init__(self, registry: ServiceRegistry, limits: DirectoryLimits) -> None:
        self._registry = registry
        self._limits = limits

    async def Register(self, request_iterator: Any, context: Any) -> AsyncIterator[RegisterReply]:
        """Register services; there is one reply for each request."""
        caller = await _caller(context)
        async for request in _requests(context):
            yield await self._register(caller, request)

    async def _register(self, caller: Caller, request: RegisterRequest) -> RegisterReply:
        try:
            record = await self._registry.register(caller, request)
        except Denied as denied:
            return RegisterReply(status=RegisterReply.FAILED, error_msg=str(denied))
        return RegisterReply(status=RegisterReply.OK, service_id=record.service_id, secret=record.secret)

    async def Deregister(self, request_iterator: Any, context: Any) -> AsyncIterator[DeregisterReply]:
        """Remove services; there is one reply for each request."""
        caller = await _caller(context)
        async for request in _requests(context):
            yield await self._deregister(caller, request)

    async def _deregister(self, caller: Caller, request: DeregisterRequest) -> DeregisterReply:
        try:
            await self._registry.deregister(caller, request.service_id, request.secret)
        except Denied as denied:
            return DeregisterReply(status=DeregisterReply.FAILED, error_msg=str(denied))
        return DeregisterReply(status=DeregisterReply.OK)

    async def Inquire(self, request: InquireRequest, context: Any) -> AsyncIterator[InquireReply]:
        """Tell of the services that were registered with the caller's token, and are as asked for."""
        caller = await _caller(context)
        try:
            records = await self._inquire(caller, request)
        except CogmentError as error:
            await refuse(context, error)
        for record in records:
            yield InquireReply(data=record.to_proto())

    async def _inquire(self, caller: Caller, request: InquireRequest) -> list[Record]:
        if not self._registry.admits(caller):
            raise Refusal(grpc.StatusCode.UNAUTHENTICATED, "this Directory needs a token that it knows")
        inquiry = request.WhichOneof("inquiry")
        if inquiry is None:
            # UNKNOWN is what clients have always been told.
            raise Refusal(grpc.StatusCode.UNKNOWN, "empty request: neither the id nor the details of a service")
        if inquiry == "service_id":
            return await self._registry.inquire_id(caller, request.service_id)
        try:
            properties = checked_properties(request.details, self._limits)
        except Denied as denied:
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, str(denied)) from None
        return await self._registry.inquire(caller, request.details.type, properties)

    def _statuses(self) -> Mapping[str, Callable[[], object]]:
        balances = self._registry.policy.load_balancing
        return {
            **super()._statuses(),
            "nb_entries": lambda: len(self._registry),
            "load_balancing": lambda: "enabled" if balances else "disabled",
        }


async def _caller(context: Any) -> Caller:
    try:
        return caller_of(context)
    except CogmentError as error:
        await refuse(context, error)


async def _requests(context: Any) -> AsyncIterator[Any]:
    """What comes on a stream, until it ends or nothing has come for a while."""
    while True:
        # Cancelled only when nothing is read any more: a read that is cancelled loses the message that comes next.
        reading = asyncio.ensure_future(context.read())
        try:
            await asyncio.wait({reading}, timeout=IDLE)
        finally:
            if not reading.done():
                reading.cancel()
        if not reading.done() or (request := reading.result()) is grpc.aio.EOF:
            return
        yield request
