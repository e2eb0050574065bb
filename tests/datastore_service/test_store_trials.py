"""Listing, adding and deleting trials."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry
from storekit import PATIENCE, params, sample

from cogment_core.api import common_pb2
from cogment_core.api.common_pb2 import ENDED, RUNNING, StatusRequest, VersionRequest
from cogment_core.api.trial_datastore_pb2 import (
    AddSampleRequest,
    AddTrialRequest,
    StoredTrialActorSample,
    StoredTrialActorSampleReward,
    StoredTrialSample,
)


def stored(tick: int, state: int = RUNNING, **changes: Any) -> StoredTrialSample:
    return StoredTrialSample(
        tick_id=tick,
        state=state,
        timestamp=tick,
        actor_samples=[StoredTrialActorSample(actor=0, observation=0, action=1)],
        payloads=[b"observation", b"action"],
        **changes,
    )


# --- listing ----------------------------------------------------------------------------------------------------------


async def test_trials_are_listed_page_by_page(client) -> None:
    """Pages follow each other in the order of creation; a handle stays good when trials are deleted."""
    for number in range(7):
        await client.add_trial(f"trial {number}")
    first = await client.list(trials_count=3)
    assert [info.trial_id for info in first.trial_infos] == ["trial 0", "trial 1", "trial 2"]
    await client.delete("trial 1", "trial 3")
    second = await client.list(trials_count=3, trial_handle=first.next_trial_handle)
    assert [info.trial_id for info in second.trial_infos] == ["trial 4", "trial 5", "trial 6"]
    third = await client.list(trials_count=3, trial_handle=second.next_trial_handle)
    assert not third.trial_infos
    assert third.next_trial_handle == second.next_trial_handle
    everything = await client.list(trials_count=4_294_967_295, trial_handle="-5")
    assert len(everything.trial_infos) == 5


async def test_trials_are_found_by_id_and_properties(client) -> None:
    """Ids and properties narrow the list; what is unknown is not there, and repeated ids count once."""
    for number in range(4):
        properties = {"parity": str(number % 2), 'it\'s "odd"': "é" if number > 1 else ""}
        await client.add_trial(f"trial {number}", params(properties=properties))

    async def find(**request: Any) -> list[str]:
        return [info.trial_id for info in (await client.list(**request)).trial_infos]

    assert await find(trial_ids=["trial 3", "unknown", "trial 0", "trial 3"]) == ["trial 0", "trial 3"]
    assert await find(properties={"parity": "1"}) == ["trial 1", "trial 3"]
    assert await find(properties={"parity": "1", 'it\'s "odd"': "é"}) == ["trial 3"]
    assert await find(properties={"parity": "1"}, trial_ids=["trial 0", "trial 1"]) == ["trial 1"]
    assert await find(properties={"unknown": ""}) == []
    await client.add_trial("trial 1", params(properties={"parity": "none"}))
    assert await find(properties={"parity": "1"}) == ["trial 3"]
    assert await find(trial_ids=[f"trial {number}" for number in range(1500)]) == [f"trial {n}" for n in range(4)]


@pytest.mark.parametrize("handle", ["first", "1.5", "0x10", "\x00"])
async def test_a_handle_that_is_none_is_refused(client, handle: str) -> None:
    """A handle that no reply has had is an INVALID_ARGUMENT."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.list(trial_handle=handle)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_search_has_a_limit(client) -> None:
    """Too many properties are the caller's mistake, not a fault of the datastore."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.list(properties={f"property {number}": "" for number in range(101)})
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert not (await client.list(properties={f"property {number}": "" for number in range(100)})).trial_infos


async def test_a_listing_waits_for_trials_to_come(client) -> None:
    """With a timeout a listing waits until it has as many trials as wanted; running out of time is no error."""
    await client.add_trial("first")
    waiting = asyncio.ensure_future(client.list(timeout=15_000, trials_count=2))
    by_id = asyncio.ensure_future(client.list(timeout=15_000, trial_ids=["second", "second"]))
    await client.add_trial("second")
    reply = await asyncio.wait_for(waiting, PATIENCE / 2)
    assert [info.trial_id for info in reply.trial_infos] == ["first", "second"]
    assert [info.trial_id for info in (await asyncio.wait_for(by_id, PATIENCE / 2)).trial_infos] == ["second"]
    late = await client.list(timeout=50, trials_count=3)
    assert len(late.trial_infos) == 2
    none = await client.list(timeout=50, trial_handle=late.next_trial_handle)
    assert not none.trial_infos
    assert none.next_trial_handle == late.next_trial_handle


async def test_a_reply_that_no_client_could_take_is_refused(client, monkeypatch) -> None:
    """A listing without limit that is too large says so, instead of leaving trials out."""
    monkeypatch.setattr("cogment_services.datastore.listing.MAX_REPLY", 10_000)
    config = common_pb2.SerializedMessage(content=b"x" * 4_000)
    for number in range(4):
        await client.add_trial(f"trial {number}", params(trial_config=config))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.list()
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "trials_count" in str(caught.value.details())
    assert len((await client.list(trials_count=2)).trial_infos) == 2


# --- adding -----------------------------------------------------------------------------------------------------------


async def test_samples_are_added_and_replaced(client) -> None:
    """What is added is kept as it is, with the id of its trial; a sample of the same tick replaces another."""
    await client.add_trial("trial")
    await client.add_samples("trial", [stored(0, user_id="dave"), stored(1), stored(3)])
    await client.add_samples("trial", [stored(2, trial_id="trial"), stored(3, ENDED), stored(1, ENDED)])
    info = await client.info("trial")
    assert (info.samples_count, info.last_state) == (4, ENDED)
    samples = await client.samples("trial")
    assert [(each.tick_id, each.state) for each in samples] == [(0, RUNNING), (1, ENDED), (2, RUNNING), (3, ENDED)]
    assert samples[0] == stored(0, user_id="dave", trial_id="trial")


async def test_a_trial_that_is_added_again_keeps_its_samples(client) -> None:
    """Adding a trial that is there replaces its parameters and its user."""
    await client.log_all("trial", 3)
    await client.add_trial("trial", params("zoe"))
    info = await client.info("trial")
    assert (info.samples_count, info.params, info.user_id) == (3, params("zoe"), "carol")


async def test_more_samples_than_wait_at_a_time_are_added(client) -> None:
    """A long stream of samples is taken at the pace of the store."""
    await client.add_trial("trial")
    await client.add_samples("trial", (stored(tick, ENDED if tick == 5_999 else RUNNING) for tick in range(6_000)))
    assert (await client.info("trial")).samples_count == 6_000
    assert [each.tick_id for each in await client.samples("trial")] == list(range(6_000))


NONSENSE = {
    "of another trial": stored(1, trial_id="other"),
    "an actor that is not there": StoredTrialSample(tick_id=1, actor_samples=[StoredTrialActorSample(actor=2)]),
    "a payload that is not there": StoredTrialSample(tick_id=1, actor_samples=[StoredTrialActorSample(action=0)]),
    "a tick beyond all": StoredTrialSample(tick_id=1 << 40),
    "a sender that is nobody": StoredTrialSample(
        tick_id=1,
        actor_samples=[StoredTrialActorSample(received_rewards=[StoredTrialActorSampleReward(sender=-2)])],
    ),
    "no sample": None,
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE.keys())
async def test_a_sample_that_makes_no_sense_is_refused(client, nonsense: StoredTrialSample | None) -> None:
    """It is an INVALID_ARGUMENT; those before it are stored, and the service goes on."""
    await client.add_trial("trial")
    requests = [AddSampleRequest(trial_sample=stored(0)), AddSampleRequest(trial_sample=nonsense)]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.stub.AddSample(iter(requests), metadata=(("trial-id", "trial"),), timeout=PATIENCE)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    await client.add_samples("trial", [stored(1, ENDED)])
    assert [each.tick_id for each in await client.samples("trial")] == [0, 1]


async def test_samples_of_an_unknown_trial_are_refused(client) -> None:
    """They are NOT_FOUND; no samples at all are fine."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.add_samples("unknown", [stored(0)])
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    await client.add_samples("unknown", [])


