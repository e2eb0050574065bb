"""A Directory that does what a test says, and notes what it is asked."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from cogment_core.api import directory_pb2_grpc
from cogment_core.api.directory_pb2 import (
    DeregisterReply,
    DeregisterRequest,
    FullServiceData,
    InquireReply,
    InquireRequest,
    RegisterReply,
    RegisterRequest,
)
from cogment_core.channels import create_server

SECRET = "planted-secret-of-an-entry"
GRPC, GRPC_SSL, COGMENT = 1, 2, 3


class ScriptedDirectory(directory_pb2_grpc.DirectorySPServicer):
    """Keeps entries, newest first."""

    def __init__(self) -> None:
        self.entries: dict[int, FullServiceData] = {}
        self.registered: list[RegisterRequest] = []
        self.deregistered: list[int] = []
        self.inquiries: list[InquireRequest] = []
        self.tokens: list[str | None] = []
        """What each call came with."""
        self.refuses = ""
        """What it says to those who register, if anything."""
        self.hides = False
        """Whether inquiries find nothing."""
        self.mute = False
        """Whether it answers nothing."""
        self.hangs_up = False
        """Whether it ends streams without an answer."""
        self.streams_ended = 0
        self._numbers = itertools.count(1)
        self._server: grpc.aio.Server | None = None
        self.port = 0

    # --- what a test sees and does ------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    async def start(self, port: int = 0) -> ScriptedDirectory:
        self._server = create_server()
        directory_pb2_grpc.add_DirectorySPServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        await self._server.start()
        return self

    async def stop(self) -> None:
        """Go; `start` with the same port brings it back."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(None)

    def add(self, kind: int, port: int, host: str = "127.0.0.1", protocol: int = GRPC, /, **properties: str) -> int:
        """An entry that somebody registered."""
        data = FullServiceData(service_id=next(self._numbers))
        data.endpoint.protocol, data.endpoint.host, data.endpoint.port = protocol, host, port
        data.details.type = kind
        data.details.properties.update(properties)
        self.entries = {data.service_id: data, **self.entries}
        return data.service_id

    async def until(self, condition: Any, timeout: float = 15.0) -> None:
        """Wait until ``condition()`` is true."""
        deadline = asyncio.get_running_loop().time() + timeout
        while not condition():
            assert asyncio.get_running_loop().time() < deadline, "it does not happen"
            await asyncio.sleep(0.01)

    # --- what it serves -----------------------------------------------------------------------------------------

    async def Register(self, requests: AsyncIterator[RegisterRequest], context: Any) -> AsyncIterator[RegisterReply]:
        async for request in self._each(requests, context):
            self.registered.append(request)
            if self.refuses:
                yield RegisterReply(status=RegisterReply.FAILED, error_msg=self.refuses)
                continue
            number = self.add(request.details.type, request.endpoint.port, request.endpoint.host)
            self.entries[number].endpoint.CopyFrom(request.endpoint)
            self.entries[number].details.CopyFrom(request.details)
            yield RegisterReply(status=RegisterReply.OK, service_id=number, secret=SECRET)

    async def Deregister(
        self, requests: AsyncIterator[DeregisterRequest], context: Any
    ) -> AsyncIterator[DeregisterReply]:
        async for request in self._each(requests, context):
            if request.service_id in self.entries and request.secret == SECRET:
                del self.entries[request.service_id]
                self.deregistered.append(request.service_id)
                yield DeregisterReply(status=DeregisterReply.OK)
            else:
                yield DeregisterReply(status=DeregisterReply.FAILED, error_msg="who is that?")

    async def Inquire(self, request: InquireRequest, context: Any) -> AsyncIterator[InquireReply]:
        self._note(context)
        self.inquiries.append(request)
        if self.mute:
            await asyncio.Event().wait()
        for data in () if self.hides else list(self.entries.values()):
            if _fits(request, data):
                yield InquireReply(data=data)

    async def _each(self, requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
        self._note(context)
        with contextlib.ExitStack() as stack:
            stack.callback(self._end_stream)
            async for request in requests:
                if self.hangs_up:
                    return
                if self.mute:
                    await asyncio.Event().wait()
                yield request

    def _end_stream(self) -> None:
        self.streams_ended += 1

    def _note(self, context: Any) -> None:
        self.tokens.append(dict(context.invocation_metadata()).get("authentication-token"))


def _fits(request: InquireRequest, data: FullServiceData) -> bool:
    if request.WhichOneof("inquiry") == "service_id":
        return data.service_id == request.service_id
    wanted = request.details
    return wanted.type in (0, data.details.type) and all(
        data.details.properties.get(name) == value for name, value in wanted.properties.items()
    )
