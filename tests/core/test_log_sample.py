"""Samples of the datalog."""

import json
import logging
from types import SimpleNamespace

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import BytesValue, Int32Value, StringValue
from hypothesis import given
from hypothesis import strategies as st

from cogment_core.api import common_pb2, datalog_pb2, environment_pb2
from cogment_core.enums import ActorStatus, TrialState
from cogment_core.errors import DecodeError, SpecsError, UsageError
from cogment_core.logs import logger
from cogment_core.parameters import ActorParameters, TrialParameters
from cogment_core.samples import LogParams, LogSample
from cogment_core.specs import ActorClass, ActorClassList

SPECS = SimpleNamespace(
    actor_classes=ActorClassList(
        ActorClass("player", None, Int32Value, StringValue), ActorClass("judge", None, BytesValue, StringValue)
    ),
    trial=SimpleNamespace(config_type=None),
    environment=SimpleNamespace(config_type=None),
)
ACTORS = [("ann", "player"), ("bob", "player"), ("eve", "player"), ("judge", "judge")]


def params(specs=SPECS):
    return TrialParameters(specs, actors=[ActorParameters(specs, kind, name=name) for name, kind in ACTORS])


def any_of(message):
    packed = AnyMessage()
    packed.Pack(message)
    return packed


def proto():
    """A sample in which Ann acted, Bob's default was used, Eve is unavailable and the judge acted."""
    return datalog_pb2.DatalogSample(
        info=datalog_pb2.SampleInfo(
            tick_id=7, timestamp=1000, state=common_pb2.RUNNING, special_events=["End requested", "Stale trial"]
        ),
        observations=environment_pb2.ObservationSet(
            tick_id=7,
            timestamp=1001,
            observations=[StringValue(value=text).SerializeToString() for text in ("players", "judges")],
            actors_map=[0, 0, 0, 1],
        ),
        actions=[
            common_pb2.Action(tick_id=7, timestamp=1002, content=Int32Value(value=1).SerializeToString()),
            common_pb2.Action(tick_id=-2),
            common_pb2.Action(tick_id=-2, content=b"left over"),
            common_pb2.Action(tick_id=-1, timestamp=1003),
        ],
        default_actors=[1],
        unavailable_actors=[2],
        rewards=[
            common_pb2.Reward(
                tick_id=7,
                receiver_name="player.*",
                value=0.5,
                sources=[common_pb2.RewardSource(sender_name="env", value=0.5, confidence=1.0)],
            )
        ],
        messages=[
            common_pb2.Message(
                tick_id=7, sender_name="env", receiver_name="ann", payload=any_of(StringValue(value="hello"))
            )
        ],
    )


def sample(**changes):
    data = proto()
    for name in changes.pop("without", ()):
        data.ClearField(name)
    return LogSample.from_proto(changes.pop("parameters", params()), data)


def test_the_information_of_a_sample():
    """Tick, time, state, synchrony and special events are those of the protocol's message."""
    it = sample()
    assert (it.out_of_sync, it.tick_id, it.timestamp, it.state) == (False, 7, 1000, TrialState.RUNNING)
    assert list(it.all_actor_names()) == ["ann", "bob", "eve", "judge"]


def test_events_are_a_list_that_prints_as_text():
    """Both readings work: existing code iterates, the reference says text."""
    events = sample().events
    assert events == ["End requested", "Stale trial"]
    assert json.loads(json.dumps(events)) == ["End requested", "Stale trial"]
    assert str(events) == f"{events}" == "End requested\nStale trial"
    assert str(LogSample.from_proto(params(), datalog_pb2.DatalogSample(info=datalog_pb2.SampleInfo())).events) == ""


def test_information_that_was_left_out_is_none():
    """Without `info` none of its attributes has a value."""
    it = sample(without=["info"])
    assert (it.out_of_sync, it.tick_id, it.timestamp, it.state, it.events) == (None,) * 5
    assert it.get_action("ann").action == Int32Value(value=1)


def test_an_out_of_sync_sample_has_no_state():
    """Its state is not set, which reads as UNKNOWN; a state of a newer protocol reads so, too."""
    data = datalog_pb2.DatalogSample(info=datalog_pb2.SampleInfo(out_of_sync=True, tick_id=2))
    it = LogSample.from_proto(params(), data)
    assert it.out_of_sync
    assert it.state is TrialState.UNKNOWN
    assert it.get_action("ann") is None
    assert it.get_observation("ann") is None
    data.info.state = 77
    assert it.state is TrialState.UNKNOWN


