"""The data that sessions receive, as classes of their own."""

from __future__ import annotations

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from cogment_core.api import common_pb2
from cogment_core.enums import ActorStatus, EventType, TrialState
from cogment_core.errors import DecodeError, SpecsError
from cogment_core.events import (
    ActorInfo,
    RecvAction,
    RecvEvent,
    RecvMessage,
    RecvObservation,
    RecvReward,
    RecvRewardSource,
)

HELLO = StringValue(value="hello")


def test_an_event_has_a_type_and_nothing_else():
    """Whatever is not there is None, or empty, and never shared between events."""
    event = RecvEvent(EventType.ACTIVE)
    assert (event.type, event.observation) == (EventType.ACTIVE, None)
    assert (event.actions, event.rewards, event.messages) == ([], [], [])
    event.actions.append(RecvAction(0, 0, ActorStatus.ACTIVE, 0, None))
    assert RecvEvent(EventType.ACTIVE).actions == []


def test_an_observation_is_decoded_once():
    """The same object each time, of the observation space; the bytes stay as they came."""
    observation = RecvObservation(3, 7, HELLO.SerializeToString(), StringValue)
    assert observation.observation == HELLO
    assert observation.observation is observation.observation
    assert observation.snapshot is observation.observation
    assert observation.observation_serialized == HELLO.SerializeToString()
    assert (observation.tick_id, observation.timestamp) == (3, 7)


def test_what_cannot_be_decoded_says_so_each_time():
    """Bytes that are something else raise a DecodeError that names the type; without specs it is a SpecsError."""
    for _ in range(2):
        bad = RecvObservation(0, 0, b"\xff", StringValue)
        with pytest.raises(DecodeError, match=r"an observation \(1 bytes\) cannot be read as 'google.protobuf.StringV"):
            _ = bad.observation
    with pytest.raises(SpecsError, match="an observation"):
        _ = RecvObservation(0, 0, b"", None).observation


def test_an_action_is_given_or_decoded():
    """An action is made with its message, or with the bytes that came; either has both forms."""
    given = RecvAction(1, 2, ActorStatus.ACTIVE, 3, Int32Value(value=4))
    came = RecvAction.from_content(1, 2, ActorStatus.ACTIVE, 3, given.action_serialized or b"", Int32Value)
    for action in (given, came):
        assert (action.actor_index, action.tick_id, action.status, action.timestamp) == (1, 2, ActorStatus.ACTIVE, 3)
        assert action.action == Int32Value(value=4)
        assert action.action is action.action
        assert action.action_serialized == Int32Value(value=4).SerializeToString()


def test_no_action():
    """An unavailable actor has neither a message nor bytes."""
    action = RecvAction(0, 0, ActorStatus.UNAVAILABLE, 0, None)
    assert action.action is None
    assert action.action_serialized is None


def test_a_reward_and_its_sources():
    """Sources are iterated over as often as wanted; unset user data is None."""
    data = AnyMessage()
    data.Pack(HELLO)
    reward = RecvReward.from_proto(
        common_pb2.Reward(
            tick_id=1,
            receiver_name="ann",
            value=2,
            sources=[
                common_pb2.RewardSource(sender_name="env", value=3, confidence=1, user_data=data),
                common_pb2.RewardSource(sender_name="bob", value=1, confidence=1),
            ],
        )
    )
    assert (reward.tick_id, reward.receiver_name, reward.value, reward.get_nb_sources()) == (1, "ann", 2, 2)
    for _ in range(2):
        assert [source.sender_name for source in reward.all_sources()] == ["env", "bob"]
    first, second = reward.all_sources()
    assert first.user_data == data
    assert second.user_data is None
    assert list(RecvReward(0, "ann", 0, ()).all_sources()) == []


def test_a_message():
    """A message has its payload packed, and an empty one if there was none."""
    wire = common_pb2.Message(tick_id=1, sender_name="bob", receiver_name="ann")
    assert RecvMessage.from_proto(wire).payload.type_url == ""
    wire.payload.Pack(HELLO)
    message = RecvMessage.from_proto(wire)
    unpacked = StringValue()
    assert message.payload.Unpack(unpacked)
    assert unpacked == HELLO


@pytest.mark.parametrize("keyword", ["actor_class", "class_name"])
def test_an_actor_takes_both_spellings_of_its_class(keyword: str):
    """Both names of the second parameter are in use."""
    assert ActorInfo("ann", **{keyword: "player"}).actor_class_name == "player"
    assert ActorInfo("ann", "player").actor_name == "ann"


@pytest.mark.parametrize(
    ("shown", "parts"),
    [
        (RecvEvent(EventType.FINAL), ["RecvEvent", "FINAL"]),
        (RecvObservation(3, 7, b"", None), ["RecvObservation", "tick_id = 3", "timestamp = 7"]),
        (RecvAction(1, 2, ActorStatus.ACTIVE, 3, None), ["RecvAction", "actor_index = 1", "status = ACTIVE"]),
        (RecvReward(1, "ann", 2.5, ()), ["RecvReward", "receiver_name = ann", "value = 2.5"]),
        (RecvRewardSource(1.5, 2.0, "bob", None), ["RecvRewardSource", "value = 1.5", "sender_name = bob"]),
        (RecvMessage(1, "bob", "ann", AnyMessage()), ["RecvMessage", "sender_name = bob", "receiver_name = ann"]),
        (ActorInfo("ann", "player"), ["ActorInfo", "ann", "player"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_everything_prints(shown: object, parts: list[str]):
    """All that is received has a text that tells what it is, without decoding anything."""
    assert all(part in str(shown) for part in parts)


def test_an_event_prints_what_it_has():
    """Only what is there is printed, without decoding it."""
    event = RecvEvent(EventType.ENDING)
    event.observation = RecvObservation(3, 7, b"\xff", StringValue)
    event.rewards = [RecvReward(1, "ann", 2.5, ())]
    text = str(event)
    assert all(part in text for part in ("ENDING", "tick_id = 3", "value = 2.5"))
    assert "actions" not in text


def test_the_numbers_of_the_enums():
    """Names and numbers are part of the protocol."""
    assert {member.name: member.value for member in EventType} == {"NONE": 0, "ACTIVE": 1, "ENDING": 2, "FINAL": 3}
    assert [member.name for member in ActorStatus] == ["UNKNOWN", "ACTIVE", "UNAVAILABLE", "DEFAULT"]
    assert [member.value for member in TrialState] == list(range(6))
    assert TrialState.ENDED.value != TrialState.ENDED
