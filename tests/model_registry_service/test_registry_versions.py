"""Versions of a Model Registry: uploads, numbers, data, pages."""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogment_core.api import model_registry_pb2 as messages
from cogment_core.api.model_registry_pb2 import ModelVersionInfo
from cogment_services.model_registry.transients import Transient, TransientVersions
from cogment_services.model_registry.upload import Scratch

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND
MANY = 1_000 if os.environ.get("COGMENT_LONG_TESTS") else 40
"""Versions of each of the concurrent writers."""


def blobs(root: Any) -> list[Any]:
    """The files of stored data."""
    return sorted(path for path in (root / "blobs").rglob("*") if path.is_file())


def scratch(root: Any) -> list[Any]:
    """The files of unfinished and transient data."""
    return list((root / "scratch").iterdir())


@pytest.mark.parametrize("archived", [True, False])
async def test_a_version_is_what_was_sent(client, hash_of, archived) -> None:
    """The reply has the number, the hash, the time; all else is as it was sent, and the data come back."""
    before, data = time.time_ns(), random.Random(1).randbytes(5 * 2**20 + 1)
    info = await client.push("m", data, archived=archived, user_data={"k": "v"}, version_number=77)
    assert before <= info.creation_timestamp <= time.time_ns()
    assert (info.version_number, info.archived, dict(info.user_data)) == (1, archived, {"k": "v"})
    assert (info.data_size, info.data_hash) == (len(data), hash_of(data))
    assert await client.data("m") == data
    assert list((await client.infos("m")).version_infos) == [info]
    assert (await client.push("m", creation_timestamp=5)).creation_timestamp == 5


async def test_data_come_in_pieces_of_the_set_size(serve, connect) -> None:
    """All pieces have this size but the last, which is shorter; no data are one empty piece."""
    client = connect((await serve(chunk_size=1000)).port)
    await client.create("m")
    await client.push("m", b"x" * 2500)
    assert [len(chunk) for chunk in await client.chunks("m")] == [1000, 1000, 500]
    await client.push("m", b"x" * 2000)
    assert [len(chunk) for chunk in await client.chunks("m")] == [1000, 1000]
    await client.push("m", b"")
    assert await client.chunks("m") == [b""]


async def test_wrong_uploads_are_refused_and_leave_nothing(client, root, hash_of, status_of) -> None:
    """Too few or too many bytes, the wrong hash, the wrong order of messages: no version, no number used, no file."""
    header, body = client.header, client.body
    wrong = [
        [body(b"x"), header("m", 1)],
        [header("m", 2), body(b"x")],
        [header("m", 1)],
        [header("m", 1), body(b"xy")],
        [header("m", 0), body(b"x")],
        [header("m", 1), body(b"x"), body(b"y")],
        [header("m", 1), header("m", 1), body(b"x")],
        [header("m", 1), messages.CreateVersionRequestChunk(), body(b"x")],
        [header("m", 1, data_hash=hash_of(b"y")), body(b"x")],
        [header("m", 1, data_hash="nonsense"), body(b"x")],
    ]
    for requests in wrong:
        assert await status_of(client.upload(*requests)) is INVALID
    assert await client.numbers("m") == []
    info = await client.push("m", b"x", data_hash=hash_of(b"x"))
    assert info.version_number == 1
    assert len(blobs(root)) == 1
    assert scratch(root) == []


async def test_both_sizes_and_both_hashes_are_named(client, hash_of) -> None:
    """Who sent the wrong data is told what came and what should have."""
    with pytest.raises(grpc.aio.AioRpcError, match="3 bytes, announced 5"):
        await client.upload(client.header("m", 5), client.body(b"xyz"))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.push("m", b"x", data_hash=hash_of(b"y"))
    assert hash_of(b"x") in caught.value.details()
    assert hash_of(b"y") in caught.value.details()


async def test_a_model_that_is_too_large_is_refused_at_once(serve, connect, root) -> None:
    """The announced size counts before any data come, and the limit is named."""
    client = connect((await serve(max_model_size=1000)).port)
    await client.create("m")
    await client.push("m", b"x" * 1000)
    for size in (1001, 2**63, 2**64 - 1):
        with pytest.raises(grpc.aio.AioRpcError, match=r"1000.*max_model_size") as caught:
            await client.upload(client.header("m", size))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await client.numbers("m") == [1]


