"""The trial stream as a participant lives it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogment_core.api.common_pb2 import END, HEARTBEAT, LAST, LAST_ACK, NORMAL
from cogment_core.errors import ProtocolError
from cogment_core.stream import Phase, Receipt, TrialStream


def joined() -> TrialStream:
    stream = TrialStream()
    stream.receive(NORMAL, "init_input")
    return stream


def test_the_initial_data_starts_the_stream():
    """NORMAL with initial data, and nothing else, makes a stream active."""
    stream = TrialStream()
    assert stream.receive(NORMAL, "init_input") is Receipt.INIT
    assert stream.phase is Phase.ACTIVE
    assert stream.can_send


def test_an_end_before_the_initial_data_is_a_quiet_end():
    """LAST before the initial data is acknowledged, END ends the stream; the user never sees the trial."""
    stream = TrialStream()
    assert stream.receive(LAST, None) is Receipt.ACKNOWLEDGE
    assert stream.receive(END, None) is Receipt.ENDED
    assert stream.phase is Phase.OVER


@pytest.mark.parametrize(
    ("state", "kind"), [(NORMAL, None), (NORMAL, "observation"), (NORMAL, "details"), (LAST_ACK, None), (17, None)]
)
def test_anything_else_before_the_initial_data_breaks_the_protocol(state: int, kind: str | None):
    """The first thing that an Orchestrator says is the initial data, or the end."""
    with pytest.raises(ProtocolError, match="instead of initial data"):
        TrialStream().receive(state, kind)


def test_data_is_delivered_until_the_end():
    """Data is for the user while active, after LAST, and after LAST_ACK; nothing is after END."""
    stream = joined()
    assert stream.receive(NORMAL, "observation") is Receipt.DELIVER
    assert stream.receive(LAST, None) is Receipt.END_ANNOUNCED
    assert stream.receive(NORMAL, "observation") is Receipt.DELIVER
    assert stream.acknowledge()
    assert stream.receive(NORMAL, "message") is Receipt.DELIVER
    assert stream.receive(END, None) is Receipt.ENDED
    assert stream.receive(NORMAL, "message") is Receipt.IGNORE
    assert stream.receive(END, None) is Receipt.IGNORE


def test_an_environment_announces_the_end_once():
    """LAST is sent by the side that ends the trial first, once."""
    stream = joined()
    assert stream.announce_end()
    assert not stream.announce_end()
    assert stream.receive(LAST, None) is Receipt.IGNORE
    ending = joined()
    ending.receive(LAST, None)
    assert not ending.announce_end()


def test_the_end_is_acknowledged_once_and_only_when_announced():
    """LAST_ACK is sent once, after the end was announced, and nothing can be sent after it."""
    stream = joined()
    assert not stream.acknowledge()
    stream.receive(LAST, None)
    assert stream.acknowledge()
    assert not stream.can_send
    assert not stream.acknowledge()


def test_a_loss_is_news_once_and_never_after_the_end():
    """Only a stream that was not over can be lost."""
    stream = joined()
    assert stream.lose()
    assert not stream.lose()
    assert stream.phase is Phase.LOST
    over = joined()
    over.receive(END, None)
    assert not over.lose()
    assert over.phase is Phase.OVER


MESSAGES = st.tuples(
    st.sampled_from([NORMAL, HEARTBEAT, LAST, LAST_ACK, END, 0, 99]),
    st.sampled_from([None, "init_input", "observation", "reward", "message", "details"]),
)


@given(st.lists(MESSAGES), st.lists(st.integers(0, 2)))
def test_no_sequence_of_messages_leads_back(messages: list[tuple[int, str | None]], own: list[int]):
    """Whatever a peer says and we do, phases only advance, and heartbeats are echoed until the end."""
    stream = joined()
    order = [Phase.ACTIVE, Phase.ENDING, Phase.ACKNOWLEDGED, Phase.OVER, Phase.LOST]
    acts = iter(own)
    for state, kind in messages:
        before = stream.phase
        receipt = stream.receive(state, kind)
        if state == HEARTBEAT and before in order[:3]:
            assert receipt is Receipt.ECHO
        act = next(acts, None)
        if act == 0:
            stream.announce_end()
        elif act == 1:
            stream.acknowledge()
        assert order.index(stream.phase) >= order.index(before)
