"""What a Model Registry does when things break: clients, disks, data, the server itself."""

from __future__ import annotations

import asyncio
import base64
import errno
import os
import random
import signal
import sqlite3
import sys
import textwrap
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from cogment_core.api import model_registry_pb2 as messages
from cogment_core.call_status import CallStatus
from cogment_core.errors import UsageError
from cogment_services.model_registry import ModelRegistryServer
from cogment_services.model_registry import server as server_module
from cogment_services.model_registry.blobs import Blobs
from cogment_services.model_registry.places import Places
from cogment_services.model_registry.settings import Settings
from cogment_services.model_registry.upload import Scratch, Upload
from cogment_services.refusals import Refusal

PATIENCE = 30.0
ROUNDS = 50 if os.environ.get("COGMENT_LONG_TESTS") else 5

UPLOADER = textwrap.dedent(
    """
    import sys, time
    import grpc
    from cogment_core.api import model_registry_pb2 as m
    from cogment_core.api.model_registry_pb2_grpc import ModelRegistrySPStub

    def requests(data, archived):
        info = m.ModelVersionInfo(model_id="m", archived=archived, data_size=len(data))
        yield m.CreateVersionRequestChunk(header=m.CreateVersionRequestChunk.Header(version_info=info))
        for start in range(0, len(data), 65536):
            body = m.CreateVersionRequestChunk.Body(data_chunk=data[start : start + 65536])
            yield m.CreateVersionRequestChunk(body=body)

    with grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}") as channel:
        stub = ModelRegistrySPStub(channel)
        print("begin", flush=True)
        for count in range(1_000_000):
            data = bytes([count % 256]) * 4_000_000
            number = stub.CreateVersion(requests(data, count % 2 == 0)).version_info.version_number
            print(number, count % 256, int(count % 2 == 0), flush=True)
    """
)


def files(root: Path, folder: str) -> list[Path]:
    return sorted(path for path in (root / folder).rglob("*") if path.is_file())


async def until(condition: Any) -> None:
    """Wait until ``condition`` holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it does not come true"
        await asyncio.sleep(0.01)


class Uploader:
    """A process that uploads one version after the other, until it is killed."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, port: int) -> Uploader:
        command = (sys.executable, "-c", UPLOADER, str(port))
        pipe = asyncio.subprocess.PIPE
        result = cls(await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=asyncio.subprocess.DEVNULL))
        assert await asyncio.wait_for(result._process.stdout.readline(), PATIENCE) == b"begin\n"
        return result

    async def kill(self) -> list[tuple[int, int, bool]]:
        """End it. Returns number, byte and whether it is stored, of each version that was answered."""
        if self._process.returncode is None:
            self._process.kill()
        lines = (await asyncio.wait_for(self._process.stdout.read(), PATIENCE)).splitlines(keepends=True)
        await self._process.wait()
        answered = [line.split() for line in lines if line.endswith(b"\n")]
        return [(int(number), int(byte), stored == b"1") for number, byte, stored in answered]


@pytest.mark.timeout(600 if ROUNDS > 5 else 60)
async def test_a_killed_client_leaves_nothing_half(serve, connect, root) -> None:
    """Clients killed at random points of their uploads: what is visible is whole, and nothing else is kept."""
    server = await serve(cache_max_items=2)
    client = connect(server.port)
    await client.create("m")
    rng = random.Random(5)
    answered: dict[int, tuple[int, bool]] = {}
    for _ in range(ROUNDS):
        uploader = await Uploader.start(server.port)
        await asyncio.sleep(rng.random() * 0.1)
        answered.update({number: (byte, stored) for number, byte, stored in await uploader.kill()})
    infos = {info.version_number: info for info in await client.all_infos("m")}
    assert {number for number, (_, stored) in answered.items() if stored} <= infos.keys()
    for number in infos:
        data = await client.data("m", number)
        assert len(data) == 4_000_000
        assert data == bytes([answered[number][0] if number in answered else data[0]]) * len(data)
    transient = [info for info in infos.values() if not info.archived]
    await until(lambda: len(files(root, "scratch")) == len(transient))
    assert {path.name for path in files(root, "blobs")} == {
        base64.b64decode(info.data_hash).hex() for info in infos.values() if info.archived
    }
    assert (await client.push("m")).version_number > max([*infos, *answered, 0])