async def test_two_gibibytes_are_allowed_by_default(client) -> None:
    """A header that announces as much is no error in itself; one byte more is."""
    with pytest.raises(grpc.aio.AioRpcError, match="0 bytes, announced 2147483648"):
        await client.upload(client.header("m", 2**31))
    with pytest.raises(grpc.aio.AioRpcError, match="more than the 2147483648"):
        await client.upload(client.header("m", 2**31 + 1))


async def test_versions_by_number(client, status_of) -> None:
    """Positive numbers are those of versions, negative ones count from the newest, 0 is none."""
    for number in range(1, 4):
        await client.push("m", b"%d" % number)
    for number, data in ((1, b"1"), (3, b"3"), (-1, b"3"), (-3, b"1")):
        assert await client.data("m", number) == data
        (info,) = (await client.infos("m", number)).version_infos
        assert info.version_number == int(data)
    for number in (0, 4, -4, -5, 2**31 - 1, -(2**31)):
        assert await status_of(client.data("m", number)) is NOT_FOUND
        assert await status_of(client.infos("m", 1, number)) is NOT_FOUND
    reply = await client.infos("m", -1, 1, 2)
    assert [info.version_number for info in reply.version_infos] == [3, 1, 2]


async def test_a_model_without_versions(client, status_of) -> None:
    """There is nothing to list and nothing newest."""
    reply = await client.infos("m")
    assert (list(reply.version_infos), reply.next_version_handle) == ([], "0")
    assert await status_of(client.data("m", -1)) is NOT_FOUND
    assert await status_of(client.infos("m", -1)) is NOT_FOUND


async def test_pages_of_versions(client, status_of) -> None:
    """The handle of all versions is a number, that of versions asked for is an offset, and each leads to the rest."""
    for archived in (True, False, True, False, True):
        await client.push("m", archived=archived)
    pages, handle = [], ""
    while page := (reply := await client.infos("m", count=2, handle=handle)).version_infos:
        pages.append([info.version_number for info in page])
        handle = reply.next_version_handle
    assert pages == [[1, 2], [3, 4], [5]]
    assert handle == "6"
    pages, handle, asked = [], "", (5, -1, 1, 2, 3)
    while page := (reply := await client.infos("m", *asked, count=2, handle=handle)).version_infos:
        pages.append([info.version_number for info in page])
        handle = reply.next_version_handle
    assert pages == [[5, 5], [1, 2], [3]]
    assert (await client.infos("m", *asked, count=99, handle="3")).next_version_handle == "5"
    assert await status_of(client.infos("m", handle="-1")) is INVALID


async def test_a_page_has_a_thousand_versions_at_most(serve, connect) -> None:
    """Whatever the count says; the rest is on the next page."""
    client = connect((await serve(cache_max_items=2000)).port)
    await client.create("m")
    for start in range(0, 1005, 15):
        await asyncio.gather(*(client.push("m", b"", archived=False) for _ in range(start, start + 15)))
    for count in (0, 1004, 2**32 - 1):
        reply = await client.infos("m", count=count)
        assert (len(reply.version_infos), reply.next_version_handle) == (1000, "1001")
    assert await client.numbers("m") == list(range(1, 1006))


async def test_too_many_numbers_are_refused(client, status_of) -> None:
    """One request cannot keep the store busy for long."""
    await client.push("m")
    reply = await client.infos("m", *[1] * 10_000)
    assert (len(reply.version_infos), reply.next_version_handle) == (1000, "1000")
    assert await status_of(client.infos("m", *[1] * 10_001)) is INVALID
    assert await status_of(client.models(["m"] * 10_001)) is INVALID


async def test_numbers_survive_a_restart(serve, connect, status_of) -> None:
    """Transient versions end with the server, but their numbers are not given again."""
    server = await serve()
    client = connect(server.port)
    await client.create("m", k="v")
    await client.push("m", b"stored", user_data={"a": "b"})
    await client.push("m", b"transient", archived=False)
    (before, _) = (await client.infos("m")).version_infos
    await server.close()
    client = connect((await serve()).port)
    assert dict((await client.models()).model_infos[0].user_data) == {"k": "v"}
    assert list((await client.infos("m")).version_infos) == [before]
    assert await client.data("m", -1) == b"stored"
    assert await status_of(client.data("m", 2)) is NOT_FOUND
    assert (await client.push("m")).version_number == 3


