"""Rewards and messages: whom they reach, when, and what is kept of them."""

from __future__ import annotations

import math

import pytest
from engine_stage import Stage
from google.protobuf.any_pb2 import Any as AnyMessage

from cogment_core.api.common_pb2 import LAST, NORMAL, Message, Reward, RewardSource
from cogment_core.api.environment_pb2 import EnvRunTrialOutput
from cogment_services.orchestrator.limits import Limits

TRIO = ({"name": "x", "actor_class": "player"}, {"name": "y", "actor_class": "judge"}, {"name": "z"})


def test_rewards_come_with_the_next_observation() -> None:
    """All of a tick in one: sources in the order they came, each with who really sent it, and their weighted mean."""
    stage = Stage({}, {}).begin()
    stage.observe()
    stage.reward(None, "a0", 4.0, 1.0)
    stage.reward(1, "a0", 1.0, 0.5, tick=0)
    stage.reward(1, "a0", 50.0, 0.0)
    stage.hear()
    stage.observe()
    assert stage.hear() == [
        "a0: reward 0 3 [env 4*1, a1 1*0.5, a1 50*0]",
        "a0: observation 1 o0",
        "a1: observation 1 o1",
    ]
    index, message = stage.sent_to_actors[-3]
    assert (index, message.reward.receiver_name) == (0, "a0")


def test_rewards_before_the_first_observation_come_with_it() -> None:
    """They are for tick 0, like those that come after it."""
    stage = Stage({}).begin()
    stage.reward(None, "a0", 1.0)
    stage.observe()
    stage.reward(None, "a0", 2.0)
    stage.observe()
    assert [text for text in stage.hear() if "reward" in text] == [
        "a0: reward 0 1 [env 1*1]",
        "a0: reward 0 2 [env 2*1]",
    ]


@pytest.mark.parametrize(
    ("receiver", "reached"),
    [("y", "y"), ("*", "xyz"), ("player.*", "xz"), ("judge.*", "y"), ("player.z", "z"), ("player.y", ""), ("env", "")],
)
def test_rewards_reach_whom_their_receiver_names(receiver: str, reached: str) -> None:
    """An actor, all actors, a class, an actor of a class; never the environment."""
    stage = Stage(*TRIO).begin()
    stage.observe()
    stage.reward(None, receiver, 1.0)
    stage.hear()
    stage.observe()
    assert "".join(text[0] for text in stage.hear() if "reward" in text) == reached


@pytest.mark.parametrize("tick", [0, 1])
def test_rewards_for_a_past_tick_are_logged_only(tick: int) -> None:
    """They never reach an actor; one that comes too late for its sample is logged in one of its own, at once."""
    stage = Stage({}, nb_buffered_ticks=3).begin()
    for _ in range(3):
        stage.observe()
    stage.reward(None, "a0", 1.0, tick=tick)
    stage.observe()
    assert not any("reward" in text for text in stage.hear())
    stage.trial.terminate(hard=True)
    samples = [sample for sample in stage.samples if sample.rewards]
    assert [(sample.info.tick_id, sample.info.out_of_sync) for sample in samples] == [(tick, tick == 0)]
    (reward,) = samples[0].rewards
    assert (reward.tick_id, reward.value, reward.sources[0].sender_name) == (tick, 99.0, "env")


@pytest.mark.parametrize("tick", [2, -2, 2**62])
def test_rewards_for_ticks_that_are_not_are_dropped(tick: int) -> None:
    """Neither delivered nor logged."""
    stage = Stage({}).begin()
    stage.observe()
    stage.observe()
    stage.reward(None, "*", 1.0, tick=tick)
    stage.observe()
    stage.trial.terminate(hard=True)
    assert not any("reward" in text for text in stage.hear())
    assert not any(sample.rewards for sample in stage.samples)


def test_rewards_are_logged_as_they_came_but_for_their_sender() -> None:
    """Receiver, tick and value stay; the sender is filled in if anybody was reached."""
    stage = Stage({}, {}).begin()
    stage.observe()
    stage.reward(0, "player.*", 1.0)
    stage.reward(0, "nobody", 2.0)
    stage.trial.terminate(hard=True)
    logged = [
        (reward.tick_id, reward.receiver_name, reward.value, reward.sources[0].sender_name)
        for reward in stage.samples[0].rewards
    ]
    assert logged == [(-1, "player.*", 99.0, "a0"), (-1, "nobody", 99.0, "liar")]