@pytest.mark.timeout(600 if ROUNDS > 5 else 60)
async def test_a_killed_server_has_what_it_answered(connect, root) -> None:
    """The server killed at random points: what was answered is there, whole; numbers go on; no file is left over."""
    rng = random.Random(6)
    answered: dict[int, tuple[int, bool]] = {}
    highest = 0
    for _ in range(ROUNDS):
        async with ServerProcess(root) as server:
            client = connect(server.port)
            await client.create("m")
            stored = {number for number, (_, archived) in answered.items() if archived}
            there = await client.all_infos("m")
            assert stored <= {info.version_number for info in there}
            assert all(info.archived for info in there), "transient versions end with the process"
            assert len(files(root, "blobs")) == len({info.data_hash for info in there})
            assert files(root, "scratch") == []
            for number in rng.sample(sorted(stored), min(len(stored), 3)):
                assert await client.data("m", number) == bytes([answered[number][0]]) * 4_000_000
            first = (await client.push("m", b"x")).version_number
            assert first > highest, "a number was given twice"
            uploader = await Uploader.start(server.port)
            await asyncio.sleep(0.05 + rng.random() * 0.2)
            await server.kill()
            new = await uploader.kill()
            answered.update({number: (byte, archived) for number, byte, archived in new})
            highest = max([first, *answered])


class ServerProcess:
    """``cogment services model_registry`` as a process."""

    def __init__(self, root: Path, *args: str) -> None:
        self._command = (
            *(sys.executable, "-m", "cogment_services", "services", "model_registry"),
            *("--port=0", f"--archive_dir={root}", *args),
        )
        self.port = 0

    async def __aenter__(self) -> ServerProcess:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*self._command, stdout=pipe, stderr=pipe)
        line = (await asyncio.wait_for(self._process.stdout.readline(), PATIENCE)).decode()
        if not line:
            raise AssertionError((await self._process.communicate())[1].decode())
        self.port = int(line.partition("[port:")[2].partition("]")[0])
        return self

    async def kill(self, number: int = signal.SIGKILL) -> int:
        if self._process.returncode is None:
            self._process.send_signal(number)
        await asyncio.wait_for(self._process.communicate(), PATIENCE)
        return self._process.returncode

    async def __aexit__(self, *_: object) -> None:
        await self.kill()


async def test_what_a_killed_process_left_is_removed(serve, connect, root) -> None:
    """Unfinished files and data without a version go at the start; what is not ours stays."""
    server = await serve()
    client = connect(server.port)
    await client.create("m")
    await client.push("m", b"kept")
    await server.close()
    (root / "scratch" / "data-0123").write_bytes(b"unfinished")
    (root / "scratch" / "mine").write_bytes(b"stays")
    orphan = root / "blobs" / "ab" / ("ab" * 32)
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"no version has it")
    (root / "blobs" / "ab" / "mine").write_bytes(b"stays")
    (root / "blobs" / "cd").symlink_to(root / "blobs" / "ab")
    client = connect((await serve()).port)
    assert await client.data("m") == b"kept"
    assert not orphan.exists()
    assert files(root, "scratch") == [root / "scratch" / "mine"]
    assert (root / "blobs" / "ab" / "mine").exists()


async def test_a_second_server_is_refused(serve, root) -> None:
    """Two servers cannot have one directory, in one process or in two; the first is not disturbed."""
    server = await serve()
    with pytest.raises(UsageError, match="in use by another server"):
        await serve()
    await server.close()
    async with ServerProcess(root):
        with pytest.raises(UsageError, match="in use by another server"):
            await serve()
    await serve()


