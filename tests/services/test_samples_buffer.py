"""The buffer that samples stay in for a while."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cogment_core.api.common_pb2 import ENDED, RUNNING, Action, Message, Reward, RewardSource
from cogment_core.api.datalog_pb2 import DatalogSample
from cogment_core.api.environment_pb2 import ObservationSet
from cogment_services.orchestrator.samples import SampleBuffer


def filled(ticks: int, buffered: int, sent: list[DatalogSample], records: int = 100) -> SampleBuffer:
    """A buffer in which the last of so many ticks is open."""
    buffer = SampleBuffer(buffered, records, sent.append)
    for tick in range(ticks):
        if tick:
            buffer.close(RUNNING, [None], (), ())
        buffer.begin(tick, tick * 10)
        buffer.observe(tick * 10 + 1, ObservationSet(tick_id=tick))
        buffer.release()
    return buffer


@given(ticks=st.integers(1, 12), buffered=st.integers(2, 6))
def test_each_sample_is_sent_once_in_order(ticks: int, buffered: int) -> None:
    """Never more than nb_buffered_ticks - 1 are kept, and all are sent in the end."""
    sent: list[DatalogSample] = []
    buffer = filled(ticks, buffered, sent)
    assert len(sent) == max(0, ticks - (buffered - 1))
    buffer.close(ENDED, [None], (), ())
    buffer.finish()
    buffer.finish()
    assert [sample.info.tick_id for sample in sent] == list(range(ticks))
    assert [sample.info.state for sample in sent] == [RUNNING] * (ticks - 1) + [ENDED]


@given(ticks=st.integers(1, 12), buffered=st.integers(2, 6), data=st.data())
def test_a_late_reward_is_never_lost(ticks: int, buffered: int, data: st.DataObject) -> None:
    """It is in its tick's sample if that is still here, else in a sample of its own that is sent at once."""
    tick = data.draw(st.integers(0, ticks - 1))
    sent: list[DatalogSample] = []
    buffer = filled(ticks, buffered, sent)
    gone = {sample.info.tick_id for sample in sent}
    late_reward = Reward(tick_id=tick, receiver_name="x", sources=[RewardSource(sender_name="liar")])
    buffer.add_late_reward(late_reward, "env", 123)
    late = [sample for sample in sent if sample.info.out_of_sync]
    if tick in gone:
        (sample,) = late
        assert (sample.info.tick_id, sample.info.timestamp, sample.info.state) == (tick, 123, 0)
        assert list(sample.info.special_events) == ["Out of sync reward"]
        assert (sample.rewards[0].receiver_name, len(sample.actions)) == ("x", 0)
    else:
        assert late == []
    buffer.close(ENDED, [None], (), ())
    buffer.finish()
    (rewarded,) = [sample for sample in sent if sample.rewards]
    assert (rewarded.info.tick_id, rewarded.rewards[0].sources[0].sender_name) == (tick, "env")
    assert late_reward.sources[0].sender_name == "liar", "what was received is not changed"


def test_a_sample_holds_what_it_was_given() -> None:
    """Copies: what is changed later is not changed in it."""
    sent: list[DatalogSample] = []
    buffer = SampleBuffer(2, 100, sent.append)
    buffer.begin(0, 5)
    buffer.note("before the observations")
    observations = ObservationSet(tick_id=-1, observations=[b"o"], actors_map=[0])
    buffer.observe(6, observations)
    reward = Reward(tick_id=-1, receiver_name="*", value=2.0, sources=[RewardSource(sender_name="liar")])
    buffer.add_reward(reward, "env")
    buffer.add_reward(reward, None)
    message = Message(sender_name="liar", receiver_name="y")
    buffer.add_message(message, "x")
    observations.observations[0] = b"changed"
    reward.value = 7.0
    buffer.close(ENDED, [Action(tick_id=0, content=b"a"), None], [1], [])
    buffer.finish()
    (sample,) = sent
    assert (sample.info.timestamp, list(sample.info.special_events)) == (6, ["before the observations"])
    assert list(sample.observations.observations) == [b"o"]
    assert [(r.value, r.sources[0].sender_name) for r in sample.rewards] == [(2.0, "env"), (2.0, "liar")]
    assert [(m.sender_name, m.receiver_name) for m in sample.messages] == [("x", "y")]
    assert [(a.tick_id, a.content) for a in sample.actions] == [(0, b"a"), (-2, b"")]
    assert list(sample.default_actors) == [1]
    assert (message.sender_name, reward.sources[0].sender_name) == ("liar", "liar")


def test_a_buffer_that_was_not_begun_has_nothing_to_say() -> None:
    """A trial may end before it is PENDING."""
    sent: list[DatalogSample] = []
    buffer = SampleBuffer(2, 100, sent.append)
    buffer.note("nobody hears this")
    buffer.finish()
    assert sent == []


def test_a_full_sample_says_so_once() -> None:
    """It keeps what came first."""
    sent: list[DatalogSample] = []
    buffer = filled(1, 2, sent, records=2)
    for number in range(5):
        buffer.add_reward(Reward(value=number), None)
        buffer.add_late_reward(Reward(value=number), "x", 0)
        buffer.add_message(Message(), "x")
    buffer.close(ENDED, [None], (), ())
    buffer.finish()
    (sample,) = sent
    assert ([reward.value for reward in sample.rewards], len(sample.messages)) == ([0.0, 0.0], 0)
    assert len(sample.info.special_events) == 1