def test_an_action_is_decoded_with_its_class():
    """By name and by index; an empty content is a default message of the class."""
    it = sample()
    for key in ("ann", 0):
        action = it.get_action(key)
        assert (action.actor_index, action.tick_id, action.status) == (0, 7, ActorStatus.ACTIVE)
        assert (action.timestamp, action.action) == (1002, Int32Value(value=1))
    assert it.get_action("judge").action == BytesValue()
    assert it.get_action("judge").status is ActorStatus.ACTIVE


@pytest.mark.parametrize(("name", "status"), [("bob", ActorStatus.DEFAULT), ("eve", ActorStatus.UNAVAILABLE)])
def test_an_actor_that_did_not_act_has_no_action(name, status):
    """Default and unavailable actors have a status, the stored tick, no time and no action."""
    action = sample().get_action(name)
    assert (action.status, action.tick_id, action.timestamp, action.action) == (status, -2, 0, None)


def test_the_placeholders_of_the_last_sample_are_no_actions():
    """The last sample has a placeholder for each actor, which is not an action with default values."""
    data = datalog_pb2.DatalogSample(
        info=datalog_pb2.SampleInfo(tick_id=9, state=common_pb2.ENDED), actions=[common_pb2.Action(tick_id=-2)] * 4
    )
    it = LogSample.from_proto(params(), data)
    assert it.state is TrialState.ENDED
    assert {it.get_action(name).status for name in it.all_actor_names()} == {ActorStatus.UNAVAILABLE}
    assert it.get_action("ann").action is None


def test_actions_that_were_left_out_are_none():
    """Without actions there is nothing to tell, but the actor still has to exist."""
    it = sample(without=["actions"])
    assert it.get_action("ann") is None
    with pytest.raises(UsageError):
        it.get_action("nobody")


def test_an_observation_is_that_of_the_actor():
    """Actors may share one; it has the tick and time of its set."""
    it = sample()
    assert it.get_observation("bob").observation == StringValue(value="players")
    assert it.get_observation(3).observation == StringValue(value="judges")
    assert (it.get_observation(3).tick_id, it.get_observation(3).timestamp) == (7, 1001)
    assert sample(without=["observations"]).get_observation("ann") is None


def test_an_observation_without_tick_is_of_the_sample():
    """Environments send -1 for the next tick; the sample knows which one it was."""
    data = proto()
    data.observations.tick_id = -1
    assert LogSample.from_proto(params(), data).get_observation("ann").tick_id == 7


def test_payloads_are_decoded_once():
    """Asking again gives the same objects."""
    it = sample()
    assert it.get_action("ann") is it.get_action(0)
    assert it.get_action("ann").action is it.get_action(0).action
    assert it.get_observation("ann").observation is it.get_observation("ann").observation


@pytest.mark.parametrize("key", ["nobody", "", 4, -1, 10**30, 1.5, None, b"ann"])
def test_an_unknown_actor_is_refused(key):
    """Neither unknown names, nor indexes out of range, nor negative ones lead to another actor's data."""
    it = sample()
    for access in (it.get_action, it.get_observation):
        with pytest.raises(UsageError):
            access(key)


def test_a_sample_that_does_not_fit_its_trial_is_a_decode_error():
    """Too few actions or observations, or an index that leads nowhere, are told."""
    data = proto()
    del data.actions[1:]
    data.observations.actors_map[:] = [0, 5, -1]
    it = LogSample.from_proto(params(), data)
    assert it.get_action(0).action == Int32Value(value=1)
    for access in (lambda: it.get_action(1), *(lambda i=i: it.get_observation(i) for i in (1, 2, 3))):
        with pytest.raises(DecodeError, match="does not fit a trial of 4 actors"):
            access()


def test_a_payload_that_cannot_be_read_fails_when_looked_at():
    """The rest of the sample stays readable."""
    data = proto()
    data.actions[0].content = b"\xff"
    it = LogSample.from_proto(params(), data)
    action = it.get_action("ann")
    assert action.status is ActorStatus.ACTIVE
    with pytest.raises(DecodeError):
        _ = action.action