@pytest.mark.parametrize("content", [b"this is no database " * 100, b"newer"])
async def test_a_directory_of_others_is_not_touched(serve, root, content) -> None:
    """A file that is no database, or one of another release, stops the start with one line."""
    root.mkdir()
    if content == b"newer":
        with sqlite3.connect(root / "models.sqlite") as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
    else:
        (root / "models.sqlite").write_bytes(content)
    with pytest.raises(UsageError, match=r"models\.sqlite"):
        await serve()


async def test_a_place_that_cannot_be_written_stops_the_start(serve, tmp_path) -> None:
    """The error says where, and why."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot be kept in .*file/models"):
        await serve(tmp_path / "file" / "models")


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    if how == "lost":
        path.unlink()
    else:
        path.write_bytes({"flipped": data[:-1] + bytes([data[-1] ^ 1]), "short": data[:-1], "long": data + b"x"}[how])


@pytest.mark.parametrize("how", ["flipped", "short", "long", "lost"])
@pytest.mark.parametrize("size", [10, 3 * 2**20])
async def test_damaged_data_are_an_error(serve, connect, root, how, size, caplog) -> None:
    """DATA_LOSS names the version, the last piece is never given, others are not concerned."""
    from prometheus_client import CollectorRegistry

    metrics = CollectorRegistry()
    client = connect((await serve(prometheus_registry=metrics)).port)
    await client.create("m")
    await client.push("m", b"x" * size)
    await client.push("m", b"other")
    (path,) = [path for path in files(root, "blobs") if path.stat().st_size == size]
    damage(path, how)
    request = messages.RetrieveVersionDataRequest(model_id="m", version_number=1)
    call = client.stub.RetrieveVersionData(request, timeout=PATIENCE)
    got = 0
    with pytest.raises(grpc.aio.AioRpcError, match=r"version 1 of model 'm' are (damaged|lost)") as caught:
        while True:
            got += len((await call.read()).data_chunk)
    assert caught.value.code() is grpc.StatusCode.DATA_LOSS
    assert got < size
    assert await client.data("m", 2) == b"other"
    assert metrics.get_sample_value("model_registry_damaged_reads_total") == 1
    assert [info.version_number for info in await client.all_infos("m")] == [1, 2]
    await client.push("m", b"x" * size)  # the same data once more make the file whole
    assert await client.data("m", 1) == b"x" * size


@pytest.mark.parametrize("where", ["write", "fsync", "place", "row"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
async def test_a_full_or_broken_disk_makes_no_version(client, root, monkeypatch, where, code) -> None:
    """Wherever the disk fails, the call does, nothing is visible or left, and the server goes on afterwards."""
    await client.push("m", b"before")

    def fail(*_: object, **__: object) -> None:
        if where == "row":
            raise sqlite3.OperationalError("database or disk is full" if code == errno.ENOSPC else "disk I/O error")
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        if where == "write":
            patch.setattr(Upload, "write", fail)
        elif where == "fsync":
            patch.setattr(os, "fsync", fail)
        elif where == "place":
            patch.setattr(Blobs, "place", fail)
        else:
            patch.setattr("cogment_services.model_registry.database.Database.put_version", fail)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await client.push("m", b"lost")
    full = grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.code() is (full if code == errno.ENOSPC else grpc.StatusCode.INTERNAL)
    assert str(root) not in (caught.value.details() or "")
    assert await client.numbers("m") == [1]
    await until(lambda: files(root, "scratch") == [])
    assert len(files(root, "blobs")) == 1
    assert (await client.push("m", b"after")).version_number == 2
    assert await client.data("m", 2) == b"after"


async def test_a_full_disk_before_anything_is_written(client, monkeypatch) -> None:
    """A model that cannot be written down is not there."""

    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr("cogment_services.model_registry.database.Database.put_model", fail)
        with pytest.raises(grpc.aio.AioRpcError, match="no space left") as caught:
            await client.create("n")
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await client.names() == ["m"]


async def test_an_upload_that_stops_is_given_up(serve, connect, root, monkeypatch) -> None:
    """A client that says nothing for too long is told so, and its data are removed."""
    monkeypatch.setattr(server_module, "Settings", partial(Settings, patience=0.2))
    server = await serve()
    client = connect(server.port)
    await client.create("m")
    call = client.stub.CreateVersion(timeout=PATIENCE)
    await call.write(client.header("m", 100))
    await call.write(client.body(b"some"))
    with pytest.raises(grpc.aio.AioRpcError, match=r"no data came for 0\.2 s") as caught:
        await call
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: files(root, "scratch") == [])


@pytest.mark.parametrize("piece", [b"", b"x"])
async def test_an_upload_that_only_trickles_is_given_up(serve, connect, root, monkeypatch, piece) -> None:
    """Bytes one by one, or none at all in each message, do not hold a place for ever."""
    monkeypatch.setattr(server_module, "Settings", partial(Settings, patience=0.5))
    client = connect((await serve()).port)
    await client.create("m")
    call = client.stub.CreateVersion(timeout=PATIENCE)
    status = CallStatus(call)
    await call.write(client.header("m", 2**20))
    with pytest.raises(grpc.aio.AioRpcError, match="less than 16384 bytes per second") as caught:
        async with status.true_errors():
            while True:
                await call.write(client.body(piece))
                await asyncio.sleep(0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(lambda: files(root, "scratch") == [])


async def test_what_cannot_be_decoded_is_refused(client, root) -> None:
    """Bytes that are no message are the client's mistake, and leave nothing."""
    upload = client.channel.stream_unary("/cogmentAPI.ModelRegistrySP/CreateVersion")
    header = client.header("m", 3).SerializeToString()
    for messages_sent in ([b"\xff"], [header, b"\x12\x7f"]):
        with pytest.raises(grpc.aio.AioRpcError, match="cannot be decoded") as caught:
            await upload(iter(messages_sent), timeout=PATIENCE)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    await until(lambda: files(root, "scratch") == [])
    assert await client.numbers("m") == []


