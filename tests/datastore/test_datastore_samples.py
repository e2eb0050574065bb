"""Reading samples, over each transport, against a datastore that keeps them as the existing one does."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from hypothesis import given
from hypothesis import strategies as st
from stored_trials import Move, View, episode, inner, recorded, sample_of, specs, trial_params, whole

from cogment_core.api import common_pb2
from cogment_core.api.trial_datastore_pb2 import (
    StoredTrialActorSample,
    StoredTrialActorSampleMessage,
    StoredTrialActorSampleReward,
    StoredTrialInfo,
    StoredTrialSample,
)
from cogment_core.enums import TrialState
from cogment_core.errors import DecodeError, ProtocolError, RpcError, SpecsError, UsageError
from cogment_datastore import Datastore, DatastoreFields, DatastoreSample, DatastoreTrialInfo

Make = Callable[[Any], Datastore]


async def samples_of(datastore: Datastore, *ids: str, **filters: Any) -> list[DatastoreSample]:
    """All samples of the trials ``ids``."""
    return [sample async for sample in datastore.all_samples(await datastore.get_trials(ids), **filters)]


def view(proto: StoredTrialSample, settings: Any = None) -> DatastoreSample:
    """What a user gets of ``proto``."""
    info = DatastoreTrialInfo(StoredTrialInfo(trial_id="t", params=trial_params()), settings)
    proto.trial_id = "t"
    return DatastoreSample(info.roster, proto)


# --- reading --------------------------------------------------------------------------------------------------------


async def test_samples_of_a_trial(server: Any, datastore: Datastore) -> None:
    """All samples come, in order, to the one that says that the trial ended."""
    server.add_trial("t", trial_params(), episode(3))
    samples = await samples_of(datastore, "t")
    assert [sample.tick_id for sample in samples] == [0, 1, 2]
    assert [sample.trial_state for sample in samples] == [TrialState.RUNNING, TrialState.RUNNING, TrialState.ENDED]
    assert {sample.trial_id for sample in samples} == {"t"}
    assert samples[1].timestamp == 1_700_000_001_000_000_000
    assert list(samples[0].actors_data) == ["alice", "bob", "carol"]
    assert repr(samples[2]) == "DatastoreSample('t', tick_id=2, ENDED)"


async def test_samples_of_several_trials_keep_their_actors(server: Any, datastore: Datastore) -> None:
    """Samples of trials with different actors can be mixed: each has the names of its own trial."""
    other = common_pb2.TrialParams(actors=[common_pb2.ActorParams(name="zoe", actor_class="player")])
    server.add_trial("a", trial_params(), episode(1))
    server.add_trial("b", other, [StoredTrialSample(state=common_pb2.ENDED, actor_samples=[StoredTrialActorSample()])])
    found = {sample.trial_id: list(sample.actors_data) for sample in await samples_of(datastore, "a", "b")}
    assert found == {"a": ["alice", "bob", "carol"], "b": ["zoe"]}


async def test_filters_go_to_the_server(server: Any, datastore: Datastore) -> None:
    """What is wanted is said in the request, so that nothing else travels; each trial is asked for once."""
    server.add_trial("t", trial_params(), episode(1))
    (info,) = await datastore.get_trials(["t"])
    fields = [DatastoreFields.ACTION, DatastoreFields.SENT_MESSAGES]
    [sample async for sample in datastore.all_samples([info, info], ["alice"], ["player"], ["random"], fields)]
    (request,) = server.requests("RetrieveSamples")
    assert list(request.trial_ids) == ["t"]
    assert (request.actor_names, request.actor_classes) == (["alice"], ["player"])
    assert request.actor_implementations == ["random"]
    assert request.selected_sample_fields == [2, 7]


async def test_no_trials_is_an_error(server: Any, datastore: Datastore) -> None:
    """Reading the samples of no trial is an error before anything is sent."""
    with pytest.raises(UsageError, match="at least one trial"):
        await anext(datastore.all_samples([]))
    assert not server.calls


@pytest.mark.parametrize(
    "arguments",
    [
        (["t"],),
        ([None],),
        ([...], "alice"),
        ([...], [1]),
        ([...], [], "player"),
        ([...], [], [], "random"),
        ([...], [], [], [], ["ACTION"]),
        ([...], [], [], [], [DatastoreFields.UNKNOWN]),
    ],
)
async def test_arguments_that_cannot_be(server: Any, datastore: Datastore, arguments: Any) -> None:
    """Trials are infos, names are texts in lists, and fields are those of `DatastoreFields`."""
    server.add_trial("t", trial_params(), episode(1))
    (info,) = await datastore.get_trials()
    trials = [info if trial is ... else trial for trial in arguments[0]]
    with pytest.raises(UsageError):
        await anext(datastore.all_samples(trials, *arguments[1:]))
    assert not server.requests("RetrieveSamples")


async def test_leaving_the_loop_ends_the_call(server: Any, datastore: Datastore) -> None:
    """Closing the iteration tells the server, which follows the trial otherwise."""
    server.add_trial("t", trial_params(), [sample_of(0)])
    server.follows = True
    samples = datastore.all_samples(await datastore.get_trials())
    assert (await anext(samples)).tick_id == 0
    await samples.aclose()
    await server.left.wait()


async def test_samples_are_read_no_faster_than_they_are_taken(server: Any, datastore: Datastore) -> None:
    """While nobody takes samples, the server is held back: only what fits into the connection is under way."""
    payload = bytes(100_000)
    samples = [StoredTrialSample(tick_id=tick, payloads=[payload]) for tick in range(2000)]
    server.add_trial("t", trial_params(), samples)
    reading = datastore.all_samples(await datastore.get_trials())
    assert (await anext(reading)).tick_id == 0
    before, quiet = -1, 0
    while quiet < 10:  # until nothing more is sent
        await asyncio.sleep(0.05)
        quiet = quiet + 1 if server.sent == before else 0
        before = server.sent
    assert server.sent < 500
    assert (await anext(reading)).tick_id == 1
    await reading.aclose()


async def test_a_trial_that_was_deleted_meanwhile_is_an_error(server: Any, datastore: Datastore) -> None:
    """A call that the server refuses is an error, not an end."""
    server.add_trial("t", trial_params(), episode(1))
    infos = await datastore.get_trials()
    del server.samples["t"]
    with pytest.raises(RpcError, match=r"RetrieveSamples.*no trial 't'"):
        await anext(datastore.all_samples(infos))


@pytest.mark.parametrize("status", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN])
async def test_a_broken_stream_is_an_error_even_after_the_last_sample(
    server: Any, datastore: Datastore, status: grpc.StatusCode
) -> None:
    """Whatever status but OK the server ends with, what was read does not pass as complete."""
    server.add_trial("t", trial_params(), episode(2))
    server.failure = None
    infos = await datastore.get_trials()
    server.failure = (status, "broken off")
    seen = []
    with pytest.raises(RpcError, match="broken off") as caught:
        async for sample in datastore.all_samples(infos):
            seen.append(sample.tick_id)
    assert caught.value.code() is status
    assert seen == [0, 1]


async def test_a_trial_without_its_last_sample_is_complained_about(
    server: Any, datastore: Datastore, caplog: pytest.LogCaptureFixture
) -> None:
    """When the server says that this was all, and a trial has no last sample, a warning names the trial."""
    server.add_trial("whole", trial_params(), episode(2))
    server.add_trial("cut", trial_params(), [sample_of(0)])
    with caplog.at_level(logging.WARNING, "cogment.sdk"):
        assert len(await samples_of(datastore, "whole", "cut")) == 3
    (record,) = caplog.records
    assert "no last sample of 1 of the trials (cut)" in record.getMessage()


async def test_a_sample_of_another_trial_is_an_error(server: Any, datastore: Datastore) -> None:
    """A sample that nobody asked for is not given names of another trial's actors."""
    server.add_trial("t", trial_params(), episode(1))
    server.samples["t"][0].trial_id = "other"
    with pytest.raises(ProtocolError, match=r"'other', which was not asked for"):
        await samples_of(datastore, "t")