def test_without_specs_serialized_payloads_can_be_read():
    """Everything but the decoded payloads works."""
    it = sample(parameters=params(None))
    assert it.get_action("ann").action_serialized == Int32Value(value=1).SerializeToString()
    assert it.get_observation("ann").observation_serialized == StringValue(value="players").SerializeToString()
    with pytest.raises(SpecsError):
        _ = it.get_action("ann").action
    assert it.tick_id == 7


def test_rewards_and_messages_are_as_they_were_sent():
    """Receivers can be wildcards; senders are named in the sources and messages."""
    it = sample()
    [reward] = it.all_rewards()
    assert (reward.tick_id, reward.receiver_name, reward.value) == (7, "player.*", 0.5)
    assert [source.sender_name for source in reward.all_sources()] == ["env"]
    [message] = it.all_messages()
    assert (message.sender_name, message.receiver_name) == ("env", "ann")
    text = StringValue()
    assert message.payload.Unpack(text)
    assert text.value == "hello"
    assert list(sample(without=["rewards"]).all_rewards()) == []
    assert list(sample(without=["messages"]).all_messages()) == []


def test_serialized_samples_are_those_of_the_protocol():
    """`serialize` makes a `DatalogSample`; `deserialize` takes it, and forgets what was there."""
    raw = sample().serialize()
    assert datalog_pb2.DatalogSample.FromString(raw) == proto()
    it = LogSample(params())
    assert it.get_serialization_type() == 2
    it.deserialize(raw)
    assert it.to_proto() == proto()
    assert it.get_action("ann").action == Int32Value(value=1)
    other = proto()
    other.actions[0].content = Int32Value(value=2).SerializeToString()
    other.observations.observations[0] = b""
    del other.default_actors[:]
    it.get_observation("ann")
    it.deserialize(other.SerializeToString())
    assert it.get_action("ann").action == Int32Value(value=2)
    assert it.get_observation("ann").observation == StringValue()
    assert it.get_action("bob").status is ActorStatus.UNAVAILABLE


def test_without_data_there_is_nothing_to_read():
    """A new sample says where its data comes from."""
    it = LogSample(params())
    for access in (
        it.serialize,
        it.to_proto,
        it.all_rewards,
        it.all_messages,
        lambda: it.tick_id,
        lambda: it.state,
        lambda: it.get_action("ann"),
        lambda: it.get_observation("ann"),
    ):
        with pytest.raises(UsageError, match="no data yet"):
            access()
    assert list(it.all_actor_names()) == ["ann", "bob", "eve", "judge"]
    assert str(it) == "LogSample: no data"


def test_what_cannot_be_deserialized_changes_nothing():
    """Garbage is a decode error, text a usage error."""
    it = sample()
    for wrong, error in ((b"\xff\xff", DecodeError), ("text", UsageError)):
        with pytest.raises(error):
            it.deserialize(wrong)
    assert it.tick_id == 7


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(raw):
    """Whatever comes, reading it fails with our errors only."""
    it = LogSample(params())
    try:
        it.deserialize(raw)
        str(it)
        for name in it.all_actor_names():
            it.get_action(name)
            it.get_observation(name)
    except DecodeError:
        pass


def test_a_sample_needs_trial_parameters():
    """Nothing else says who the actors are; the deprecated `LogParams` are such parameters."""
    for wrong in (None, {}, common_pb2.TrialParams()):
        with pytest.raises(UsageError, match="TrialParameters"):
            LogSample(wrong)


def test_log_params_are_deprecated_trial_parameters(monkeypatch, caplog):
    """The old name works as the new one does, with a warning."""
    monkeypatch.setattr(logger, "DEPRECATED_LOGGED", set())
    with caplog.at_level(logging.WARNING, "cogment.sdk"):
        old = LogParams(SPECS, max_steps=5)
    assert "LogParams" in caplog.text
    assert old.max_steps == 5
    assert list(LogSample(old).all_actor_names()) == []


def test_a_sample_prints_what_it_is():
    """For logs and debugging."""
    assert str(sample()) == (
        "LogSample: tick_id = 7, state = RUNNING, timestamp = 1000, out_of_sync = False, "
        "events = ['End requested', 'Stale trial']"
    )
    assert "state = None" in str(sample(without=["info"]))
