"""The datastore's file: whose it is, what it survives, what it says about damage."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from storekit import PATIENCE, Client, Disk, params, sample

from cogment_core.api.trial_datastore_pb2 import StoredTrialSample
from cogment_services.datastore import TrialDatastore, commits, schema
from cogment_services.datastore.sqlite_store import SqliteStore
from cogment_services.datastore.store import (
    Change,
    DeleteTrials,
    EndTrial,
    LateReward,
    NewSample,
    PutTrial,
    StoreError,
    TrialQuery,
)

# --- whose it is ------------------------------------------------------------------------------------------------------


async def test_a_file_has_one_datastore(serve, tmp_path, command) -> None:
    """C12: a second datastore, in this process or in another, says that the file is in use, and does not start."""
    client = await serve(tmp_path / "trials.db")
    with pytest.raises(StoreError, match="in use by another datastore"):
        await TrialDatastore(tmp_path / "trials.db").start()
    (tmp_path / "link.db").symlink_to(tmp_path / "trials.db")
    with pytest.raises(StoreError, match="in use by another datastore"):
        await TrialDatastore(tmp_path / "link.db").start()
    second = await command(f"--file_storage={tmp_path / 'trials.db'}")
    assert await asyncio.wait_for(second.process.wait(), PATIENCE) == 1
    assert "in use by another datastore" in await second.log()
    await client.log_all("trial", 2)
    await client.server.close(0.0)
    client = await serve(tmp_path / "trials.db")
    assert len(await client.samples("trial")) == 2


@pytest.mark.parametrize("content", [b"not a database at all, " * 100, "other"])
async def test_a_file_of_something_else_is_refused(tmp_path, content: Any) -> None:
    """What is no datastore is refused, and left as it is."""
    path = tmp_path / "trials.db"
    if content == "other":
        connection = sqlite3.connect(path)
        connection.execute("CREATE TABLE pictures (x)")
        connection.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"trials\.db"):
        await TrialDatastore(path).start()
    assert path.read_bytes() == before


async def test_a_newer_file_is_refused(tmp_path) -> None:
    """A file whose tables have a later version is refused, with both versions."""
    path = tmp_path / "trials.db"
    async with TrialDatastore(path):
        pass
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    connection.close()
    with pytest.raises(StoreError, match=f"version {schema.VERSION + 1}, this one knows {schema.VERSION}"):
        await TrialDatastore(path).start()


async def test_an_older_file_is_brought_up_to_date(serve, tmp_path, monkeypatch) -> None:
    """A file of an earlier version gets the steps that it lacks, and keeps what is in it."""
    path = tmp_path / "trials.db"
    client = await serve(path)
    await client.log_all("trial", 2)
    await client.server.close(0.0)
    monkeypatch.setattr(schema, "_MIGRATIONS", (*schema._MIGRATIONS, "ALTER TABLE trials ADD COLUMN colour TEXT;"))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    client = await serve(path)
    assert len(await client.samples("trial")) == 2
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT colour FROM trials").fetchall() == [(None,)]
    assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
    connection.close()


async def test_a_file_that_cannot_be_made_is_an_error(tmp_path) -> None:
    """A path that leads nowhere is named."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        await TrialDatastore(tmp_path / "file" / "trials.db").start()


# --- disks that fail --------------------------------------------------------------------------------------------------


async def _health(channel: grpc.aio.Channel) -> int:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service="cogmentAPI.DatalogSP")
    return (await stub.Check(request, timeout=PATIENCE)).status


async def _until_health(channel: grpc.aio.Channel, status: int) -> None:
    while await _health(channel) != status:
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("text", ["disk I/O error", "database or disk is full"])
async def test_a_disk_that_fails_is_not_answered_for(serve, tmp_path, text: str) -> None:
    """C3: while the disk fails nothing is answered, and health says NOT_SERVING; reading goes on; then all is well."""
    disk = Disk()
    client = await serve(store=SqliteStore(tmp_path / "trials.db", disk.connect))
    log = await client.log("trial")
    await log.store(sample(0))
    disk.text, disk.fails = text, True
    await log.send(sample(1))
    code, details = await log.status()
    assert code is grpc.StatusCode.UNAVAILABLE
    assert text in details
    await _until_health(client.channel, health_pb2.HealthCheckResponse.NOT_SERVING)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.add_trial("other")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert (await client.info("trial")).samples_count == 1
    disk.repair()
    await _until_health(client.channel, health_pb2.HealthCheckResponse.SERVING)
    again = await client.log("trial")
    await again.store(sample(1), sample(2, last=True))
    assert len(await client.samples("trial")) == 3
    assert disk.misused == 0


async def test_a_deletion_that_failed_has_not_happened(serve, tmp_path) -> None:
    """A trial whose deletion could not be written is there as before, and is logged on."""
    disk = Disk()
    client = await serve(store=SqliteStore(tmp_path / "trials.db", disk.connect))
    await (await client.log("trial")).store(sample(0))
    disk.calls_left = 2  # to begin, and to delete; not to commit
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.delete("trial")
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    disk.repair()
    await _until_health(client.channel, health_pb2.HealthCheckResponse.SERVING)
    again = await client.log("trial")
    await again.store(sample(1), sample(2, last=True))
    assert [each.tick_id for each in await client.samples("trial")] == [0, 1, 2]


