"""A client of a Directory, and services that register in it, played by tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from cogment_core.api import agent_pb2_grpc, common_pb2, directory_pb2, directory_pb2_grpc
from cogment_services.directory.health import Schedule

PATIENCE = 20.0
"""Seconds that a test waits for what has to come."""

FAST = Schedule(
    period=0.05,
    scan=0.02,
    grpc_rounds=(0.4, 0.4),
    tcp_rounds=(0.4, 0.4),
    registration=5.0,
    inquiry=5.0,
    start=5.0,
)
"""Checks that a test can wait for."""

RARE = Schedule(period=3600.0, grpc_rounds=(0.3,), tcp_rounds=(0.3,), registration=5.0)
"""Checks at registration only."""


def endpoint(port: int, host: str = "127.0.0.1", protocol: int = 1) -> directory_pb2.ServiceEndpoint:
    return directory_pb2.ServiceEndpoint(protocol=protocol, host=host, port=port)


def details(kind: int = 3, **properties: str) -> directory_pb2.ServiceDetails:
    return directory_pb2.ServiceDetails(type=kind, properties=properties)


def client_entry(kind: int = 3, permanent: bool = False, **properties: str) -> directory_pb2.RegisterRequest:
    """An entry that is never checked: an actor that connects by itself."""
    return directory_pb2.RegisterRequest(
        endpoint=endpoint(0, "client", 3), details=details(kind, **properties), permanent=permanent
    )


class Caller:
    """A client of a Directory, with a token."""

    def __init__(self, channel: grpc.aio.Channel, token: str | None = None) -> None:
        self.channel = channel
        self.stub = directory_pb2_grpc.DirectorySPStub(channel)
        self.metadata = () if token is None else (("authentication-token", token),)

    def as_(self, token: str | None) -> Caller:
        """The same connection, with another token."""
        return Caller(self.channel, token)

    async def exchange(self, method: Any, *requests: Any) -> list[Any]:
        """The replies to requests on one stream, each asked for before the next request is sent."""
        call = method(metadata=self.metadata, timeout=PATIENCE)
        replies = []
        for request in requests:
            await call.write(request)
            replies.append(await call.read())
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
        assert await call.code() is grpc.StatusCode.OK
        return replies

    async def register(self, request: directory_pb2.RegisterRequest) -> directory_pb2.RegisterReply:
        """Register, and give the reply."""
        return (await self.exchange(self.stub.Register, request))[0]

    async def registered(self, request: directory_pb2.RegisterRequest) -> directory_pb2.RegisterReply:
        """Register; it has to be accepted."""
        reply = await self.register(request)
        assert reply.status == reply.OK, reply
        return reply

    async def refused(self, request: directory_pb2.RegisterRequest) -> str:
        """Register; it has to be refused. Gives the reason."""
        reply = await self.register(request)
        assert (reply.status, reply.service_id, reply.secret) == (reply.FAILED, 0, ""), reply
        return reply.error_msg

    async def deregister(self, service_id: int, secret: str) -> directory_pb2.DeregisterReply:
        request = directory_pb2.DeregisterRequest(service_id=service_id, secret=secret)
        return (await self.exchange(self.stub.Deregister, request))[0]

    async def find(self, kind: int = 0, **properties: str) -> list[directory_pb2.FullServiceData]:
        request = directory_pb2.InquireRequest(details=details(kind, **properties))
        call = self.stub.Inquire(request, metadata=self.metadata, timeout=PATIENCE)
        return [reply.data async for reply in call]

    async def find_id(self, service_id: int) -> list[directory_pb2.FullServiceData]:
        request = directory_pb2.InquireRequest(service_id=service_id)
        call = self.stub.Inquire(request, metadata=self.metadata, timeout=PATIENCE)
        return [reply.data async for reply in call]

    async def status(self, *names: str) -> dict[str, str]:
        return dict((await self.stub.Status(common_pb2.StatusRequest(names=names), timeout=PATIENCE)).statuses)

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until a condition, which may be asked for over and over, is true."""

        async def poll() -> None:
            while not await condition():
                await asyncio.sleep(0.01)

        await asyncio.wait_for(poll(), PATIENCE)


class Peer(agent_pb2_grpc.ServiceActorSPServicer):
    """A service of actors."""

    def __init__(self) -> None:
        self.load = "7"
        self.has_status = True
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked = 0
        self.port = 0
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])

    async def Status(self, request: Any, context: Any) -> Any:
        self.asked += 1
        await self.answers.wait()
        if not self.has_status:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "old")
        return common_pb2.StatusReply(statuses={"overall_load": self.load})

    async def Version(self, request: Any, context: Any) -> Any:
        await self.answers.wait()
        return common_pb2.VersionInfo()

    async def start(self, port: int = 0) -> None:
        agent_pb2_grpc.add_ServiceActorSPServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(None)

    def entry(self, permanent: bool = False, **properties: str) -> directory_pb2.RegisterRequest:
        return directory_pb2.RegisterRequest(
            endpoint=endpoint(self.port), details=details(3, **properties), permanent=permanent
        )
