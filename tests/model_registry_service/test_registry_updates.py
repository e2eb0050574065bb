"""Following a model: its newest version, pushed to everybody at once."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import grpc
import grpc.aio
import pytest

from cogment_core.api.model_registry_pb2 import ModelVersionInfo
from cogment_core.endpoints import ServiceType
from cogment_services.model_registry import subscribers
from cogment_services.model_registry.subscribers import Subscribers
from cogment_services.refusals import Refusal

PATIENCE = 30.0


async def number(call: Any) -> int:
    """The number of the next version that is told."""
    return (
        await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(call.read())), PATIENCE)
    ).version_info.version_number


async def test_the_newest_version_comes_at_once_and_then_each_newer_one(client) -> None:
    """Stored and transient versions are told alike, as they are in lists."""
    await client.push("m")
    await client.push("m", user_data={"k": "v"})
    call = client.follow("m")
    assert (await call.read()).version_info == (await client.infos("m", 2)).version_infos[0]
    for archived in (False, True):
        info = await client.push("m", archived=archived)
        assert (await call.read()).version_info == info
    call.cancel()


async def test_nothing_comes_before_the_first_version(client) -> None:
    """Versions of other models are none of it."""
    await client.create("other")
    call = client.follow("m")
    await call.initial_metadata()
    await client.push("other")
    await client.push("m")
    assert (await call.read()).version_info.model_id == "m"
    call.cancel()


async def test_the_stream_ends_when_the_model_is_removed(client) -> None:
    """Those who follow are told NOT_FOUND; a model that is made again under the same name is another one."""
    calls = [client.follow("m") for _ in range(3)]
    for call in calls:
        await call.initial_metadata()
    await client.delete("m")
    for call in calls:
        with pytest.raises(grpc.aio.AioRpcError, match="no model 'm'") as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_the_stream_ends_as_unavailable_when_the_server_stops(serve, connect) -> None:
    """So that those who follow look for the server again."""
    server = await serve(grace=10.0)
    client = connect(server.port)
    await client.create("m")
    call = client.follow("m")
    await call.initial_metadata()
    began = time.monotonic()
    closing = asyncio.create_task(server.close())
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await closing
    assert time.monotonic() - began < 5


async def test_who_follows_after_a_restart_gets_what_is_there(serve, connect) -> None:
    """The newest version that still is there comes first, although a later one was given a number."""
    server = await serve()
    client = connect(server.port)
    await client.create("m")
    await client.push("m")
    await client.push("m", archived=False)
    await server.close()
    client = connect((await serve()).port)
    call = client.follow("m")
    assert await number(call) == 1
    await client.push("m", archived=False)
    assert await number(call) == 3
    call.cancel()


async def test_a_hundred_are_told_within_a_tenth_of_a_second(serve, connect) -> None:
    """All of 100 who follow, over connections of their own, know of a new version at once."""
    server = await serve()
    clients = [connect(server.port) for _ in range(10)]
    await clients[0].create("m")
    calls = [clients[index % 10].follow("m") for index in range(100)]
    for call in calls:
        await call.initial_metadata()
    spans = []
    for _ in range(5):
        reads = [asyncio.ensure_future(call.read()) for call in calls]
        await asyncio.sleep(0)
        began = time.perf_counter()
        info = await clients[0].push("m")
        replies = await asyncio.wait_for(asyncio.gather(*reads), PATIENCE)
        spans.append(time.perf_counter() - began)
        assert {reply.version_info.version_number for reply in replies} == {info.version_number}
    for call in calls:
        call.cancel()
    assert min(spans) < 1.0, spans  # 0.1 s, the time of the upload included, where nothing else runs


async def test_who_does_not_read_delays_nobody_and_gets_the_newest(client, monkeypatch) -> None:
    """One subscription holds one version: what a slow reader gets next is the newest then."""
    slow, fast = client.follow("m"), client.follow("m")
    for call in (slow, fast):
        await call.initial_metadata()
    for expected in range(1, 101):
        await client.push("m", archived=False, user_data={"large": "x" * 200_000})
        assert await number(fast) == expected
    seen = [await number(slow)]
    while seen[-1] < 100:
        seen.append(await number(slow))
    assert seen == sorted(set(seen))
    assert len(seen) < 100, "nothing was left out, although 20 MB waited"
    for call in (slow, fast):
        call.cancel()


async def test_nothing_is_missed_while_versions_are_made(client) -> None:
    """Whoever begins to follow at any moment gets to know the last version, and only ever newer ones."""

    async def follow(delay: float) -> list[int]:
        await asyncio.sleep(delay)
        seen, call = [], client.follow("m")
        while not seen or seen[-1] < 60:
            seen.append(await number(call))
        call.cancel()
        return seen

    rng = random.Random(4)
    following = [asyncio.create_task(follow(rng.random() / 10)) for _ in range(30)]
    for index in range(60):
        await client.push("m", archived=bool(index % 2))
    for seen in await asyncio.wait_for(asyncio.gather(*following), PATIENCE):
        assert seen == sorted(set(seen))


async def test_those_who_left_are_forgotten(serve, connect) -> None:
    """Neither a cancelled stream nor a closed connection leaves anything behind."""
    server = await serve()
    client = connect(server.port)
    await client.create("m")
    calls = [client.follow("m") for _ in range(20)]
    for call in calls:
        await call.initial_metadata()
    assert len(server._subscribers) == 20
    reads = [asyncio.ensure_future(call.read()) for call in calls[10:]]
    await asyncio.sleep(0)
    for call in calls[:10]:
        call.cancel()
    await client.channel.close()
    await asyncio.gather(*reads, return_exceptions=True)
    until = time.monotonic() + PATIENCE
    while len(server._subscribers):
        assert time.monotonic() < until
        await asyncio.sleep(0.01)


def test_there_is_a_limit_of_those_who_follow(monkeypatch) -> None:
    """The next one is refused, and a place is free again when one leaves."""
    monkeypatch.setattr(subscribers, "MAX_SUBSCRIBERS", 2)
    everybody = Subscribers()
    first, _second = everybody.add("m"), everybody.add("n")
    with pytest.raises(Refusal) as caught:
        everybody.add("m")
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    everybody.remove(first)
    everybody.add("m")
    everybody.version_created(ModelVersionInfo(model_id="nobody", version_number=1))
    everybody.close()
    with pytest.raises(Refusal):
        everybody.add("m")


async def test_embedded_it_is_reached_in_process(serve) -> None:
    """Without a port and a path, it serves callers of its process, and can be looked for."""
    from cogment_core.api import model_registry_pb2 as messages
    from cogment_core.api.model_registry_pb2_grpc import ModelRegistrySPStub
    from cogment_core.channels import open_channel

    server = await serve(None, port=None)
    assert (server.port, [it.type for it in server.components]) == (0, [ServiceType.MODEL_REG])
    assert server.endpoint.server is server.serve_in_process()
    async with open_channel(server.endpoint) as channel:
        stub: Any = ModelRegistrySPStub(channel)
        await stub.CreateOrUpdateModel(messages.CreateOrUpdateModelRequest(model_info={"model_id": "m"}))
        call = stub.VersionUpdate(messages.VersionUpdateRequest(model_id="m"))
        chunk = messages.CreateVersionRequestChunk
        header = {"version_info": {"model_id": "m", "data_size": 3, "archived": True}}
        await stub.CreateVersion(iter([chunk(header=header), chunk(body={"data_chunk": b"abc"})]))
        assert await number(call) == 1
        request = messages.RetrieveVersionDataRequest(model_id="m", version_number=-1)
        assert [reply.data_chunk async for reply in stub.RetrieveVersionData(request)] == [b"abc"]
        place = server._storage._temporary
        assert place.is_dir()
        await server.close()
        assert not place.exists()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
