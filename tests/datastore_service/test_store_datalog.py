"""``RunTrialDatalog`` of the Trial Datastore: what an answer means, and what becomes of a stream that breaks."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from storekit import PATIENCE, Log, late, params, reward, sample

from cogment_core.api import common_pb2, environment_pb2
from cogment_core.api.common_pb2 import ENDED, RUNNING
from cogment_core.api.datalog_pb2 import DatalogSample, RunTrialDatalogInput, SampleInfo
from cogment_core.api.trial_datastore_pb2 import StoredTrialSample
from cogment_core.channels import open_channel
from cogment_services.datastore import TrialDatastore
from cogment_services.datastore.datalog import DatalogService


async def test_each_message_is_answered_and_readable_then(client) -> None:
    """There is one answer for the parameters and one for each sample; an answered sample can be read."""
    log = await client.log("trial")
    info = await client.info("trial")
    assert (info.samples_count, info.last_state, info.user_id) == (0, common_pb2.UNKNOWN, "carol")
    assert info.params == params()
    follower = client.follow("trial")
    for tick in range(3):
        await log.store(sample(tick))
        assert (await follower.read()).trial_sample.tick_id == tick
        info = await client.info("trial")
        assert (info.samples_count, info.last_state) == (tick + 1, RUNNING)
    await log.store(sample(3, last=True))
    await log.complete()
    assert (await follower.read()).trial_sample.state == ENDED
    assert await follower.read() is grpc.aio.EOF
    assert (await client.info("trial")).last_state == ENDED


async def test_a_trial_is_logged_within_the_process(tmp_path) -> None:
    """The datastore serves callers of its own process in the same way, without a port."""
    async with TrialDatastore(tmp_path / "trials.db") as datastore, open_channel(datastore.endpoint) as channel:
        from storekit import Client

        client = Client(channel)
        await client.log_all("trial", 5)
        assert [each.tick_id for each in await client.samples("trial")] == list(range(5))
        assert datastore.port == 0


async def test_messages_that_are_sent_again_are_stored_once(client) -> None:
    """C7: an Orchestrator that comes back sends what was not answered again; nothing is there twice."""
    first = await client.log("trial")
    await first.store(*(sample(tick) for tick in range(200)))
    before = await _snapshot(client, "trial", 200)
    first.call.cancel()
    again = await client.log("trial")
    await again.store(*(sample(tick) for tick in range(100, 200)), sample(200, last=True))
    await again.complete()
    info = await client.info("trial")
    assert (info.samples_count, info.last_state) == (201, ENDED)
    samples = await client.samples("trial")
    assert [each.tick_id for each in samples] == list(range(201))
    assert samples[:200] == before


async def test_a_trial_that_is_run_again_takes_the_place_of_the_old_one(client) -> None:
    """What is answered can be read, also when the id was used before: other samples replace those of the same ticks."""
    await client.log_all("trial", 3)
    log = await client.log("trial")
    await log.store(late(1, reward("alice", 4.0)))  # still of the first run
    await log.store(*(sample(tick, last=tick == 2, size=100) for tick in range(3)))
    await log.store(late(0, reward("alice", 5.0)), sample(0, size=100))
    await log.complete()
    samples = await client.samples("trial")
    assert [(each.tick_id, len(each.payloads[0]) >= 100) for each in samples] == [(0, True), (1, True), (2, True)]
    assert [each.actor_samples[0].reward for each in samples] == [5.0, 0.0, 0.0]
    info = await client.info("trial")
    assert (info.samples_count, info.last_state) == (3, ENDED)


async def _snapshot(client: Any, trial_id: str, count: int) -> list[Any]:
    call = client.follow(trial_id)
    samples = [(await call.read()).trial_sample for _ in range(count)]
    call.cancel()
    return samples


async def test_a_late_reward_is_added_to_its_tick(client) -> None:
    """C8: an out-of-sync reward joins the rewards of its tick, once however often it is sent; all else stays."""
    log = await client.log("trial")
    await log.store(sample(0, rewards=[reward("alice", 2.0, "bob")]), sample(1))
    for _ in range(2):
        await log.store(late(0, reward("alice", 5.0, "bob", confidence=0.5)))
    await log.store(late(0, reward("bob", 7.0)))
    await log.store(sample(2, last=True))
    await log.complete()
    assert (await client.info("trial")).samples_count == 3
    tick, untouched, _ = await client.samples("trial")
    alice, bob = tick.actor_samples
    assert alice.reward == pytest.approx(3.0)
    assert [(each.sender, each.reward) for each in alice.received_rewards] == [(1, 2.0), (1, 5.0)]
    assert [(each.receiver, each.reward) for each in bob.sent_rewards] == [(0, 2.0), (0, 5.0)]
    assert [(each.sender, each.reward) for each in bob.received_rewards] == [(-1, 7.0)]
    assert (tick.state, tick.timestamp) == (RUNNING, 1_000)
    assert tick.payloads[alice.observation].startswith(b"0 ")
    assert tick.payloads[bob.action] == b"right"
    assert not untouched.actor_samples[0].received_rewards


async def test_a_late_reward_that_precedes_its_sample_waits_for_it(client) -> None:
    """An out-of-sync reward is kept when the sample of its tick comes only after it."""
    log = await client.log("trial")
    await log.store(late(0, reward("alice", 4.0)), sample(0), sample(1, last=True))
    await log.complete()
    assert (await client.info("trial")).samples_count == 2
    first, _ = await client.samples("trial")
    assert first.actor_samples[0].reward == 4.0


async def test_a_sample_that_is_read_and_put_back_is_the_same(client) -> None:
    """Late rewards are part of the sample that is read: they are not added again to the one that replaces it."""
    log = await client.log("trial")
    await log.store(sample(0), late(0, reward("alice", 4.0)), sample(1, last=True))
    await log.complete()
    before = await client.samples("trial")
    await client.add_samples("trial", before)
    assert await client.samples("trial") == before


async def test_a_late_reward_can_come_after_the_end(client) -> None:
    """A reward that comes after the last sample is added, and the trial stays ended."""
    log = await client.log("trial")
    await log.store(sample(0), sample(1, last=True), late(1, reward("alice", 4.0)))
    await log.complete()
    assert (await client.info("trial")).last_state == ENDED
    assert (await client.samples("trial"))[1].actor_samples[0].reward == 4.0


async def test_user_data_and_messages_keep_their_type(client) -> None:
    """User data and the payloads of messages are stored as whole ``Any`` messages."""
    data = AnyMessage(type_url="type.googleapis.com/a.Thing", value=b"thing")
    given = common_pb2.Reward(
        receiver_name="alice",
        sources=[common_pb2.RewardSource(sender_name="bob", value=1, confidence=1, user_data=data)],
    )
    message = common_pb2.Message(sender_name="env", receiver_name="bob", payload=data)
    log = await client.log("trial")
    await log.store(sample(0, last=True, rewards=[given], messages=[message]))
    await log.complete()
    (stored,) = await client.samples("trial")
    alice, bob = stored.actor_samples
    for place in (alice.received_rewards[0].user_data, bob.sent_rewards[0].user_data, bob.received_messages[0].payload):
        assert AnyMessage.FromString(stored.payloads[place]) == data
    assert bob.received_messages[0].sender == -1


async def test_what_samples_cannot_carry_is_in_the_file(serve, tmp_path) -> None:
    """Special events, and actors with default or no actions, are columns that any SQLite tool can read."""
    client = await serve(tmp_path / "trials.db")
    log = await client.log("trial")
    special = sample(0, last=True, default_actors=[1], unavailable_actors=[0])
    special.info.special_events.extend(["Stale trial"])
    await log.store(special)
    with sqlite3.connect(tmp_path / "trials.db") as connection:
        (row,) = connection.execute("SELECT tick, special_events, default_actors, unavailable_actors FROM samples")
    connection.close()
    assert row == (0, '["Stale trial"]', "[1]", "[0]")


# --- streams that end early -------------------------------------------------------------------------------------------


async def test_a_log_that_is_completed_early_ends_its_trial(client) -> None:
    """A stream that is completed without a last sample ends its trial, and those who follow it."""
    log = await client.log("trial")
    await log.store(sample(0))
    follower = asyncio.ensure_future(client.samples("trial"))
    await log.complete()
    assert len(await asyncio.wait_for(follower, PATIENCE)) == 1
    assert (await client.info("trial")).last_state == ENDED


async def test_a_trial_that_goes_on_after_its_end_is_not_left_open(client) -> None:
    """Its last sample says whether a trial is over, not any: otherwise those who follow it would wait for ever."""
    log = await client.log("trial")
    await log.store(sample(0), sample(2, last=True), sample(1), sample(3))
    assert (await client.info("trial")).last_state == RUNNING
    await log.complete()
    await asyncio.wait_for(client.until_over("trial"), PATIENCE)
    assert len(await client.samples("trial")) == 4


async def test_the_reason_of_an_end_is_kept(serve, tmp_path) -> None:
    """Why a trial is over stays in the file, also when time goes by."""
    client = await serve(tmp_path / "trials.db", resume_within=0.0)
    log = await client.log("trial")
    await log.store(sample(0))
    await log.complete()
    await client.log_all("other", 2)
    assert "incomplete" in _end_reason(tmp_path / "trials.db")


async def test_a_trial_that_was_given_up_is_taken_up_again(client) -> None:
    """An Orchestrator that returns to a trial that is over without a last sample opens it again."""
    log = await client.log("trial")
    await log.store(sample(0))
    await log.complete()
    again = await client.log("trial")
    assert (await client.info("trial")).last_state == RUNNING
    follower = asyncio.ensure_future(client.samples("trial"))
    await again.store(sample(0), sample(1), sample(2, last=True))
    assert len(await asyncio.wait_for(follower, PATIENCE)) == 3


class LostContext:
    """The context of a call whose client was killed: its stream seems to be complete at first."""

    def __init__(self, *messages: Any) -> None:
        self.messages = [*messages, grpc.aio.EOF]
        self.is_at_end = asyncio.Event()

    def invocation_metadata(self) -> Any:
        return (("trial-id", "trial"),)

    async def read(self) -> Any:
        message = self.messages.pop(0)
        if message is grpc.aio.EOF:
            self.is_at_end.set()
        return message

    async def write(self, message: Any) -> None:
        pass


async def test_a_log_whose_client_was_killed_is_not_taken_for_complete(client) -> None:
    """gRPC tells of a client that is gone in two steps: only after a while is an early end what its client wanted."""
    context = LostContext(RunTrialDatalogInput(trial_params=params()), RunTrialDatalogInput(sample=sample(0)))
    log = asyncio.create_task(DatalogService(client.server._archive).RunTrialDatalog(None, context))
    await asyncio.wait_for(context.is_at_end.wait(), PATIENCE)
    await asyncio.sleep(0.1)
    log.cancel()
    await asyncio.wait({log})
    assert log.cancelled()
    info = await client.info("trial")
    assert (info.samples_count, info.last_state) == (1, RUNNING)


async def test_a_lost_log_leaves_its_trial_open_for_a_while(serve, tmp_path) -> None:
    """A trial whose stream broke stays open, and its followers wait, until nobody has come back for some time."""
    client = await serve(tmp_path / "trials.db", resume_within=0.5)
    log = await client.log("trial")
    await log.store(sample(0))
    follower = client.follow("trial")
    await follower.read()
    log.call.cancel()
    again = await client.log("trial")
    await asyncio.sleep(0.7)  # longer than the trial would have waited for somebody who is there
    assert (await client.info("trial")).last_state == RUNNING
    await again.store(sample(1))
    assert (await follower.read()).trial_sample.tick_id == 1
    again.call.cancel()
    assert await follower.read() is grpc.aio.EOF
    assert (await client.info("trial")).last_state == ENDED
    assert "interrupted" in _end_reason(tmp_path / "trials.db")


def _end_reason(path: Any) -> str:
    connection = sqlite3.connect(path)
    (reason,) = connection.execute("SELECT end_reason FROM trial_states").fetchone()
    connection.close()
    return reason


async def test_trials_of_before_a_restart_are_ended(serve, tmp_path) -> None:
    """A11: what was running when the datastore stopped is over when nobody comes back to it; readers are done then."""
    client = await serve(tmp_path / "trials.db")
    logs = [await client.log(f"trial {number}") for number in range(20)]
    for log in logs:
        await log.store(sample(0), sample(1))
    await client.server.close(0.0)
    client = await serve(tmp_path / "trials.db", resume_within=0.5)
    again = await client.log("trial 0")
    for number in range(1, 20):
        assert len(await client.samples(f"trial {number}")) == 2
    assert (await client.info("trial 0")).last_state == RUNNING
    await again.store(sample(2, last=True))
    assert len(await client.samples("trial 0")) == 3


async def test_a_trial_that_is_deleted_while_it_is_logged_ends_its_log(client) -> None:
    """Samples for a trial that was deleted are refused with NOT_FOUND, and its followers are told."""
    log = await client.log("trial")
    await log.store(sample(0))
    follower = client.follow("trial")
    await follower.read()
    await client.delete("trial")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await follower.read()
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    await log.send(sample(1))
    assert (await log.status())[0] is grpc.StatusCode.NOT_FOUND
    await client.log_all("trial", 2)
    assert len(await client.samples("trial")) == 2


# --- what makes no sense ----------------------------------------------------------------------------------------------


def _without_info() -> DatalogSample:
    result = sample(1)
    result.ClearField("info")
    return result


def _mapped(*places: int) -> DatalogSample:
    result = sample(1)
    result.observations.CopyFrom(environment_pb2.ObservationSet(observations=[b"o"], actors_map=places))
    return result


NONSENSE = {
    "parameters again": params(),
    "nothing": RunTrialDatalogInput(),
    "no info": _without_info(),
    "an observation that is not there": _mapped(0, 1),
    "a negative observation": _mapped(-1, 0),
    "observations for strangers": _mapped(0, 0, 0),
    "actions of strangers": DatalogSample(info=SampleInfo(tick_id=1), actions=[common_pb2.Action() for _ in range(3)]),
    "a tick beyond all": DatalogSample(info=SampleInfo(tick_id=1 << 63)),
    "a time beyond all": DatalogSample(info=SampleInfo(tick_id=1, timestamp=1 << 63)),
}


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE.keys())
async def test_nonsense_is_refused(client, nonsense: Any) -> None:
    """A message that makes no sense ends its call with INVALID_ARGUMENT; what came before is stored and answered."""
    log = await client.log("trial")
    await log.send(sample(0), nonsense)
    await log.answers(1)
    code, details = await log.status()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "trial" in details
    assert (await client.info("trial")).samples_count == 1


async def test_bytes_that_are_no_message_are_refused(client) -> None:
    """What cannot be decoded ends its call with INVALID_ARGUMENT."""
    raw = client.channel.stream_stream("/cogmentAPI.DatalogSP/RunTrialDatalog")
    log = Log(raw(metadata=(("trial-id", "trial"),)))
    await log.send(RunTrialDatalogInput(trial_params=params()).SerializeToString())
    await log.answers(1)
    await log.send(b"\xff\xff\xff")
    assert (await log.status())[0] is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("ids", [[], ["a", "b"], [""], ["x" * 300]], ids=["none", "two", "empty", "long"])
async def test_a_log_needs_one_trial_id(client, ids: list[str]) -> None:
    """Without exactly one usable trial id, a log is refused."""
    log = Log(client.datalog.RunTrialDatalog(metadata=[("trial-id", each) for each in ids]))
    assert (await log.status())[0] is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_log_begins_with_parameters(client) -> None:
    """A log that begins with a sample, or has nothing at all, is refused, and leaves no trial behind."""
    for messages in ([sample(0)], []):
        log = Log(client.datalog.RunTrialDatalog(metadata=[("trial-id", "trial")]))
        await log.send(*messages)
        await log.call.done_writing()
        assert (await log.status())[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert not (await client.list()).trial_infos


async def test_a_message_that_would_fill_the_memory_is_refused(client) -> None:
    """Small messages that would become large are INVALID_ARGUMENT: too many actors, rewards for all of them."""
    log = Log(client.datalog.RunTrialDatalog(metadata=[("trial-id", "crowd")]))
    await log.send(common_pb2.TrialParams(actors=[common_pb2.ActorParams()] * 20_000))
    assert (await log.status())[0] is grpc.StatusCode.INVALID_ARGUMENT
    log = await client.log("trial", params(*(f"actor {number}" for number in range(1_000))))
    await log.send(DatalogSample(info=SampleInfo(), rewards=[reward("*", 1.0)] * 501))
    assert (await log.status())[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert (await client.info("trial")).samples_count == 0


@pytest.mark.parametrize(
    ("method", "tag"),
    [
        ("DatalogSP/RunTrialDatalog", 0x12),
        ("TrialDatastoreSP/AddTrial", 0x12),
        ("TrialDatastoreSP/AddSample", 0x0A),
        ("TrialDatastoreSP/RetrieveTrials", None),
        ("TrialDatastoreSP/RetrieveSamples", None),
        ("TrialDatastoreSP/DeleteTrials", None),
    ],
)
async def test_a_message_of_very_many_parts_is_refused(client, method: str, tag: int | None) -> None:
    """What is small for the network, and would take tens of times as much memory, is not even decoded."""
    await client.add_trial("trial")
    call = client.channel.stream_stream(f"/cogmentAPI.{method}")(metadata=(("trial-id", "trial"),), timeout=PATIENCE)
    log = Log(call)
    if "Datalog" in method:
        await log.send(RunTrialDatalogInput(trial_params=params()).SerializeToString())
        await log.answers(1)
    # In the message itself, or an inner one, of 1 << 22 bytes: half as many actors, or the like.
    head = b"" if tag is None else bytes([tag, 0x80, 0x80, 0x80, 0x02])
    await log.send(head + b"\x22\x00" * (1 << 21))
    await call.done_writing()
    code, details = await log.status()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "parts" in details
    assert (await client.info("trial")).samples_count == 0


async def test_a_sample_that_no_reader_could_take_is_refused(client, monkeypatch) -> None:
    """A sample that is stored can be sent: one that is too large for that is INVALID_ARGUMENT from the beginning."""
    monkeypatch.setattr("cogment_services.datastore.conversion.MAX_BYTES", 10_000)
    log = await client.log("trial")
    await log.store(sample(0, size=9_000))
    await log.send(sample(1, size=10_000))
    assert (await log.status())[0] is grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.add_samples("trial", [StoredTrialSample(tick_id=1, payloads=[bytes(10_000)])])
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (await client.info("trial")).samples_count == 1


async def test_late_rewards_have_a_limit(client, monkeypatch) -> None:
    """A tick has room for some late rewards; what is there already may come again, and what there is can be read."""
    for place in ("sqlite_store", "memory_store"):
        monkeypatch.setattr(f"cogment_services.datastore.{place}.MAX_LATE_BYTES", 100)
    log = await client.log("trial")
    first = late(0, reward("alice", 1.0))
    await log.store(sample(0), first, first, late(1, reward("alice", 2.0)), first)
    await log.send(late(0, reward("alice", 2.0)), late(0, reward("alice", 3.0)))
    await log.answers(1)
    assert (await log.status())[0] is grpc.StatusCode.RESOURCE_EXHAUSTED
    again = await client.log("trial")
    await again.store(sample(1, last=True))
    rewards = [len(each.actor_samples[0].received_rewards) for each in await client.samples("trial")]
    assert rewards == [2, 1]


async def test_a_sample_that_takes_long_to_convert_holds_up_nobody(client) -> None:
    """A small message can mean many rewards; other logs go on meanwhile."""
    crowd = [f"actor {number}" for number in range(1_000)]
    log = await client.log("crowd", params(*crowd))
    sources = [common_pb2.RewardSource(sender_name=name, value=1, confidence=1) for name in crowd[:100]]
    many = common_pb2.Reward(receiver_name="*", sources=sources)
    stored = asyncio.ensure_future(log.store(DatalogSample(info=SampleInfo(state=ENDED), rewards=[many])))
    others = 0
    while not stored.done():
        await asyncio.wait_for(client.log_all(f"other {others}", 2), PATIENCE)
        others += 1
    await stored
    assert others > 2
    (sample_of_crowd,) = await client.samples("crowd")
    assert {len(actor.received_rewards) for actor in sample_of_crowd.actor_samples} == {100}


async def test_odd_content_is_kept(client) -> None:
    """Rewards for nobody, messages without payload, numbers that are none: stored or left out, never a failure."""
    odd = sample(
        0,
        last=True,
        rewards=[
            reward("nobody", 1),
            reward("", 1),
            common_pb2.Reward(receiver_name="alice"),
            reward("bob", float("nan"), confidence=-1),
            reward("player.bob", 3.0),
        ],
        messages=[common_pb2.Message(sender_name="alice", receiver_name="*")],
        default_actors=[4_000_000_000],
    )
    odd.info.special_events.append("\x00\x1b[31m\n")
    log = await client.log("trial")
    await log.store(odd)
    await log.complete()
    (stored,) = await client.samples("trial")
    alice, bob = stored.actor_samples
    assert alice.HasField("reward")
    assert alice.reward == 0.0
    assert bob.reward == 3.0
    assert [each.receiver for each in alice.sent_messages] == [-1]