async def test_a_model_removed_during_an_upload(client, root) -> None:
    """The upload fails, and leaves nothing, even if there is a model of that name again."""
    call = client.stub.CreateVersion(timeout=PATIENCE)
    await call.write(client.header("m", 3))
    await call.write(client.body(b"ab"))
    await until(lambda: files(root, "scratch"))
    await client.delete("m")
    await call.write(client.body(b"c"))
    await call.done_writing()
    with pytest.raises(grpc.aio.AioRpcError, match="no model 'm'"):
        await call
    assert await client.names() == []
    await until(lambda: files(root, "scratch") == [])
    assert files(root, "blobs") == []


@pytest.mark.parametrize("archived", [True, False])
async def test_a_call_cancelled_at_its_end_makes_a_whole_version_or_none(client, root, archived) -> None:
    """Whenever a client gives up, a version that is visible has its data."""
    rng = random.Random(7)
    for _ in range(40):
        call = client.stub.CreateVersion(timeout=PATIENCE)
        await call.write(client.header("m", 4, archived))
        await call.write(client.body(b"data"))
        await call.done_writing()
        await asyncio.sleep(rng.random() * 0.004)
        call.cancel()
    last = (await client.push("m", b"data", archived=archived)).version_number
    numbers = await client.numbers("m")
    assert numbers == list(range(1, last + 1))
    for number in numbers:
        assert await client.data("m", number) == b"data"
    await until(lambda: len(files(root, "scratch")) == (0 if archived else last))


async def test_too_many_uploads_are_refused(serve, connect, root, monkeypatch) -> None:
    """One more than are allowed is told to try again, and the others go on."""
    monkeypatch.setattr(server_module, "Settings", partial(Settings, max_uploads=2))
    server = await serve()
    client = connect(server.port)
    await client.create("m")
    calls = [client.stub.CreateVersion(timeout=PATIENCE) for _ in range(2)]
    for call in calls:
        await call.write(client.header("m", 2))
        await call.write(client.body(b"x"))
    await until(lambda: len(files(root, "scratch")) == 2)
    with pytest.raises(grpc.aio.AioRpcError, match="2 uploads under way") as caught:
        await client.push("m")
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    for call in calls:
        await call.write(client.body(b"x"))
        await call.done_writing()
        await call
    assert await client.numbers("m") == [1, 2]