def test_rewards_after_the_last_observation_are_logged_only() -> None:
    """There is no observation that they could come with."""
    stage = Stage({}).begin()
    stage.environment(LAST)
    stage.observe()
    stage.hear()
    stage.reward(None, "a0", 1.0)
    stage.acknowledge()
    assert not any("reward" in text for text in stage.hear())
    assert len(stage.samples[0].rewards) == 1


def test_a_reward_without_sources_delivers_nothing() -> None:
    """It is logged."""
    stage = Stage({}).begin()
    stage.environment(reward=Reward(tick_id=-1, receiver_name="a0", value=3.0))
    stage.observe()
    assert not any("reward" in text for text in stage.hear())
    stage.trial.terminate(hard=True)
    assert stage.samples[0].rewards[0].value == 3.0


def test_sources_that_are_no_numbers_are_delivered_and_do_not_count() -> None:
    """A NaN value marks "no reward": who gets it sees it among the sources, the other sources make the value."""
    stage = Stage({}).begin()
    stage.reward(None, "a0", math.nan)
    stage.reward(None, "a0", 3.0)
    stage.reward(None, "a0", 8.0, math.inf)
    stage.observe()
    assert "a0: reward 0 3 [env nan*1, env 3*1, env 8*inf]" in stage.hear()


def test_data_for_the_user_goes_through() -> None:
    """user_data of rewards and payloads of messages arrive as they were sent; what was not sent does not arrive."""
    data = AnyMessage(type_url="x/y", value=b"z")
    stage = Stage({}, {}).begin()
    stage.reward(None, "a0", 1.0, user_data=data)
    stage.reward(None, "a0", 1.0)
    stage.environment(message=Message(tick_id=-1, receiver_name="a0", payload=data))
    stage.environment(message=Message(tick_id=-1, receiver_name="a1"))
    with_payload, without = (message.message for _, message in stage.sent_to_actors[-2:])
    assert (with_payload.payload, without.HasField("payload")) == (data, False)
    stage.observe()
    reward = next(message.reward for _, message in stage.sent_to_actors if message.WhichOneof("data") == "reward")
    assert reward.sources[0].user_data == data
    assert not reward.sources[1].HasField("user_data")


@pytest.mark.parametrize(
    ("receiver", "reached"),
    [("y", ["y"]), ("*", ["x", "y", "z"]), ("player.*", ["x", "z"]), ("env", ["env"]), ("x", ["x"]), ("nobody", [])],
)
def test_messages_reach_whom_their_receiver_names(receiver: str, reached: list[str]) -> None:
    """At once, each with the real sender, the real receiver and the current tick; ``*`` includes the sender."""
    stage = Stage(*TRIO).begin()
    stage.observe()
    stage.observe()
    stage.hear()
    stage.message(0, receiver)
    assert stage.hear() == [f"{who}: message 1 from x to {who}" for who in reached]
    stage.trial.terminate(hard=True)
    (logged,) = stage.samples[1].messages
    assert (logged.tick_id, logged.sender_name, logged.receiver_name) == (-1, "x", receiver)


def test_messages_are_for_the_current_tick() -> None:
    """Others are dropped, and not logged either."""
    stage = Stage({}).begin()
    stage.observe()
    stage.observe()
    stage.hear()
    for tick in (0, 2, -2):
        stage.message(None, "*", tick=tick)
    assert stage.hear() == []
    stage.message(None, "*", tick=1)
    assert stage.hear() == ["a0: message 1 from env to a0"]
    stage.trial.terminate(hard=True)
    assert [len(sample.messages) for sample in stage.samples] == [0, 1]


