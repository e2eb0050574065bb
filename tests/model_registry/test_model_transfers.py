"""The data of models on its way up and down."""

from __future__ import annotations

import array
import asyncio
import io
import os
import stat
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from cogment_core.errors import DeadlineError, NotFoundError, RefusedError, RpcError, UsageError
from cogment_model_registry import CHUNK_SIZE, DamagedModelError, ModelRegistry

LARGE = bytes(range(256)) * (2 * CHUNK_SIZE // 256) + b"the rest"
"""Three chunks."""


def names_in(folder: Path) -> list[str]:
    """The names of the files in ``folder``."""
    return sorted(path.name for path in folder.iterdir())


def unbuffered(path: Path) -> io.FileIO:
    """A new file that may take less at a time than it is given."""
    return open(path, "wb", buffering=0)


# --- up -------------------------------------------------------------------------------------------------------------


def sources(folder: Path) -> dict[str, Any]:
    """The same data, "abc" x 40,000, in every form that is taken."""
    data = b"abc" * 40_000
    path = folder / "model.pt"
    path.write_bytes(data)
    file = io.BytesIO(b"head" + data)
    file.seek(4)
    return {
        "bytes": data,
        "bytearray": bytearray(data),
        "memoryview": memoryview(b"xx" + data)[2:],
        "array": array.array("H", data),
        "path": path,
        "open file": open(path, "rb", buffering=0),
        "file that is not at its beginning": file,
    }


async def test_all_forms_of_data_are_taken(registry: ModelRegistry, fake: Any, tmp_path: Path, sha256: Any) -> None:
    """A model comes from anything like bytes, a path or an open file, from where it stands."""
    data = b"abc" * 40_000
    for number, (form, model) in enumerate(sources(tmp_path).items(), start=1):
        info = await registry.store_model("m", model, {"form": form})
        assert (info.iteration, info.size, info.hash, info.stored) == (number, len(data), sha256(data), True)
        assert info.properties == {"form": form}
        assert fake.versions["m"][-1][1] == data
        if hasattr(model, "close"):
            assert not model.closed
            model.close()


@pytest.mark.parametrize("model", ["text", 3, None, b"", bytearray(), io.StringIO("text"), io.BytesIO(), [1, 2]])
async def test_what_is_no_model_is_refused(registry: ModelRegistry, fake: Any, model: Any) -> None:
    """Text, nothing, and files in text mode are refused before anything is sent."""
    with pytest.raises(UsageError):
        await registry.store_model("m", model)
    assert not fake.calls


async def test_path_that_is_not_there_is_an_os_error(registry: ModelRegistry, fake: Any, tmp_path: Path) -> None:
    """A path that cannot be opened raises the system's own error."""
    with pytest.raises(FileNotFoundError):
        await registry.store_model("m", tmp_path / "nothing")
    assert not fake.calls


async def test_model_is_made_once_and_asked_for_once(registry: ModelRegistry, fake: Any) -> None:
    """The first iteration makes the model, if it is not there; later ones cost a single call each."""
    await registry.publish_model("m", b"1")
    await registry.store_model("m", b"2")
    assert fake.calls == ["RetrieveModels", "CreateOrUpdateModel", "CreateVersion", "CreateVersion"]
    assert [info.archived for info, _ in fake.versions["m"]] == [False, True]


async def test_properties_of_a_model_stay_when_an_iteration_is_added(registry: ModelRegistry, fake: Any) -> None:
    """A model that is there already is not made again."""
    fake.models["m"] = {"kept": "yes"}
    fake.versions["m"] = []
    await registry.store_model("m", b"1")
    assert fake.models["m"] == {"kept": "yes"}


@pytest.mark.parametrize("existing", [False, True])
async def test_model_that_was_removed_meanwhile_is_made_again(
    registry: ModelRegistry, fake: Any, existing: bool
) -> None:
    """An iteration is not lost because somebody removed the model."""
    fake.existing = existing
    await registry.store_model("m", b"1")
    del fake.models["m"], fake.versions["m"]
    assert (await registry.store_model("m", io.BytesIO(b"2"))).iteration == 1
    assert fake.versions["m"][0][1] == b"2"


@pytest.mark.parametrize("removals", [2, 3])
async def test_model_that_is_removed_again_and_again(registry: ModelRegistry, fake: Any, removals: int) -> None:
    """A model that others keep removing is made a few times, whether it was known or not; then there is an error."""
    left = removals

    async def remove(message: Any, context: Any) -> None:
        nonlocal left
        if message.HasField("header") and left > 0:
            left -= 1
            del fake.models["m"], fake.versions["m"]

    fake.receive = remove
    if removals == 2:
        assert (await registry.store_model("m", io.BytesIO(b"1"))).iteration == 1
    else:
        with pytest.raises(NotFoundError, match="no model"):
            await registry.store_model("m", b"1")


async def test_progress_is_reported_by_chunk(registry: ModelRegistry, fake: Any) -> None:
    """Uploads and downloads tell how far they are, in bytes."""
    up: list[tuple[int, int]] = []
    down: list[tuple[int, int]] = []
    fake.chunk = CHUNK_SIZE
    await registry.store_model("m", LARGE, progress=lambda done, total: up.append((done, total)))
    assert await registry.retrieve_model("m", progress=lambda done, total: down.append((done, total))) == LARGE
    assert up == down == [(n, len(LARGE)) for n in (CHUNK_SIZE, 2 * CHUNK_SIZE, len(LARGE))]


async def test_no_message_is_larger_than_existing_servers_take(registry: ModelRegistry, fake: Any) -> None:
    """Chunks are of 2 MiB, and the header says the size."""
    seen: list[Any] = []

    async def receive(message: Any, context: Any) -> None:
        seen.append(message.header.version_info.data_size or len(message.body.data_chunk))

    fake.receive = receive
    await registry.store_model("m", LARGE)
    assert seen == [len(LARGE), CHUNK_SIZE, CHUNK_SIZE, 8]


@pytest.mark.parametrize("field", ["data_size", "data_hash"])
async def test_registry_that_got_something_else_is_noticed(registry: ModelRegistry, fake: Any, field: str) -> None:
    """An upload whose size or hash comes back different is an error that names the iteration."""

    def alter(info: Any) -> None:
        setattr(info, field, 7 if field == "data_size" else "other")

    fake.alter = alter
    with pytest.raises(DamagedModelError, match="sent") as caught:
        await registry.store_model("m", b"abc")
    assert (caught.value.model_name, caught.value.iteration) == ("m", 1)


async def test_hash_that_is_not_told_is_not_compared(registry: ModelRegistry, fake: Any) -> None:
    """A Model Registry need not tell hashes: sizes are compared then."""
    fake.alter = lambda info: info.ClearField("data_hash")
    assert (await registry.store_model("m", b"abc")).hash == ""
    assert await registry.retrieve_model("m") == b"abc"


async def test_file_that_shrinks_is_an_error_and_nothing_is_added(
    registry: ModelRegistry, fake: Any, tmp_path: Path
) -> None:
    """A file that becomes shorter while it is sent ends the upload, and leaves no iteration."""
    path = tmp_path / "model.pt"
    path.write_bytes(bytes(5 * CHUNK_SIZE))

    def shrink(done: int, total: int) -> None:
        with path.open("r+b") as file:
            file.truncate(CHUNK_SIZE)

    with pytest.raises(UsageError, match="shorter"):
        await registry.store_model("m", path, progress=shrink)
    assert fake.versions["m"] == []


async def test_failing_progress_callback_breaks_the_upload_off(registry: ModelRegistry, fake: Any) -> None:
    """What the callback raises ends the upload, and leaves no iteration."""

    def fail(done: int, total: int) -> None:
        raise ValueError("stop it")

    with pytest.raises(ValueError, match="stop it"):
        await registry.store_model("m", LARGE, progress=fail)
    await registry.list_models()
    assert fake.versions["m"] == []


async def test_early_refusal_of_an_upload_is_told(registry: ModelRegistry, fake: Any) -> None:
    """A Model Registry that refuses in the middle is heard, with its reason."""

    async def refuse(message: Any, context: Any) -> None:
        if message.HasField("body"):
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "models have at most 1 MiB")

    fake.receive = refuse
    with pytest.raises(RpcError, match="at most 1 MiB") as caught:
        await registry.store_model("m", bytes(40 * CHUNK_SIZE))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_upload_that_does_not_get_on_is_an_error(registry: ModelRegistry, fake: Any) -> None:
    """A Model Registry that takes no more ends the upload after the time for one chunk, not for all."""

    async def stall(message: Any, context: Any) -> None:
        if message.HasField("body"):
            await asyncio.Event().wait()

    fake.receive = stall
    with pytest.raises(DeadlineError, match="nothing was"):
        await registry.store_model("m", bytes(1000), timeout=0.3)
    with pytest.raises(DeadlineError, match="nothing was"):
        await registry.store_model("m", bytes(100 * CHUNK_SIZE), timeout=0.3)


