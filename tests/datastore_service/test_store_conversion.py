"""From the samples of the Orchestrator to stored ones, for any sample that makes sense."""

from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from hypothesis import given, settings
from hypothesis import strategies as st
from storekit import late, params, reward

from cogment_core.api import common_pb2, environment_pb2
from cogment_core.api.datalog_pb2 import DatalogSample, SampleInfo
from cogment_core.api.trial_datastore_pb2 import StoredTrialSample
from cogment_services.datastore.conversion import SampleConverter, check_sample, merge_late
from cogment_services.datastore.store import LateReward, NewSample

NAMES = ("alice", "bob", "carol")
CLASSES = ("red", "red", "blue")
PARAMS = params(*(f"{name}:{actor_class}" for name, actor_class in zip(NAMES, CLASSES, strict=True)))

names = st.sampled_from([*NAMES, "env", "", "*"])
patterns = st.sampled_from([*NAMES, "*", "*.*", "red.*", "red.bob", "blue.bob", "nobody", "", "red", "blue.*"])
numbers = st.floats(-100, 100, width=32)
payloads = st.binary(max_size=8)
user_data = st.one_of(st.none(), st.builds(AnyMessage, type_url=st.text(max_size=5), value=payloads))
sources = st.builds(
    common_pb2.RewardSource,
    sender_name=names,
    value=numbers,
    confidence=st.floats(-1, 1, width=32),
    user_data=user_data,
)
rewards = st.builds(common_pb2.Reward, receiver_name=patterns, sources=st.lists(sources, max_size=3))
messages = st.builds(common_pb2.Message, sender_name=names, receiver_name=names, payload=user_data)


@st.composite
def samples(draw: st.DrawFn) -> DatalogSample:
    seen = draw(st.lists(payloads, max_size=3))
    places = st.integers(0, len(seen) - 1)
    sample = DatalogSample(
        info=SampleInfo(tick_id=draw(st.integers(0, 2**32 - 1)), timestamp=draw(st.integers(0, 2**63 - 1)), state=3),
        actions=[common_pb2.Action(content=draw(payloads)) for _ in range(draw(st.integers(0, len(NAMES))))],
        rewards=draw(st.lists(rewards, max_size=4)),
        messages=draw(st.lists(messages, max_size=3)),
    )
    if draw(st.booleans()):
        mapped = draw(st.lists(places, max_size=len(NAMES))) if seen else []
        sample.observations.CopyFrom(environment_pb2.ObservationSet(observations=seen, actors_map=mapped))
    return sample


def convert(sample: DatalogSample) -> Any:
    before = sample.SerializeToString(deterministic=True)
    change = SampleConverter("trial", 7, PARAMS).convert(sample)
    assert sample.SerializeToString(deterministic=True) == before
    assert change.trial == 7
    return change


def receivers(pattern: str) -> list[int]:
    """The rule of the protocol, spelt out."""
    if pattern in ("*", "*.*"):
        return [0, 1, 2]
    if "." in pattern:
        actor_class, name = pattern.split(".")
        return [i for i in range(3) if CLASSES[i] == actor_class and name in ("*", NAMES[i])]
    return [i for i in range(3) if NAMES[i] == pattern]


@given(samples())
@settings(max_examples=150)
def test_everything_is_where_the_protocol_says(sample: DatalogSample) -> None:
    """Each actor has its observation, its action, its rewards and its messages, on both sides."""
    change = convert(sample)
    assert isinstance(change, NewSample)
    stored = StoredTrialSample.FromString(change.sample)
    check_sample(stored, len(NAMES))
    assert (stored.trial_id, stored.tick_id, stored.timestamp) == ("trial", change.tick, change.timestamp)
    assert [actor.actor for actor in stored.actor_samples] == [0, 1, 2]
    for index, actor in enumerate(stored.actor_samples):
        observations = sample.observations
        assert actor.HasField("observation") == (index < len(observations.actors_map))
        if actor.HasField("observation"):
            seen = observations.observations[observations.actors_map[index]]
            assert stored.payloads[actor.observation] == seen
        assert actor.HasField("action") == (index < len(sample.actions))
        if actor.HasField("action"):
            assert stored.payloads[actor.action] == sample.actions[index].content
        _check_rewards(sample, stored, index)
        _check_messages(sample, stored, index)


