"""Connections for calls that last: watchful ones to servers that allow it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from cogment_core import lasting
from cogment_core.api import common_pb2, orchestrator_pb2_grpc
from cogment_core.channels import ChannelPool, bind, create_server, open_lasting
from cogment_core.endpoints import Endpoint, ServedEndpoint
from cogment_core.errors import UnavailableError
from cogment_core.lasting import LastingChannel

SERVICE = "cogmentAPI.ClientActorSP"


class Versioned(orchestrator_pb2_grpc.ClientActorSPServicer):
    """A server of some version, that counts who asks."""

    def __init__(self, **versions: str) -> None:
        self.asked = 0
        self.was_asked = asyncio.Event()
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self._versions = [common_pb2.VersionInfo.Version(name=name, version=text) for name, text in versions.items()]

    async def Version(self, request: Any, context: Any) -> common_pb2.VersionInfo:  # type: ignore[override]
        self.asked += 1
        self.was_asked.set()
        await self.may_answer.wait()
        return common_pb2.VersionInfo(versions=self._versions)


OURS = {"cogment": "3.0.0", "cogment_sdk": "3.0.0", "grpc": "1.62.3"}


@contextlib.asynccontextmanager
async def serving(servicer: Any, port: int = 0) -> AsyncIterator[Endpoint]:
    server = create_server()
    orchestrator_pb2_grpc.add_ClientActorSPServicer_to_server(servicer, server)
    port = bind(server, ServedEndpoint(port, "127.0.0.1"))
    await server.start()
    try:
        yield Endpoint(f"grpc://127.0.0.1:{port}")
    finally:
        await server.stop(None)


class Opened:
    """Opens channels, and knows of which kind each is."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.kinds: list[str] = []
        self._endpoint = endpoint
        self.lasting = LastingChannel(lambda: self._open("watchful"), lambda: self._open("plain"))

    def _open(self, kind: str) -> grpc.aio.Channel:
        self.kinds.append(kind)
        # Otherwise channels that are alike share a connection, and the time until it is tried again.
        options = [("grpc.use_local_subchannel_pool", 1)]
        channel: Any = grpc.aio.insecure_channel(self._endpoint.url.removeprefix("grpc://"), options)
        channel.kind = kind
        return channel

    async def get(self) -> str:
        channel: Any = await asyncio.wait_for(self.lasting.get(SERVICE), 10)
        return channel.kind


@pytest.mark.parametrize(
    ("versions", "kind"),
    [
        (OURS, "watchful"),
        ({"cogment_sdk": "2.10.1"}, "plain"),
        ({"cogment": "2.22.0"}, "plain"),
        ({"cogment_sdk": "what?"}, "plain"),
        ({}, "plain"),
    ],
)
async def test_servers_of_ours_are_watched(versions, kind):
    """A server that says it has our version gets a watchful connection, any other a plain one; it is asked once."""
    servicer = Versioned(**versions)
    async with serving(servicer) as endpoint:
        opened = Opened(endpoint)
        assert [await opened.get(), await opened.get()] == [kind, kind]
        assert servicer.asked == 1
        await opened.lasting.close()


async def test_a_server_without_versions_is_not_watched():
    """A server that does not know the question is another's."""
    async with serving(orchestrator_pb2_grpc.ClientActorSPServicer()) as endpoint:
        opened = Opened(endpoint)
        assert await opened.get() == "plain"
        await opened.lasting.close()


async def test_a_server_that_does_not_answer_is_asked_again(monkeypatch):
    """One that is busy for long is used as it is for now, and asked again the next time."""
    monkeypatch.setattr(lasting, "ASK_TIMEOUT", 0.1)
    servicer = Versioned(**OURS)
    servicer.may_answer.clear()
    async with serving(servicer) as endpoint:
        opened = Opened(endpoint)
        assert await opened.get() == "plain"
        assert await opened.get() == "plain"
        servicer.may_answer.set()
        assert await opened.get() == "watchful"
        assert opened.kinds == ["watchful", "plain", "watchful", "watchful"], "the plain one is kept and used again"
        await opened.lasting.close()


async def test_a_server_that_cannot_be_reached_is_tried_again():
    """That is an error each time, until it can be."""
    servicer = Versioned(**OURS)
    async with serving(servicer) as endpoint:
        pass
    opened = Opened(endpoint)
    for _ in range(2):
        with pytest.raises(UnavailableError, match="Version: UNAVAILABLE"):
            await opened.get()
    async with serving(servicer, int(endpoint.url.rpartition(":")[2])):
        assert await opened.get() == "watchful"
        await opened.lasting.close()


async def test_who_stops_waiting_leaves_the_others_waiting():
    """The server is asked once for all who wait; that one of them is cancelled is not the others' end."""
    servicer = Versioned(**OURS)
    servicer.may_answer.clear()
    async with serving(servicer) as endpoint:
        opened = Opened(endpoint)
        first, second = (asyncio.create_task(opened.get()) for _ in range(2))
        await asyncio.wait_for(servicer.was_asked.wait(), 10)
        first.cancel()
        await asyncio.wait({first})
        assert first.cancelled()
        servicer.may_answer.set()
        assert await second == "watchful"
        assert servicer.asked == 1
        await opened.lasting.close()


async def test_who_waits_is_told_that_it_is_closed():
    """Closing is not a cancellation of those who wait."""
    servicer = Versioned(**OURS)
    servicer.may_answer.clear()
    async with serving(servicer) as endpoint:
        opened = Opened(endpoint)
        waiting = asyncio.create_task(opened.get())
        await asyncio.wait_for(servicer.was_asked.wait(), 10)
        await opened.lasting.close()
        with pytest.raises(UnavailableError, match="closed"):
            await waiting
        servicer.may_answer.set()


async def test_a_pool_shares_one_lasting_channel():
    """All who go to the same endpoint for lasting calls share one; the pool closes it."""
    servicer = Versioned(**OURS)
    async with serving(servicer) as endpoint:
        pool = ChannelPool()
        first = await pool.lasting(endpoint, SERVICE)
        again = await pool.lasting(Endpoint(endpoint.url), SERVICE)
        assert first is again
        assert first is not pool.get(endpoint)
        stub: Any = orchestrator_pb2_grpc.ClientActorSPStub(first)
        await stub.Version(common_pb2.VersionRequest())
        await pool.close()
        with pytest.raises(grpc.aio.UsageError):
            await stub.Version(common_pb2.VersionRequest())


async def test_lasting_calls_to_other_servers_share_the_plain_channel():
    """A server that allows no watchful connection gets one connection, not two."""
    async with serving(Versioned()) as endpoint:
        pool = ChannelPool()
        assert await pool.lasting(endpoint, SERVICE) is pool.get(endpoint)
        await pool.close()


async def test_a_lasting_connection_of_its_own_is_closed_whole():
    """Without a pool, the plain channel is its own, too."""
    async with serving(Versioned()) as endpoint:
        own = open_lasting(endpoint)
        stub: Any = orchestrator_pb2_grpc.ClientActorSPStub(await own.get(SERVICE))
        await stub.Version(common_pb2.VersionRequest())
        await own.close()
        with pytest.raises(grpc.aio.UsageError):
            await stub.Version(common_pb2.VersionRequest())
