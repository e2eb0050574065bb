"""The queue that samples wait in until their datalog has confirmed them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cogment_core.api.datalog_pb2 import DatalogSample, SampleInfo
from cogment_services.orchestrator.sample_queue import ByteBudget, SampleQueue

ACTIONS = ("push", "push", "push", "write", "write", "confirm", "confirm", "let go", "parameters", "break")


class Model:
    """What the queue has to do, written with plain lists: a message is [tick, still kept]."""

    def __init__(self) -> None:
        self.sent: list[list[object]] = []
        self.replies = 0
        self.waiting: list[int] = []

    def kept(self) -> list[int]:
        return [tick for tick, kept in self.sent if kept] + self.waiting  # type: ignore[misc]

    def confirm(self) -> bool:
        if self.replies == len(self.sent):
            return False
        self.sent[self.replies][1] = False
        self.replies += 1
        return True

    def rewind(self) -> None:
        self.waiting = self.kept()
        self.sent, self.replies = [], 0


@given(actions=st.lists(st.sampled_from(ACTIONS), max_size=80), sizes=st.lists(st.integers(0, 50), min_size=80))
def test_a_queue_keeps_in_order_what_is_not_confirmed(actions: list[str], sizes: list[int]) -> None:
    """The n-th reply confirms the n-th message on the stream; what was kept when a stream breaks is written again."""
    budget = ByteBudget(10**6)
    queue, model = SampleQueue(1000, 10**6, budget), Model()
    size_of: dict[int, int] = {}
    for number, action in enumerate(actions):
        if action == "push":
            size_of[number] = sizes[number]
            queue.push(DatalogSample(info=SampleInfo(tick_id=number)), sizes[number])
            model.waiting.append(number)
        elif action == "write":
            sample = queue.begin_write()
            assert (None if sample is None else sample.info.tick_id) == (model.waiting[0] if model.waiting else None)
            if sample is not None:
                model.sent.append([model.waiting.pop(0), True])
            queue.end_write()
        elif action == "confirm":
            assert queue.confirm() == model.confirm()
        elif action == "let go":
            queue.let_go()
            for message in model.sent:
                message[1] = False
        elif action == "parameters" and not model.sent:
            queue.pass_over()
            model.sent.append([-1, False])
        elif action == "break":
            queue.rewind()
            model.rewind()
        assert len(queue) == len(model.kept())
        assert queue.is_written == (not model.waiting)
        assert budget.used == sum(size_of[tick] for tick in model.kept())
    queue.rewind()
    model.rewind()
    left = []
    while (sample := queue.begin_write()) is not None:
        left.append(sample.info.tick_id)
    assert left == model.waiting
    assert queue.clear() == len(left)
    assert budget.used == 0


def test_a_sample_that_is_being_written_is_not_let_go() -> None:
    """Only the transport knows whether it will be sent."""
    queue = SampleQueue(10, 1000, ByteBudget(1000))
    for tick in range(3):
        queue.push(DatalogSample(info=SampleInfo(tick_id=tick)), 10)
    queue.begin_write()
    queue.end_write()
    queue.begin_write()
    queue.let_go()
    assert (len(queue), queue.is_written) == (2, False)
    queue.rewind()
    sample = queue.begin_write()
    assert sample is not None
    assert sample.info.tick_id == 1


def test_there_is_room_for_so_many_samples_and_bytes() -> None:
    """Of one queue, and of all that share a budget; what does not fit can be pushed all the same."""
    budget = ByteBudget(100)
    first, second = SampleQueue(2, 80, budget), SampleQueue(10, 80, budget)
    assert first.has_room(80)
    assert not first.has_room(81)
    first.push(DatalogSample(), 70)
    assert not second.has_room(31)
    first.push(DatalogSample(), 0)
    assert not first.has_room(0), "two samples are in it"
    first.push(DatalogSample(), 70)
    assert budget.used == 140
    first.clear()
    assert budget.used == 0