async def test_transient_versions_are_bounded(serve, connect, root, status_of) -> None:
    """The oldest go, with their data, but not the newest of a model; numbers go on."""
    client = connect((await serve(cache_max_items=3, cache_max_bytes=100)).port)
    for name in ("m", "rare"):
        await client.create(name)
    await client.push("rare", b"rare", archived=False)
    for number in range(1, 6):
        assert (await client.push("m", b"%d" % number, archived=False)).version_number == number
    assert (await client.numbers("m"), await client.data("rare")) == ([4, 5], b"rare")
    assert await status_of(client.data("m", 3)) is NOT_FOUND
    assert await status_of(client.data("m", -3)) is NOT_FOUND
    assert len(scratch(root)) == 3
    await client.push("m", b"x" * 99, archived=False)
    assert (await client.numbers("m"), await client.numbers("rare")) == ([6], [])
    await client.push("m", b"x" * 1000, archived=False)
    assert (await client.numbers("m"), len(scratch(root))) == ([7], 1)


@given(
    added=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 9), st.booleans()), max_size=30),
    items=st.integers(1, 5),
    size=st.integers(1, 30),
)
def test_transient_versions_keep_to_their_bounds(tmp_path_factory, added, items, size) -> None:
    """Never more versions or bytes than allowed but for the last one; that one is always there."""
    place = Scratch(tmp_path_factory.mktemp("scratch"))
    versions = TransientVersions(items, size)
    for number, (key, length, use) in enumerate(added, 1):
        upload = place.new()
        upload.write(b"x" * length)
        upload.finish(durable=False)
        versions.add(key, Transient(ModelVersionInfo(version_number=number), upload))
        kept = {found.version_number: model for model in (1, 2, 3) for found in versions.of(model)}
        assert kept[number] == key
        assert len(kept) == len(versions) <= items
        held = sum(added[it - 1][1] for it in kept)
        assert held <= size or len(kept) == 1
        assert versions.newest(key) == number
        if use:
            assert versions.get(*added[min(kept) - 1][:1], min(kept)) is not None
    place.clear()


async def test_the_same_data_are_stored_once(client, root) -> None:
    """Data are removed with the last version that has them, and not before."""
    await client.create("n")
    for name in ("m", "m", "n"):
        await client.push(name, b"same")
    await client.push("m", b"other")
    assert len(blobs(root)) == 2
    await client.delete("m")
    assert len(blobs(root)) == 1
    assert await client.data("n") == b"same"
    await client.delete("n")
    assert blobs(root) == []


async def test_a_model_made_again_begins_again(client) -> None:
    """A removed model takes its versions, stored and transient, and its numbers with it."""
    await client.push("m")
    await client.push("m", archived=False)
    await client.delete("m")
    await client.create("m")
    assert await client.numbers("m") == []
    assert (await client.push("m", b"new", archived=False)).version_number == 1
    assert await client.data("m") == b"new"


@pytest.mark.parametrize("archived", [True, False])
async def test_a_download_ends_well_although_its_model_is_removed(serve, connect, archived) -> None:
    """Who has begun to read gets all the data."""
    client = connect((await serve(chunk_size=2**16)).port)
    await client.create("m")
    data = random.Random(2).randbytes(20 * 2**20)  # more than gRPC sends ahead
    await client.push("m", data, archived=archived)
    call = client.stub.RetrieveVersionData(messages.RetrieveVersionDataRequest(model_id="m", version_number=1))
    chunks = [(await call.read()).data_chunk]
    await client.delete("m")
    while (reply := await call.read()) is not grpc.aio.EOF:
        chunks.append(reply.data_chunk)
    assert b"".join(chunks) == data


@pytest.mark.timeout(1200 if MANY > 100 else 60)
async def test_concurrent_writers_get_distinct_consecutive_numbers(client) -> None:
    """Eight writers of one model: every number once, none left out, each with the data that were sent for it."""

    async def write(writer: int) -> dict[int, bytes]:
        given = {}
        for number in range(MANY):
            data = b"%d/%d" % (writer, number)
            given[(await client.push("m", data, archived=number % 4 != 3)).version_number] = data
        return given

    written = await asyncio.gather(*(write(writer) for writer in range(8)))
    numbers = sorted(number for given in written for number in given)
    assert numbers == list(range(1, 8 * MANY + 1))
    stored = {info.version_number for info in await client.all_infos("m") if info.archived}
    by_number = {number: data for given in written for number, data in given.items()}
    assert len(stored) == 8 * MANY * 3 // 4
    for number in random.Random(3).sample(sorted(stored), 20):
        assert await client.data("m", number) == by_number[number]