async def test_a_download_that_is_not_taken_makes_room_for_others(serve, connect, monkeypatch) -> None:
    """Whoever takes no data for too long loses its place; once it goes on, it is told so."""
    monkeypatch.setattr(server_module, "Settings", partial(Settings, patience=0.3, max_downloads=1))
    client = connect((await serve(chunk_size=2**16)).port)
    await client.create("m")
    await client.push("m", bytes(20 * 2**20))  # more than gRPC sends ahead
    request = messages.RetrieveVersionDataRequest(model_id="m", version_number=1)
    stalled = client.stub.RetrieveVersionData(request, timeout=PATIENCE)
    await stalled.read()
    with pytest.raises(grpc.aio.AioRpcError, match="1 downloads under way") as caught:
        await client.data("m")
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    end = time.monotonic() + PATIENCE
    while True:
        try:
            assert len(await client.data("m")) == 20 * 2**20
            break
        except grpc.aio.AioRpcError:
            assert time.monotonic() < end
            await asyncio.sleep(0.05)
    with pytest.raises(grpc.aio.AioRpcError, match=r"no data were taken for 0\.3 s") as caught:
        while await stalled.read() is not grpc.aio.EOF:
            pass
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_calls_that_lost_their_places_are_limited_too() -> None:
    """There are at most as many of them as there are places."""
    places = Places("downloads", 2)
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(places.take()).leave()
        with pytest.raises(Refusal, match="2 downloads under way"):
            stack.enter_context(places.take())
    with places.take():
        pass


async def test_a_message_beyond_the_limit_is_refused(client) -> None:
    """gRPC's limit is named, and the next call is fine."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.upload(client.header("m", 2**25), client.body(bytes(2**22 + 1)))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await client.push("m")).version_number == 1


async def test_nothing_is_served_before_the_start_and_after_the_end(root) -> None:
    """In process, where there is no connection to fail, calls are refused as UNAVAILABLE; closing twice is fine."""
    from cogment_core.api.model_registry_pb2_grpc import ModelRegistrySPStub

    server = ModelRegistryServer(root)
    channel = server.serve_in_process().channel()
    stub: Any = ModelRegistrySPStub(channel)
    for _ in range(2):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.RetrieveModels(messages.RetrieveModelsRequest())
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        if not root.exists():
            await server.start()
        await server.close()
    await server.close()
    await channel.close()


async def test_a_stop_without_patience_ends_transfers_at_once(serve, connect, root) -> None:
    """Those under way have the grace; a second call to close, with none, ends them, and leaves nothing."""
    server = await serve()
    client = connect(server.port)
    await client.create("m")
    call = client.stub.CreateVersion(timeout=2 * PATIENCE)
    await call.write(client.header("m", 100))
    await call.write(client.body(b"some"))
    await until(lambda: files(root, "scratch"))
    closing = asyncio.create_task(server.close(PATIENCE))
    done, _ = await asyncio.wait({closing}, timeout=0.3)
    assert not done
    began = time.monotonic()
    await server.close(0.0)
    assert time.monotonic() - began < 5
    await closing
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    assert files(root, "scratch") == []


def test_an_upload_that_was_given_up_cannot_be_taken(tmp_path) -> None:
    """Whoever is first decides: the one who gives up, or the store."""
    place = Scratch(tmp_path / "scratch")
    given_up, taken = place.new(), place.new()
    for upload in (given_up, taken):
        upload.write(b"x")
        upload.finish(durable=False)
    given_up.abandon()
    assert not given_up.take()
    given_up.write(b"y")
    given_up.finish(durable=True)
    assert taken.take()
    taken.abandon()
    assert [path.name for path in (tmp_path / "scratch").iterdir()] == [taken.path.name]
    taken.discard()
    with pytest.raises(FileNotFoundError):
        taken.open()