async def test_upload_does_not_run_ahead(registry: ModelRegistry, fake: Any) -> None:
    """Of a model that the Model Registry does not take, few chunks are on the way, whatever the transport."""
    sent: list[int] = []

    async def stall(message: Any, context: Any) -> None:
        await asyncio.Event().wait()

    fake.receive = stall
    with pytest.raises(DeadlineError):
        await registry.store_model(
            "m", bytes(50 * CHUNK_SIZE), progress=lambda done, total: sent.append(done), timeout=1.0
        )
    assert len(sent) < 10


async def test_download_does_not_run_ahead(registry: ModelRegistry, fake: Any) -> None:
    """Of a model that cannot be written as fast as it comes, few chunks are in memory, whatever the transport."""
    sent = 0
    may_write, begun = threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def write(self, data: Any) -> int:
            begun.set()
            assert may_write.wait(20)
            return super().write(data)

    async def send(data: bytes, context: Any) -> AsyncIterator[bytes]:
        nonlocal sent
        for begin in range(0, len(data), CHUNK_SIZE):
            yield data[begin : begin + CHUNK_SIZE]
            sent += 1

    fake.add("m", bytes(50 * CHUNK_SIZE))
    fake.send = send
    receiving = asyncio.ensure_future(registry.retrieve_model_to("m", Slow()))
    assert await asyncio.to_thread(begun.wait, 20)
    await asyncio.sleep(0.5)  # for what should not happen
    assert sent < 20
    may_write.set()
    assert await asyncio.wait_for(receiving, 20) is not None
    assert sent == 50