def test_a_message_to_an_actor_that_has_not_joined_is_dropped() -> None:
    """It is logged, and the slot stays free. One that is connected but not ready yet gets it."""
    stage = Stage({}, {"client": True}, {}).start()
    stage.actor_ready(0)
    stage.hear()
    stage.message(0, "*")
    assert stage.hear() == ["a0: message 0 from a0 to a0", "a2: message 0 from a0 to a2"]
    stage.join(1)
    stage.actor_ready(2)
    stage.environment_ready()
    stage.observe()
    assert stage.state == "RUNNING"
    stage.trial.terminate(hard=True)
    assert len(stage.samples[0].messages) == 1


def test_a_message_to_an_environment_that_is_not_there_is_dropped() -> None:
    """Its sender is not punished; one that is connected but not ready yet gets it."""
    stage = Stage({}, {}).start()
    stage.actor_ready(0)
    stage.hear()
    stage.message(0, "env")
    assert stage.hear() == []
    stage.actor_ready(1)
    stage.message(0, "env")
    assert stage.hear() == ["connect env", "env: init_input", "env: message 0 from a0 to env"]


def test_messages_are_passed_on_until_the_end() -> None:
    """Also while acknowledgements are waited for."""
    stage = Stage({}, {}).begin()
    stage.environment(LAST)
    stage.observe()
    stage.hear()
    stage.message(0, "a1")
    stage.message(None, "a0")
    assert stage.hear() == ["a1: message 0 from a0 to a1", "a0: message 0 from env to a0"]


def test_what_is_received_is_not_changed() -> None:
    """Within a process the sender's own objects are handed over."""
    stage = Stage({}, {}).begin()
    reward = Reward(tick_id=-1, receiver_name="*", value=9.0, sources=[RewardSource(sender_name="me", value=1.0)])
    message = Message(tick_id=-1, receiver_name="*", sender_name="me")
    sent = [EnvRunTrialOutput(state=NORMAL, reward=reward), EnvRunTrialOutput(state=NORMAL, message=message)]
    before = [item.SerializeToString(deterministic=True) for item in sent]
    for item in sent:
        stage.trial.environment_said(item)
    stage.observe()
    assert [item.SerializeToString(deterministic=True) for item in sent] == before


def test_an_actor_may_cause_so_many_deliveries_and_no_more() -> None:
    """Beyond that all is dropped, until there is a new tick or time has passed. The environment has no limit."""
    stage = Stage({}, {}, trial={"limits": Limits(deliveries=10)}).begin()
    stage.observe()
    stage.hear()
    for _ in range(100):
        stage.message(0, "*")
    assert len(stage.hear()) == 10
    stage.pass_time(0.2)
    for _ in range(100):
        stage.message(0, "*")
    assert len(stage.hear()) == 2
    stage.observe()
    stage.hear()
    stage.message(0, "*")
    assert len(stage.hear()) == 2
    for _ in range(100):
        stage.message(None, "*")
    assert len(stage.hear()) == 200


def test_rewards_are_deliveries_too() -> None:
    """Each source counts for each receiver, whether the reward is for the current tick or a past one."""
    stage = Stage({}, {}, trial={"limits": Limits(deliveries=10)}).begin()
    stage.observe()
    stage.observe()
    for _ in range(20):
        stage.reward(0, "*", 1.0)
        stage.reward(0, "*", 1.0, tick=0)
    stage.trial.terminate(hard=True)
    assert sum(len(sample.rewards) for sample in stage.samples) == 7


def test_large_payloads_cost_more() -> None:
    """A message of a megabyte counts like many small ones; a single one always passes."""
    stage = Stage({}, {}, trial={"limits": Limits(deliveries=10)}).begin()
    large = Message(tick_id=-1, receiver_name="a1", payload=AnyMessage(value=bytes(1_000_000)))
    stage.hear()
    for _ in range(3):
        stage.actor(0, message=large)
    assert len(stage.hear()) == 1


def test_only_so_many_rewards_wait_for_an_observation() -> None:
    """Beyond that they are dropped; the others arrive."""
    stage = Stage({}, trial={"limits": Limits(pending_rewards=5)}).begin()
    for _ in range(10):
        stage.reward(None, "a0", 1.0)
    stage.observe()
    (reward,) = [message.reward for _, message in stage.sent_to_actors if message.WhichOneof("data") == "reward"]
    assert len(reward.sources) == 5
