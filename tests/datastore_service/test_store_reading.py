"""``RetrieveSamples``: following, filters, and what cannot be read."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import grpc
import pytest
from storekit import PATIENCE, params, reward, sample

from cogment_core.api.trial_datastore_pb2 import StoredTrialSampleField
from cogment_services.datastore.reading import PAGE_SAMPLES

FIELD = {name.removeprefix("STORED_TRIAL_SAMPLE_FIELD_").lower(): n for name, n in StoredTrialSampleField.items()}


async def test_all_readers_of_a_running_trial_see_every_sample(client) -> None:
    """C10: fast and slow readers, early and late ones, get every sample in order, and end with the trial."""
    count = 3 * PAGE_SAMPLES + 7
    log = await client.log("trial")
    halfway = asyncio.Event()

    async def read(pause: float, *, late: bool) -> list[int]:
        if late:
            await halfway.wait()
        ticks: list[int] = []
        async for reply in client.follow("trial"):
            ticks.append(reply.trial_sample.tick_id)
            if pause and len(ticks) % 100 == 0:
                await asyncio.sleep(pause)
        return ticks

    readers = [asyncio.ensure_future(read(0.01 * (n % 3), late=n % 2 == 0)) for n in range(10)]
    for tick in range(count):
        await log.send(sample(tick, last=tick == count - 1))
        if tick == count // 2:
            halfway.set()
    await log.answers(count)
    for ticks in await asyncio.wait_for(asyncio.gather(*readers), PATIENCE):
        assert ticks == list(range(count))


async def test_a_reader_that_does_not_read_holds_up_nobody(client) -> None:
    """Samples wait for a slow reader in the store, not in memory; others, and the log, are not slowed down."""
    log = await client.log("trial")
    sleeper = client.follow("trial")
    for tick in range(300):
        await log.store(sample(tick, last=tick == 299, size=100_000))
    assert len(await client.samples("trial")) == 300
    assert [reply.trial_sample.tick_id async for reply in sleeper] == list(range(300))


async def test_several_trials_are_read_in_one_call(client) -> None:
    """The samples of each trial come in order; the call ends when all of them are over."""
    for number in range(3):
        await client.log_all(f"trial {number}", 5)
    log = await client.log("live")
    reading = asyncio.ensure_future(client.samples("trial 0", "trial 1", "trial 2", "live", "trial 0"))
    await log.store(sample(0), sample(1, last=True))
    samples = await asyncio.wait_for(reading, PATIENCE)
    for number in range(3):
        assert [each.tick_id for each in samples if each.trial_id == f"trial {number}"] == list(range(5))
    assert [each.tick_id for each in samples if each.trial_id == "live"] == [0, 1]


async def test_no_ids_give_no_samples(client) -> None:
    """Without trial ids the call ends at once."""
    await client.log_all("trial", 2)
    assert await client.samples() == []


async def test_an_unknown_trial_is_not_found(client) -> None:
    """One unknown id fails the call with NOT_FOUND, before any sample."""
    await client.log_all("trial", 2)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.samples("trial", "unknown")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert "unknown" in str(caught.value.details())


# --- filters ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def filtered(client) -> Any:
    """Reads one trial of three actors in two classes with filters."""
    log = await client.log("trial", params("alice:red", "bob:red", "carol:blue"))
    full = sample(0, last=True, rewards=[reward("alice", 1.0, "bob")])
    full.observations.observations.append(b"for carol")
    full.observations.actors_map.append(1)
    full.actions.add(content=b"up")
    await log.store(full)
    await log.complete()

    async def read(**request: Any) -> Any:
        (result,) = await client.samples("trial", **request)
        return result

    return read


@pytest.mark.parametrize(
    ("request_", "kept"),
    [
        ({"actor_names": ["bob", "nobody"]}, [1]),
        ({"actor_classes": ["red"]}, [0, 1]),
        ({"actor_implementations": ["runs_carol"]}, [2]),
        ({"actor_classes": ["red"], "actor_names": ["alice", "carol"]}, [0]),
        ({"actor_names": ["nobody"]}, []),
        ({}, [0, 1, 2]),
    ],
)
async def test_actors_are_filtered(filtered, request_: dict[str, Any], kept: list[int]) -> None:
    """An actor is kept if it satisfies all filters; a sample is never dropped, unused payloads become empty."""
    result = await filtered(**request_)
    assert [actor.actor for actor in result.actor_samples] == kept
    assert len(result.payloads) == 5
    assert result.payloads[1] == (b"for carol" if 2 in kept else b"")


async def test_fields_are_filtered(filtered) -> None:
    """Only selected fields are there; field 0 selects nothing."""
    result = await filtered(selected_sample_fields=[FIELD["action"], FIELD["reward"]])
    alice = result.actor_samples[0]
    assert alice.HasField("action")
    assert alice.reward == 1.0
    assert not alice.HasField("observation")
    assert not alice.received_rewards
    assert [bool(payload) for payload in result.payloads] == [False, False, True, True, True]
    bare = await filtered(selected_sample_fields=[0])
    assert [[field.name for field, _ in actor.ListFields()] for actor in bare.actor_samples] == [
        [],
        ["actor"],
        ["actor"],
    ]


async def test_a_field_that_there_is_not_is_refused(filtered) -> None:
    """An unknown field is an INVALID_ARGUMENT."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await filtered(selected_sample_fields=[99])
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