async def test_slow_upload_that_gets_on_is_not_ended(registry: ModelRegistry, fake: Any) -> None:
    """No deadline counts for a whole transfer: one that takes longer than the time for a chunk succeeds."""

    async def trickle(message: Any, context: Any) -> None:
        await asyncio.sleep(0.1)

    fake.receive = trickle
    info = await registry.store_model("m", bytes(7 * CHUNK_SIZE), timeout=0.5)
    assert info.iteration == 1


async def test_cancelled_upload_leaves_nothing(registry: ModelRegistry, fake: Any) -> None:
    """Cancelling the task that uploads ends the call; nothing is added."""
    begun = asyncio.Event()

    async def receive(message: Any, context: Any) -> None:
        begun.set()
        await asyncio.sleep(0.05)

    fake.receive = receive
    task = asyncio.ensure_future(registry.store_model("m", bytes(100 * CHUNK_SIZE)))
    await asyncio.wait_for(begun.wait(), 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await registry.list_models()
    assert fake.versions["m"] == []


# --- down -----------------------------------------------------------------------------------------------------------


async def test_iterations_are_retrieved_by_number_and_from_the_end(registry: ModelRegistry, fake: Any) -> None:
    """The latest, any number, and numbers from the end; None for those that are not there."""
    for data in (b"one", b"two", b"three"):
        fake.add("m", data)
    assert await registry.retrieve_model("m") == b"three"
    assert await registry.retrieve_model("m", 1) == b"one"
    assert await registry.retrieve_model("m", iteration=-2) == b"two"
    for number in (0, 4, -4):
        assert await registry.retrieve_model("m", number) is None
    with pytest.raises(NotFoundError, match="other"):
        await registry.retrieve_model("other")


async def test_model_without_iterations_is_none(registry: ModelRegistry, fake: Any, tmp_path: Path) -> None:
    """A model that has no iteration gives None, and no file."""
    fake.models["m"] = {}
    assert await registry.retrieve_model("m") is None
    assert await registry.retrieve_model_to("m", tmp_path / "model.pt") is None
    assert names_in(tmp_path) == []


async def test_empty_iteration_is_retrieved(registry: ModelRegistry, fake: Any) -> None:
    """An iteration without data, which others may have made, is empty bytes."""
    fake.add("m", b"")
    assert await registry.retrieve_model("m") == b""


async def test_iteration_that_vanishes_is_none_or_the_next(registry: ModelRegistry, fake: Any) -> None:
    """An iteration that is dropped between question and transfer is None; of the latest, the new latest is given."""
    fake.add("m", b"old")
    dropped: list[bytes] = []

    async def drop(data: bytes, context: Any) -> AsyncIterator[bytes]:
        if not dropped:
            dropped.append(data)
            fake.versions["m"][0] = (fake.versions["m"][0][0], None)
            fake.add("m", b"new")
            await context.abort(grpc.StatusCode.NOT_FOUND, "gone")
        yield data

    fake.send = drop
    assert await registry.retrieve_model("m") == b"new"
    fake.versions["m"].pop(0)
    assert await registry.retrieve_model("m", 1) is None


async def test_model_is_written_to_a_path_or_file(registry: ModelRegistry, fake: Any, tmp_path: Path) -> None:
    """A path appears, or is replaced, and nothing beside it; an open file is written to from where it stands."""
    fake.add("m", LARGE)
    fake.chunk = CHUNK_SIZE
    path = tmp_path / "model.pt"
    path.write_bytes(b"old")
    info = await registry.retrieve_model_to("m", path)
    assert info is not None
    assert info.iteration == 1
    assert path.read_bytes() == LARGE
    assert names_in(tmp_path) == [path.name]
    with unbuffered(tmp_path / "other") as file:
        file.write(b"head")
        await registry.retrieve_model_to("m", file)
    assert (tmp_path / "other").read_bytes() == b"head" + LARGE


async def test_what_is_no_file_is_not_replaced(registry: ModelRegistry, fake: Any, tmp_path: Path) -> None:
    """A pipe is written to, if somebody reads from it, and so is a device; of a link, what it leads to is replaced."""
    fake.add("m", b"abc")
    pipe, link, target = tmp_path / "pipe", tmp_path / "link", tmp_path / "folder" / "model.pt"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="pipe"):
        await asyncio.wait_for(registry.retrieve_model_to("m", pipe), 20)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    await registry.retrieve_model_to("m", pipe)
    assert os.read(reader, 10) == b"abc"
    os.close(reader)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    target.parent.mkdir()
    target.write_bytes(b"old")
    link.symlink_to(target)
    await registry.retrieve_model_to("m", link)
    assert link.is_symlink()
    assert target.read_bytes() == b"abc"
    assert names_in(target.parent) == [target.name]
    assert names_in(tmp_path) == ["folder", "link", "pipe"]
    with pytest.raises(IsADirectoryError):
        await registry.retrieve_model_to("m", tmp_path)