async def test_specs_come_from_the_context(server: Any, make_datastore: Make) -> None:
    """With specs, observations and actions are messages of the types of the actor's class."""
    server.add_trial("t", trial_params(), episode(1 + 1))
    first, _ = await samples_of(make_datastore(specs()), "t")
    assert first.has_specs()
    data = first.actors_data["bob"]
    assert isinstance(data.observation, View)
    assert data.observation.label == "bob"
    assert isinstance(data.action, Move)
    assert first.actors_data["carol"].observation == StringValue(value="all")


# --- the data of an actor -------------------------------------------------------------------------------------------


def test_payloads_are_parsed_once() -> None:
    """An observation and an action are the same object each time."""
    data = view(sample_of(3), specs()).actors_data["alice"]
    assert data.observation is data.observation
    assert data.action is data.action
    assert data.action == Move(direction=3)
    assert (data.name, data.actor_class, data.implementation) == ("alice", "player", "random")
    assert data.has_specs()


def test_without_specs_the_serialized_forms_work() -> None:
    """Bytes are there without specs; the messages are not, and the error says what is missing."""
    data = view(sample_of(3)).actors_data["alice"]
    assert not data.has_specs()
    assert Move.FromString(data.action_serialized) == Move(direction=3)
    assert View.FromString(data.observation_serialized).label == "alice"
    with pytest.raises(SpecsError, match=r"specs .*the observation of 'alice' at tick 3 of trial 't'"):
        _ = data.observation
    with pytest.raises(SpecsError, match=r"specs .*the action of 'alice'"):
        _ = data.action