# --- memory, and damage -----------------------------------------------------------------------------------------------


async def test_memory_is_bounded(serve) -> None:
    """Trials that are over lose their samples, the one first that was used least recently; its readers are told."""
    client = await serve(memory_bytes=100_000)
    for name in ("old", "used", "new"):
        log = await client.log(name)
        await log.store(sample(0, size=15_000), sample(1, size=15_000, last=True))
        await log.complete()
    await client.samples("old")
    log = await client.log("running")
    await log.store(sample(0, size=15_000), sample(1, size=15_000))
    assert len(await client.samples("old")) == 2
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.samples("used")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert (await client.info("used")).samples_count == 2
    await log.send(sample(2, size=80_000))
    code, details = await log.status()
    assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "memory" in details


async def test_a_reader_ends_when_its_trial_is_dropped_from_memory(serve) -> None:
    """A reader in the middle of a trial that has to make room is told, instead of being kept waiting."""
    client = await serve(memory_bytes=20_000_000)
    log = await client.log("big")
    for tick in range(18):
        await log.store(sample(tick, size=1_000_000, last=tick == 17))
    reader = client.follow("big")
    await reader.read()
    other = await client.log("other")
    for tick in range(10):
        await other.store(sample(tick, size=1_000_000))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        while await reader.read() is not grpc.aio.EOF:
            pass
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_damaged_sample_is_named_and_its_neighbours_are_read(serve, tmp_path) -> None:
    """C5: a changed bit in a sample is DATA_LOSS that names it; all other samples are sent before."""
    client = await serve(tmp_path / "trials.db")
    await client.log_all("trial", 10)
    await client.log_all("other", 3)
    connection = sqlite3.connect(tmp_path / "trials.db")
    with connection:
        (stored,) = connection.execute("SELECT sample FROM samples WHERE trial = 1 AND tick = 4").fetchone()
        changed = bytearray(stored)
        changed[len(changed) // 2] ^= 4
        connection.execute("UPDATE samples SET sample = ? WHERE trial = 1 AND tick = 4", (bytes(changed),))
    connection.close()
    call = client.follow("trial")
    ticks = [(await call.read()).trial_sample.tick_id for _ in range(9)]
    assert ticks == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert caught.value.code() is grpc.StatusCode.DATA_LOSS
    assert "[trial], tick 4" in str(caught.value.details())
    assert len(await client.samples("other")) == 3


async def test_a_lost_sample_is_noticed(serve, tmp_path) -> None:
    """A sample that has gone from the file without a trace is missed."""
    client = await serve(tmp_path / "trials.db")
    await client.log_all("trial", 10)
    connection = sqlite3.connect(tmp_path / "trials.db")
    with connection:
        connection.execute("DELETE FROM samples WHERE trial = 1 AND tick = 4")
    connection.close()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.samples("trial")
    assert caught.value.code() is grpc.StatusCode.DATA_LOSS
    assert "1 of 10" in str(caught.value.details())
