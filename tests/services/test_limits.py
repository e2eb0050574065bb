"""What one sender may cause."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cogment_services.orchestrator.limits import BYTES_PER_DELIVERY, Allowance, deliveries

uses = st.lists(st.tuples(st.integers(1, 30), st.floats(0, 2)), max_size=30)


@given(rate=st.integers(1, 50), uses=uses)
def test_within_a_tick_a_sender_causes_what_time_allows(rate: int, uses: list[tuple[int, float]]) -> None:
    """Never more than its rate at once and per second since, but for the last delivery, which may go beyond."""
    allowance = Allowance(rate)
    now = caused = largest = 0.0
    for cost, pause in uses:
        now += pause
        if allowance.take(cost, 0, now):
            caused += cost
            largest = max(largest, cost)
    assert caused <= rate * (1 + now) + largest + 1e-6


@given(rate=st.integers(1, 50), uses=uses)
def test_a_new_tick_is_a_new_beginning(rate: int, uses: list[tuple[int, float]]) -> None:
    """Whatever was caused before, all is there again."""
    allowance = Allowance(rate)
    for cost, _ in uses:
        allowance.take(cost, 0, 0.0)
    assert [allowance.take(1, 1, 0.0) for _ in range(rate + 1)] == [True] * rate + [False]


def test_a_single_large_delivery_always_passes() -> None:
    """After it the sender waits until its debt is paid."""
    allowance = Allowance(10)
    assert allowance.take(100, 0, 0.0)
    assert not allowance.take(1, 0, 8.9)
    assert allowance.take(1, 0, 9.2)


def test_deliveries_are_counted_by_receiver_and_size() -> None:
    """What reaches nobody costs something too."""
    assert deliveries(0, 0, 0) == 1
    assert deliveries(5, 1, 100) == 5
    assert deliveries(5, 3, 100) == 15
    assert deliveries(2, 1, 3 * BYTES_PER_DELIVERY) == 8