def test_missing_data_is_none() -> None:
    """What a sample does not have is None; a missing reward is 0.0, as programs add rewards up, and can be told."""
    data = view(StoredTrialSample(actor_samples=[StoredTrialActorSample(actor=1)]), specs()).actors_data["bob"]
    assert (data.observation, data.observation_serialized) == (None, None)
    assert (data.action, data.action_serialized) == (None, None)
    assert (data.reward, data.has_reward) == (0.0, False)
    assert [*data.all_received_rewards(), *data.all_sent_rewards()] == []
    assert [*data.all_received_messages(), *data.all_sent_messages()] == []


def test_an_action_in_the_last_sample_that_is_none() -> None:
    """The existing server keeps an empty action for actors that do not act on their last observation: that is none."""
    last = view(episode(2)[-1], specs()).actors_data["alice"]
    assert (last.action, last.action_serialized) == (None, None)
    before = view(sample_of(0), specs()).actors_data["alice"]
    assert (before.action, before.action_serialized) == (Move(), b"")


def test_a_class_that_the_specs_do_not_have() -> None:
    """Specs of another project: the error names the class."""
    settings = specs()
    proto = common_pb2.TrialParams(actors=[common_pb2.ActorParams(name="a", actor_class="playr")])
    info = DatastoreTrialInfo(StoredTrialInfo(params=proto), settings)
    sample = DatastoreSample(
        info.roster, StoredTrialSample(payloads=[b""], actor_samples=[StoredTrialActorSample(observation=0)])
    )
    with pytest.raises(SpecsError, match="'playr' is not in the specs"):
        _ = sample.actors_data["a"].observation


def test_a_payload_that_is_something_else() -> None:
    """Bytes that are not of the type that the specs say are an error that says whose they are."""
    proto = sample_of(3)
    proto.payloads[0] = b"\xff\xff"
    with pytest.raises(DecodeError, match="the observation of 'alice' at tick 3"):
        _ = view(proto, specs()).actors_data["alice"].observation