class Untidy(SqliteStore):
    """A store in which tidying up fails each time, as it does when what was deleted is damaged."""

    failures = 0

    def tidy(self) -> bool:
        self.failures += 1
        raise StoreError("database disk image is malformed")


async def test_what_cannot_be_tidied_up_keeps_nothing_from_being_stored(serve, tmp_path) -> None:
    """Tidying up is given up when it fails again and again, until there is more to tidy up."""
    store = Untidy(tmp_path / "trials.db")
    client = await serve(store=store)
    for _ in range(2):
        while store.failures < commits.TIDY_FAILURES:
            await asyncio.sleep(0.02)
        await _until_health(client.channel, health_pb2.HealthCheckResponse.SERVING)
        await client.log_all("trial", 2)
        assert store.failures == commits.TIDY_FAILURES
        store.failures = 0
        await client.delete("trial")


async def test_every_call_to_the_disk_may_fail(tmp_path) -> None:
    """C3: whichever call fails first, what was answered is there, and nothing that was not sent."""
    for first in range(0, 60, 7):
        disk = Disk()
        path = tmp_path / f"{first}.db"
        disk.calls_left = first
        answered = await _write_until_it_fails(path, disk)
        disk.repair()
        store = SqliteStore(path)
        store.open()
        for number, trial in enumerate(store.find(TrialQuery()).trials):
            ticks = answered[number] if number < len(answered) else 0
            assert trial.samples_count >= ticks, (first, answered)
            assert len(store.read(trial.number, -1).samples) == trial.samples_count <= 4
        assert len(store.find(TrialQuery()).trials) >= len(answered)
        store.close()
        assert disk.misused == 0


STEPS: list[list[Change]] = [
    [PutTrial("one", "carol", b"params", {"size": "small"})],
    [NewSample(1, tick, 0, 3, b"") for tick in range(3)],
    [PutTrial("two", "carol", b"params", {}), NewSample(1, 3, 0, 3, b""), LateReward(1, 1, b"digest", b"\x3a\x04late")],
    [NewSample(2, 0, 0, 3, b""), EndTrial(2, "lost"), NewSample(1, 4, 0, 5, b"")],
    [DeleteTrials(["two"]), NewSample(2, 1, 0, 3, b"")],
    [PutTrial("two", "dave", b"params", {}), NewSample(3, 0, 0, 5, b"")],
]
"""What is committed, group by group."""


@pytest.mark.parametrize("is_done", [False, True], ids=["not done", "done, and said to have failed"])
def test_whichever_call_to_the_disk_fails_what_is_repeated_then_is_stored_once(tmp_path, is_done: bool) -> None:
    """C3: for every n, when the n-th call to the disk fails, in vain or not, the store takes all of it after that."""
    disk = Disk()
    disk.is_done = is_done
    failed = -1
    for first in itertools.count():
        disk.repair()
        store = SqliteStore(tmp_path / f"{first}.db", disk.connect)
        disk.failed.clear()
        disk.calls_left = first
        _whatever_happens(disk, store, store.open)
        for step in STEPS:
            _whatever_happens(disk, store, partial(store.commit, step))
        while _whatever_happens(disk, store, store.tidy):
            pass
        trials = store.find(TrialQuery()).trials
        assert [(trial.trial_id, trial.samples_count, trial.last_state) for trial in trials] == [
            ("one", 5, 5),
            ("two", 1, 5),
        ]
        assert store.read(1, -1).samples == [b"", b"\x3a\x04late", b"", b"", b""]
        assert disk.misused == 0
        store.close()
        if not disk.failed:
            break
        failed = first
    assert failed > 30


def _whatever_happens(disk: Disk, store: SqliteStore, do: Callable[[], Any]) -> Any:
    """Do something with a store; if the disk fails, do it again, as whoever got no answer does."""
    try:
        return do()
    except StoreError:
        disk.repair()
        if do != store.open:
            store.recover()
        return do()


async def _write_until_it_fails(path: Path, disk: Disk) -> list[int]:
    """Log trials until the disk fails. Returns how many samples were answered, for each trial that was."""
    answered: list[int] = []
    try:
        async with (
            TrialDatastore(store=SqliteStore(path, disk.connect), port=0) as datastore,
            grpc.aio.insecure_channel(f"127.0.0.1:{datastore.port}") as channel,
        ):
            client = Client(channel)
            for number in range(4):
                log = await client.log(f"trial {number}")
                answered.append(0)
                for tick in range(4):
                    await log.store(sample(tick, last=tick == 3))
                    answered[-1] += 1
    except (StoreError, grpc.aio.AioRpcError, AssertionError):
        pass
    return answered


# --- disks that forget ------------------------------------------------------------------------------------------------