@pytest.mark.parametrize("ids", [[], ["a", "b"], [""]])
async def test_one_trial_id_is_needed(client, ids: list[str]) -> None:
    """Adding needs exactly one trial id in the metadata."""
    metadata = [("trial-id", each) for each in ids]
    for call in (
        client.stub.AddTrial(AddTrialRequest(), metadata=metadata, timeout=PATIENCE),
        client.stub.AddSample(iter([AddSampleRequest()]), metadata=metadata, timeout=PATIENCE),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_trial_without_parameters_is_added(client) -> None:
    """A request without parameters adds a trial with empty ones."""
    await client.stub.AddTrial(AddTrialRequest(), metadata=(("trial-id", "trial"),), timeout=PATIENCE)
    assert (await client.info("trial")).params == common_pb2.TrialParams()


async def test_an_added_trial_is_followed(serve, tmp_path) -> None:
    """A trial without a log stays open while samples are added, and is over when nobody goes on for some time."""
    client = await serve(tmp_path / "trials.db", resume_within=0.5)
    await client.add_trial("trial")
    reading = asyncio.ensure_future(client.samples("trial"))
    await client.add_samples("trial", [stored(0)])
    assert len(await asyncio.wait_for(reading, PATIENCE)) == 1
    assert (await client.info("trial")).last_state == ENDED
    await client.add_samples("trial", [stored(1)])
    assert (await client.info("trial")).last_state == RUNNING


# --- deleting ---------------------------------------------------------------------------------------------------------


async def test_deleted_trials_are_gone(client) -> None:
    """Deleted trials, and their late rewards, are not there; unknown ones are passed over; ids can be used again."""
    for name in ("kept", "deleted"):
        await client.log_all(name, 3)
    await client.delete("deleted", "unknown", "deleted")
    await client.delete()
    assert [info.trial_id for info in (await client.list()).trial_infos] == ["kept"]
    await client.log_all("deleted", 2)
    assert [info.trial_id for info in (await client.list()).trial_infos] == ["kept", "deleted"]
    assert len(await client.samples("kept")) == 3
    assert len(await client.samples("deleted")) == 2


async def test_deletion_gives_the_space_back(serve, tmp_path) -> None:
    """The file shrinks after trials were deleted that had been written side by side, without being closed."""
    path = tmp_path / "trials.db"
    client = await serve(path)
    logs = [await client.log(f"trial {number}") for number in range(4)]
    for tick in range(0, 1500, 100):
        for log in logs:
            await log.store(*(sample(each, last=each == 1499, size=3_000) for each in range(tick, tick + 100)))
    before = _pages(path)
    await client.delete("trial 0", "trial 2")
    until = asyncio.get_running_loop().time() + PATIENCE
    while _pages(path) > before * 0.55:
        assert asyncio.get_running_loop().time() < until, (_pages(path), before)
        await asyncio.sleep(0.05)
    for number in (1, 3):
        assert len(await client.samples(f"trial {number}")) == 1500


def _pages(path: Any) -> int:
    connection = sqlite3.connect(path)
    count = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.close()
    return count


# --- the rest ---------------------------------------------------------------------------------------------------------


async def test_metrics(serve, tmp_path) -> None:
    """What is stored, sent and open can be counted."""
    registry = CollectorRegistry()
    client = await serve(tmp_path / "trials.db", prometheus_registry=registry)
    await client.log_all("trial", 3)
    await client.samples("trial")
    log = await client.log("open")
    await log.store(sample(0))

    def value(name: str) -> float:
        return registry.get_sample_value(f"trial_datastore_{name}") or 0.0

    assert (value("samples_total"), value("sent_samples_total"), value("open_trials")) == (4, 3, 1)
    assert value("sample_bytes_total") > 0
    assert value("size_bytes") > 4096
    assert value("commit_duration_seconds_count") > 1
    assert value("waiting_changes") == 0


async def test_version_and_status(client) -> None:
    """Both services say which version they are, and how they are."""
    for stub in (client.stub, client.datalog):
        names = [each.name for each in (await stub.Version(VersionRequest())).versions]
        assert "cogment" in names
        assert (await stub.Status(StatusRequest(names=["*"]))).statuses == {"overall_load": "0"}
        assert not (await stub.Status(StatusRequest())).statuses