# --- rewards and messages -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [whole, inner], ids=["our server", "existing server"])
def test_senders_and_receivers(form: Callable[[str], bytes]) -> None:
    """The environment has its name, and the actor that a reward or message is kept with is its other end."""
    actors = view(recorded([form("well done"), form("hi"), form("all"), form("go")])).actors_data
    alice, bob = actors["alice"], actors["bob"]
    received = [(it.sender, it.receiver, it.value, it.confidence) for it in alice.all_received_rewards()]
    assert received == [("world", "alice", 1.0, 1.0), ("bob", "alice", 0.5, 1.0)]
    assert [(it.sender, it.receiver, it.value) for it in bob.all_sent_rewards()] == [("bob", "alice", 0.5)]
    assert [(it.sender, it.receiver) for it in alice.all_received_messages()] == [("bob", "alice")]
    assert [(it.sender, it.receiver) for it in bob.all_sent_messages()] == [("bob", "alice")]
    assert [(it.sender, it.receiver) for it in bob.all_received_messages()] == [("world", "bob")]
    assert [(it.sender, it.receiver) for it in alice.all_sent_messages()] == [("alice", "world")]
    assert alice.reward == 0.75
    assert alice.has_reward


@pytest.mark.parametrize("form", [whole, inner], ids=["our server", "existing server"])
def test_user_data_and_payloads_can_be_read_from_both_servers(form: Callable[[str], bytes]) -> None:
    """The value of an ``Any`` is the message that was sent, and what is stored can be had as it is."""
    actors = view(recorded([form("well done"), form("hi"), form("all"), form("go")])).actors_data
    from_environment, from_bob = actors["alice"].all_received_rewards()
    (message,) = actors["bob"].all_received_messages()
    assert StringValue.FromString(from_environment.user_data.value).value == "well done"
    assert from_environment.user_data is from_environment.user_data
    assert (from_bob.user_data, from_bob.user_data_serialized) == (None, None)
    assert StringValue.FromString(message.payload.value).value == "go"
    assert message.payload is message.payload
    assert message.payload_serialized == form("go")
    assert message.payload.Unpack(StringValue()) is (form is whole)


def test_environment_without_a_name() -> None:
    """An environment that the parameters do not name is called ``env``."""
    params = trial_params()
    params.environment.name = ""
    info = DatastoreTrialInfo(StoredTrialInfo(params=params), None)
    sample = DatastoreSample(info.roster, recorded([whole("x")] * 4))
    assert [it.sender for it in sample.actors_data["alice"].all_received_rewards()] == ["env", "bob"]


# --- samples that contradict themselves -----------------------------------------------------------------------------


def test_an_actor_that_the_trial_does_not_have() -> None:
    """A sample about an actor that its trial does not have is an error; its time and state can be read."""
    sample = view(StoredTrialSample(tick_id=3, actor_samples=[StoredTrialActorSample(actor=3)]))
    assert sample.tick_id == 3
    with pytest.raises(DecodeError, match=r"actor #3, and its trial has 3"):
        _ = sample.actors_data


def test_an_actor_twice() -> None:
    """Two entries about one actor are an error: neither hides the other."""
    actors = [StoredTrialActorSample(actor=1, reward=1), StoredTrialActorSample(actor=1, reward=2)]
    with pytest.raises(DecodeError, match=r"2 entries about 1 actors: bob"):
        _ = view(StoredTrialSample(actor_samples=actors)).actors_data


@pytest.mark.parametrize("index", [7, 2**32 - 1])
def test_a_payload_that_the_sample_does_not_have(index: int) -> None:
    """Wherever a payload is missing, looking at it is an error, and the rest can be read."""
    proto = recorded([whole("x")] * 4)
    alice = proto.actor_samples[0]
    alice.observation = alice.action = index
    alice.received_rewards[0].user_data = index
    alice.received_messages[0].payload = index
    alice.sent_messages[0].payload = index
    data = view(proto, specs()).actors_data["alice"]
    for read in (
        lambda: data.observation,
        lambda: data.observation_serialized,
        lambda: data.action,
        lambda: list(data.all_received_rewards()),
        lambda: list(data.all_received_messages()),
        lambda: list(data.all_sent_messages()),
    ):
        with pytest.raises(DecodeError, match=rf"tick 7 of trial 't' refers to payload #{index}, and has 5"):
            read()
    assert data.reward == 0.75
    assert len(list(view(proto).actors_data["bob"].all_sent_messages())) == 1