def test_a_page_is_bounded_whatever_the_size_of_samples(tmp_path) -> None:
    """A reader, and each that does not take what it asked for, holds a page in memory: some samples, a megabyte."""
    store = SqliteStore(tmp_path / "trials.db")
    store.open()
    (number,) = store.commit([PutTrial("trial", "carol", b"", {})])
    store.commit([NewSample(number, tick, 0, 3, bytes(300_000)) for tick in range(40)])
    after, pages = -1, []
    while (page := store.read(number, after)).samples:
        after = page.last
        pages.append(len(page.samples))
    assert pages == [4] * 10
    store.close()


def test_late_rewards_count_for_the_bounds_of_a_page(tmp_path) -> None:
    """Late rewards that are large make pages short, and none of them is left out."""
    store = SqliteStore(tmp_path / "trials.db")
    store.open()
    (number,) = store.commit([PutTrial("trial", "carol", b"", {})])
    late = StoredTrialSample(payloads=[bytes(300_000)]).SerializeToString()
    store.commit([NewSample(number, tick, 0, 3, b"") for tick in range(20)])
    store.commit([LateReward(number, tick, b"digest", late) for tick in range(0, 20, 2)])
    after, pages = -1, []
    while (page := store.read(number, after)).samples:
        after = page.last
        pages.append([len(sample) for sample in page.samples])
    assert [len(page) for page in pages] == [8, 8, 4]
    assert [size for page in pages for size in page] == [len(late), 0] * 10
    store.close()


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[bytes]]]:
    """A file with some trials, and the samples in it."""
    path = tmp_path_factory.mktemp("pristine") / "trials.db"

    async def fill() -> dict[str, list[bytes]]:
        async with (
            TrialDatastore(path, port=0) as datastore,
            grpc.aio.insecure_channel(f"127.0.0.1:{datastore.port}") as channel,
        ):
            client = Client(channel)
            for number in range(6):
                await client.log_all(f"trial {number}", 30, params(properties={"number": str(number)}))
            return {
                f"trial {number}": [each.SerializeToString() for each in await client.samples(f"trial {number}")]
                for number in range(6)
            }

    return path, asyncio.run(fill())


@pytest.mark.parametrize("seed", range(3))
def test_flipped_bits_never_give_a_wrong_sample(pristine: Any, tmp_path: Path, seed: int) -> None:
    """C5: with any one bit of the file changed, a sample is read as it was written, or not; damage is reported."""
    source, expected = pristine
    content = source.read_bytes()
    choose = random.Random(seed)
    unharmed = 0
    for _ in range(60):
        changed = bytearray(content)
        changed[choose.randrange(len(content))] ^= 1 << choose.randrange(8)
        path = tmp_path / "damaged.db"
        path.write_bytes(changed)
        unharmed += _check_damaged(path, expected)
    assert unharmed > 30 * len(expected)


def test_pages_in_the_wrong_place_never_give_a_wrong_sample(pristine: Any, tmp_path: Path) -> None:
    """Pages that a disk has written to the wrong place hold whole samples, which are not taken for those of another
    trial, nor given twice."""
    source, expected = pristine
    content, choose = source.read_bytes(), random.Random(1)
    path = tmp_path / "damaged.db"
    for _ in range(60):
        pages = [content[start : start + 4096] for start in range(0, len(content), 4096)]
        pages[choose.randrange(1, len(pages))] = choose.choice(pages[1:])
        path.write_bytes(b"".join(pages))
        _check_damaged(path, expected)


def _check_damaged(path: Path, expected: dict[str, list[bytes]]) -> int:
    """Read everything. Returns how many trials are whole."""
    store = SqliteStore(path)
    whole = 0
    try:
        with contextlib.suppress(StoreError):
            store.open()
            for trial_id, samples in expected.items():
                with contextlib.suppress(StoreError):
                    whole += _check_trial(store, trial_id, samples)
    finally:
        store.close()
    return whole


def _check_trial(store: SqliteStore, trial_id: str, expected: list[bytes]) -> bool:
    page = store.find(TrialQuery([trial_id]))
    if not page.trials:
        return False
    (trial,) = page.trials
    read = store.read(trial.number, -1)
    assert set(read.samples) <= set(expected)
    if len(read.samples) == len(expected):
        return True
    assert read.damaged or not read.over or read.expected != len(expected) or store.missing(trial.number) > 0
    return False


def test_the_file_is_found_sound(pristine: Any) -> None:
    """SQLite finds nothing wrong with a file that was closed, and its log is gone."""
    path, _ = pristine
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    found = connection.execute(
        "SELECT trial_id, samples_count, last_state, value FROM trials "
        "JOIN trial_states ON trial_states.trial = number JOIN trial_properties ON trial_properties.trial = number"
    ).fetchall()
    connection.close()
    assert found == [(f"trial {number}", 30, 5, str(number)) for number in range(6)]
    assert not path.with_name("trials.db-wal").exists()


def test_the_same_trial_keeps_its_number(tmp_path: Path) -> None:
    """A trial that is taken up again keeps its place; a deleted one does not give it away."""
    store = SqliteStore(tmp_path / "trials.db")
    store.open()
    first, second = store.commit([PutTrial("a", "", b"", {}), PutTrial("b", "", b"", {})])
    assert (first, second) == (1, 2)
    assert store.commit([PutTrial("a", "", b"", {})]) == [1]
    store.close()