def test_user_data_for_many_is_stored_once() -> None:
    """A reward for all actors takes its user data once, not once for each of them: a sample stays as small."""
    given = common_pb2.RewardSource(sender_name="bob", value=1, confidence=1, user_data=AnyMessage(value=b"x" * 10_000))
    sample = DatalogSample(info=SampleInfo(), rewards=[common_pb2.Reward(receiver_name="*", sources=[given] * 2)])
    change = convert(sample)
    stored = StoredTrialSample.FromString(change.sample)
    assert [AnyMessage.FromString(payload) for payload in stored.payloads] == [given.user_data] * 2
    for actor in stored.actor_samples:
        assert [entry.user_data for entry in actor.received_rewards] == [0, 1]
    assert [entry.user_data for entry in stored.actor_samples[1].sent_rewards] == [0, 1] * 3


def _check_rewards(sample: DatalogSample, stored: StoredTrialSample, index: int) -> None:
    actor = stored.actor_samples[index]
    received = [
        (source, reward)
        for reward in sample.rewards
        if index in receivers(reward.receiver_name)
        for source in reward.sources
    ]
    assert len(actor.received_rewards) == len(received)
    for entry, (source, _) in zip(actor.received_rewards, received, strict=True):
        assert (entry.reward, entry.confidence) == (source.value, source.confidence)
        assert entry.sender == (NAMES.index(source.sender_name) if source.sender_name in NAMES else -1)
        assert entry.HasField("user_data") == source.HasField("user_data")
        if entry.HasField("user_data"):
            assert AnyMessage.FromString(stored.payloads[entry.user_data]) == source.user_data
    assert actor.HasField("reward") == any(index in receivers(reward.receiver_name) for reward in sample.rewards)
    total = sum(source.confidence for source, _ in received if source.confidence > 0)
    if total > 1e-3:
        mean = sum(source.value * source.confidence for source, _ in received if source.confidence > 0) / total
        assert actor.reward == pytest.approx(mean, rel=1e-3, abs=1e-3)
    sent = [
        receiver
        for reward in sample.rewards
        for receiver in receivers(reward.receiver_name)
        for source in reward.sources
        if source.sender_name == NAMES[index]
    ]
    assert [entry.receiver for entry in actor.sent_rewards] == sent


def _check_messages(sample: DatalogSample, stored: StoredTrialSample, index: int) -> None:
    actor = stored.actor_samples[index]
    for entries, given_messages in (
        (actor.received_messages, [m for m in sample.messages if m.receiver_name == NAMES[index]]),
        (actor.sent_messages, [m for m in sample.messages if m.sender_name == NAMES[index]]),
    ):
        assert [AnyMessage.FromString(stored.payloads[entry.payload]) for entry in entries] == [
            message.payload for message in given_messages
        ]


@given(samples(), st.lists(rewards, max_size=4))
@settings(max_examples=100)
def test_rewards_that_come_late_are_as_if_they_had_come_in_time(sample: DatalogSample, added: list[Any]) -> None:
    """Merging late rewards gives what the sample would have been with them, up to the order of payloads."""
    tick = sample.info.tick_id
    in_time = DatalogSample()
    in_time.CopyFrom(sample)
    in_time.rewards.extend(added)
    change = convert(late(tick, *added))
    assert isinstance(change, LateReward)
    merged = StoredTrialSample.FromString(merge_late(convert(sample).sample, [change.sample]))
    check_sample(merged, len(NAMES))
    expected = StoredTrialSample.FromString(convert(in_time).sample)
    for actor, wanted in zip(merged.actor_samples, expected.actor_samples, strict=True):
        assert [(e.sender, e.reward) for e in actor.received_rewards] == [
            (e.sender, e.reward) for e in wanted.received_rewards
        ]
        assert [_data(merged, e) for e in actor.received_rewards] == [
            _data(expected, e) for e in wanted.received_rewards
        ]
        assert len(actor.sent_rewards) == len(wanted.sent_rewards)
        assert math.isclose(actor.reward, wanted.reward, rel_tol=1e-5, abs_tol=1e-5)
        assert actor.HasField("reward") == wanted.HasField("reward")


def _data(sample: StoredTrialSample, entry: Any) -> bytes | None:
    return sample.payloads[entry.user_data] if entry.HasField("user_data") else None


def test_late_rewards_are_told_apart() -> None:
    """The same reward sent twice is one; the same reward given twice, at different times, is two."""
    first = convert(late(3, reward("alice", 1.0)))
    again = convert(late(3, reward("alice", 1.0)))
    other = convert(late(3, reward("alice", 1.0), timestamp=5_001))
    assert first.digest == again.digest != other.digest
