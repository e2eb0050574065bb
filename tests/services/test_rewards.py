"""How sources make one reward."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogment_core.api.common_pb2 import Reward, RewardSource
from cogment_services.orchestrator.rewards import aggregate, reward_message

numbers = st.floats(width=32)
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
positive = st.floats(width=32, min_value=2.0**-100, allow_nan=False, allow_infinity=False)
sources = st.lists(st.tuples(numbers, numbers), max_size=8)


def counts(source: tuple[float, float]) -> bool:
    """Whether a source makes a difference to the value."""
    value, confidence = source
    return math.isfinite(value) and math.isfinite(confidence) and confidence > 0


def test_the_value_is_the_mean_weighted_by_confidence() -> None:
    """Sources without confidence do not count, nor do negative ones."""
    assert aggregate([(1.0, 1.0), (4.0, 0.5), (100.0, 0.0), (100.0, -1.0)]) == 2.0


@pytest.mark.parametrize(
    "nothing", [[], [(5.0, 0.0)], [(5.0, -2.0)], [(5.0, math.nan)], [(math.inf, 1.0)], [(math.nan, 0.0)]]
)
def test_without_a_source_that_counts_the_value_is_zero(nothing: list[tuple[float, float]]) -> None:
    """There is nothing to be rewarded for."""
    assert aggregate(nothing) == 0.0


def test_a_mark_that_there_is_no_reward_stays_if_there_is_no_other() -> None:
    """NaN is such a mark; a single number is worth more than any number of marks."""
    assert math.isnan(aggregate([(math.nan, 1.0), (3.0, 0.0)]))
    assert aggregate([(math.nan, 1.0), (3.0, 0.1), (math.nan, 0.5)]) == pytest.approx(3.0)


@given(sources)
def test_the_value_lies_between_those_of_the_sources_that_count(given_sources: list[tuple[float, float]]) -> None:
    """Whatever the others are, and it fits into the field it is sent in."""
    value = aggregate(given_sources)
    values = [source[0] for source in given_sources if counts(source)]
    if values:
        slack = 1e-9 * max(abs(number) for number in values)
        assert min(values) - slack <= value <= max(values) + slack
        assert math.isfinite(Reward(value=value).value)
    else:
        assert value == 0.0 or math.isnan(value)


@given(sources)
def test_sources_that_do_not_count_make_no_difference(given_sources: list[tuple[float, float]]) -> None:
    """The value is that of the others alone."""
    counted = [source for source in given_sources if counts(source)]
    if counted:
        assert aggregate(given_sources) == aggregate(counted)


@given(st.lists(st.tuples(finite, positive), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_sources_makes_no_difference(given_sources: list[tuple[float, float]], random: object) -> None:
    """Up to rounding."""
    shuffled = list(given_sources)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    scale = max(abs(value) for value, _ in given_sources)
    assert aggregate(shuffled) == pytest.approx(aggregate(given_sources), rel=1e-9, abs=1e-9 * scale)


@given(finite, positive)
def test_a_lone_source_gives_its_value(value: float, confidence: float) -> None:
    """Whatever its confidence."""
    assert aggregate([(value, confidence)]) == pytest.approx(value, rel=1e-12)


@given(st.lists(st.tuples(st.text(max_size=5), numbers, numbers), min_size=1, max_size=5), st.integers(0, 2**62))
def test_a_reward_message_has_all_sources_in_order(given_sources: list[tuple[str, float, float]], tick: int) -> None:
    """Each with the sender that the Orchestrator knows it is from, and nothing of the original is changed."""
    originals = [RewardSource(sender_name="liar", value=v, confidence=c) for _, v, c in given_sources]
    pending = [(sender, source) for (sender, _, _), source in zip(given_sources, originals, strict=True)]
    message = reward_message(tick, "me", pending)
    reward = message.reward
    assert (message.state, reward.tick_id, reward.receiver_name) == (1, tick, "me")
    assert [source.sender_name for source in reward.sources] == [sender for sender, _, _ in given_sources]
    assert [repr(source.value) for source in reward.sources] == [repr(source.value) for source in originals]
    assert {source.sender_name for source in originals} == {"liar"}