@pytest.mark.parametrize("index", [-2, 3, 2**31 - 1, -(2**31)])
def test_a_sender_or_receiver_that_the_trial_does_not_have(index: int) -> None:
    """Only -1 is the environment: other numbers that are no actor's are errors, not names of others."""
    proto = recorded([whole("x")] * 4)
    alice, bob = proto.actor_samples
    alice.received_rewards[0].sender = index
    alice.received_messages[0].sender = index
    bob.sent_rewards[0].receiver = index
    bob.sent_messages[0].receiver = index
    actors = view(proto).actors_data
    for things in (
        actors["alice"].all_received_rewards(),
        actors["alice"].all_received_messages(),
        actors["bob"].all_sent_rewards(),
        actors["bob"].all_sent_messages(),
    ):
        with pytest.raises(DecodeError, match=f"actor #{index}, and its trial has 3"):
            next(things)


INDEXES = st.integers(0, 6) | st.integers(0, 2**32 - 1)
PEERS = st.integers(-2, 4) | st.integers(-(2**31), 2**31 - 1)
REWARDS = st.lists(
    st.builds(
        StoredTrialActorSampleReward, sender=PEERS, receiver=PEERS, reward=st.floats(width=32), user_data=INDEXES
    ),
    max_size=2,
)
MESSAGES = st.lists(st.builds(StoredTrialActorSampleMessage, sender=PEERS, receiver=PEERS, payload=INDEXES), max_size=2)
ACTORS = st.builds(
    StoredTrialActorSample,
    actor=st.integers(0, 3),
    observation=INDEXES,
    action=INDEXES,
    received_rewards=REWARDS,
    sent_rewards=REWARDS,
    received_messages=MESSAGES,
    sent_messages=MESSAGES,
)


@given(
    st.builds(
        StoredTrialSample,
        state=st.integers(0, 9),
        actor_samples=st.lists(ACTORS, max_size=4),
        payloads=st.lists(st.binary(max_size=12) | st.sampled_from([inner("a"), whole("a")]), max_size=6),
    )
)
def test_whatever_a_server_sends_is_read_or_refused(proto: StoredTrialSample) -> None:
    """A sample with numbers and bytes of any kind gives what it says, or a `DecodeError`: nothing else."""
    sample = view(proto, specs())
    try:
        actors = sample.actors_data
    except DecodeError:
        indexes = [actor.actor for actor in proto.actor_samples]
        assert max(indexes) > 2 or len(set(indexes)) < len(indexes)
        return
    for name, data in actors.items():
        entry = next(it for it in proto.actor_samples if it.actor == ["alice", "bob", "carol"].index(name))
        if (content := read_or_refuse(lambda data=data: data.observation_serialized)) is not None:
            assert content == proto.payloads[entry.observation]
        read_or_refuse(lambda data=data: (data.observation, data.action))
        for reward in read_or_refuse(lambda data=data: list(data.all_received_rewards())) or ():
            assert (reward.receiver, reward.sender in ("world", "alice", "bob", "carol")) == (name, True)
        for message in read_or_refuse(lambda data=data: list(data.all_sent_messages())) or ():
            assert message.payload_serialized in proto.payloads
            assert message.payload.value in message.payload_serialized


def read_or_refuse(read: Callable[[], Any]) -> Any:
    """What ``read`` gives, None if it is refused."""
    try:
        return read()
    except DecodeError:
        return None


async def test_a_bad_sample_leaves_its_neighbours_readable(server: Any, datastore: Datastore) -> None:
    """Reading goes on after a sample that contradicts itself."""
    samples = episode(3)
    samples[1].actor_samples[0].actor = 99
    server.add_trial("t", trial_params(), samples)
    readable = []
    for sample in await samples_of(datastore, "t"):
        try:
            readable.append((sample.tick_id, len(sample.actors_data)))
        except DecodeError:
            readable.append((sample.tick_id, "bad"))
    assert readable == [(0, 3), (1, "bad"), (2, 3)]