async def test_pipe_cannot_be_sent(registry: ModelRegistry, fake: Any, tmp_path: Path) -> None:
    """The path of a pipe is refused, not waited for."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="size"):
        await registry.store_model("m", tmp_path / "pipe")
    assert not fake.calls


@pytest.mark.parametrize("destination", ["model.pt", 3, None, io.StringIO()])
async def test_what_is_no_destination_is_refused(registry: ModelRegistry, fake: Any, destination: Any) -> None:
    """A text is not taken for a path, nor a file in text mode for one of bytes."""
    fake.add("m", b"abc")
    with pytest.raises(UsageError):
        await registry.retrieve_model_to("m", destination)


async def _truncated(data: bytes, context: Any) -> AsyncIterator[bytes]:
    yield data[: len(data) // 2]


async def _longer(data: bytes, context: Any) -> AsyncIterator[bytes]:
    while True:
        yield data


async def _corrupt(data: bytes, context: Any) -> AsyncIterator[bytes]:
    yield data[:-1] + bytes([data[-1] ^ 1])


async def _lost(data: bytes, context: Any) -> AsyncIterator[bytes]:
    yield data[:10]
    await context.abort(grpc.StatusCode.DATA_LOSS, "the blob is damaged")


async def _stalled(data: bytes, context: Any) -> AsyncIterator[bytes]:
    yield data[:10]
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("send", "error", "text"),
    [
        (_truncated, DamagedModelError, "received"),
        (_longer, DamagedModelError, "more data"),
        (_corrupt, DamagedModelError, "SHA-256"),
        (_lost, RpcError, "the blob is damaged"),
        (_stalled, DeadlineError, "nothing was sent for 0.5 s"),
    ],
)
@pytest.mark.parametrize("size", [100, 1_000_000])
async def test_bad_download_is_an_error_and_leaves_no_file(
    registry: ModelRegistry, fake: Any, tmp_path: Path, send: Any, error: type[Exception], text: str, size: int
) -> None:
    """Data that is short, long, altered, damaged or late is an error, never a model; a path stays as it was."""
    fake.add("m", bytes(range(200)) * (size // 200) + b"end")
    fake.send = send
    path = tmp_path / "model.pt"
    path.write_bytes(b"old")
    with pytest.raises(error, match=text):
        await registry.retrieve_model_to("m", path, timeout=0.5)
    with pytest.raises(error, match=text):
        await registry.retrieve_model("m", timeout=0.5)
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == [path.name]
    fake.send = None
    assert await registry.retrieve_model("m") == fake.versions["m"][0][1]


async def test_slow_download_that_gets_on_is_not_ended(registry: ModelRegistry, fake: Any) -> None:
    """No deadline counts for a whole download."""

    async def trickle(data: bytes, context: Any) -> AsyncIterator[bytes]:
        for begin in range(0, len(data), 100):
            await asyncio.sleep(0.1)
            yield data[begin : begin + 100]

    fake.add("m", bytes(700))
    fake.send = trickle
    assert await registry.retrieve_model("m", timeout=0.5) == bytes(700)


async def test_write_error_is_raised_and_leaves_no_file(registry: ModelRegistry, fake: Any, tmp_path: Path) -> None:
    """A file that cannot be written raises the system's error, also from the thread."""

    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    fake.chunk = CHUNK_SIZE
    for data in (b"abc", LARGE):
        fake.add("m", data)
        with pytest.raises(OSError, match="No space"):
            await registry.retrieve_model_to("m", Full())
    with pytest.raises(OSError, match="nothing"):
        await registry.retrieve_model_to("m", tmp_path / "nothing" / "model.pt")


async def test_same_data_is_transferred_once(registry: ModelRegistry, fake: Any) -> None:
    """Data that is at hand, by its hash, is not asked for again; what is changed or large is."""
    fake.add("m", b"abc")
    fake.add("m", b"abc")
    assert await registry.retrieve_model("m", 1) == await registry.retrieve_model("m", 2) == b"abc"
    assert fake.calls.count("RetrieveVersionData") == 1
    fake.add("m", b"abd")
    assert await registry.retrieve_model("m") == b"abd"


async def test_cache_is_bounded(registry: ModelRegistry, fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than the size of the cache is kept; what was not used for the longest time goes first."""
    monkeypatch.setattr("cogment_model_registry.downloads.CACHE_SIZE", 2000)
    fake.chunk = 10_000
    for byte in b"abc":
        fake.add("m", bytes([byte]) * 900)
    fake.add("m", bytes(3000))
    for number in (1, 2, 1, 3, 1, 2, 4, 4):
        assert await registry.retrieve_model("m", number) is not None
    assert fake.calls.count("RetrieveVersionData") == 6  # 1, 2, 3 (drops 2), 2 (drops 3), and 4, too large, twice


async def test_many_transfers_at_once(registry: ModelRegistry, fake: Any) -> None:
    """Transfers do not disturb each other."""
    fake.chunk = CHUNK_SIZE
    models = {f"m{number}": bytes([number]) * (CHUNK_SIZE + number) for number in range(8)}
    await asyncio.gather(*(registry.store_model(name, data) for name, data in models.items()))
    found = await asyncio.gather(*(registry.retrieve_model(name) for name in models))
    assert list(models.values()) == found


async def test_refused_iteration_is_an_error(registry: ModelRegistry, fake: Any) -> None:
    """Only an iteration that is not there is None: a download that is refused is an error."""
    fake.add("m", b"abc")

    async def refuse(data: bytes, context: Any) -> AsyncIterator[bytes]:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "not yours")
        yield data

    fake.send = refuse
    with pytest.raises(RefusedError, match="not yours"):
        await registry.retrieve_model("m")
