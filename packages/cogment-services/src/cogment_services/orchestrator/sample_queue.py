"""The samples of a trial that its datalog has not confirmed yet."""

from __future__ import annotations

from collections import deque

from cogment_core.api.datalog_pb2 import DatalogSample

__all__ = ["ByteBudget", "SampleQueue"]

_Held = tuple[DatalogSample, int]


class ByteBudget:
    """Bytes that the queues of all trials share, and what went through these queues.

    Args:
        total: How many there are.
    """

    __slots__ = ("confirmed", "samples", "total", "used", "written")

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0
        """How many bytes wait."""
        self.samples = 0
        """How many samples wait."""
        self.written = 0
        """How many samples were written; those that had to be written again count again."""
        self.confirmed = 0
        """How many samples were confirmed."""


class SampleQueue:
    """Samples in the order of their creation: first those that were written, then those that are to be written.

    A datalog that confirms replies once to each message on its stream, in order: the n-th reply is for the n-th
    message. A written sample is kept until its reply comes, unless it is let go before; then its reply is passed over.

    Args:
        samples: How many it has room for.
        size: How many bytes it has room for.
        budget: What it shares with others.
    """

    def __init__(self, samples: int, size: int, budget: ByteBudget) -> None:
        self._max_samples = samples
        self._max_bytes = size
        self._budget = budget
        self._written: deque[_Held] = deque()
        self._waiting: deque[_Held] = deque()
        self._bytes = 0
        self._passed_over = 0
        self._writing = False

    def __len__(self) -> int:
        return len(self._written) + len(self._waiting)

    @property
    def is_written(self) -> bool:
        """Whether nothing waits to be written."""
        return not self._waiting and not self._writing

    def has_room(self, size: int) -> bool:
        """Whether a sample of ``size`` bytes fits in."""
        return (
            len(self) < self._max_samples
            and self._bytes + size <= self._max_bytes
            and self._budget.used + size <= self._budget.total
        )

    def push(self, sample: DatalogSample, size: int) -> None:
        """Add a sample of ``size`` bytes, whether it fits in or not."""
        self._waiting.append((sample, size))
        self._count(1, size)

    def begin_write(self) -> DatalogSample | None:
        """The sample to write next, None if there is none. It may be confirmed from now on."""
        if not self._waiting:
            return None
        self._writing = True
        held = self._waiting.popleft()
        self._written.append(held)
        return held[0]

    def end_write(self) -> None:
        """The sample of the last `begin_write` is with the transport."""
        self._writing = False
        self._budget.written += 1

    def confirm(self) -> bool:
        """A reply has come: the oldest written message is stored. Returns False if there is no such message."""
        if self._passed_over:
            self._passed_over -= 1
        elif self._written:
            self._count(-1, -self._written.popleft()[1])
            self._budget.confirmed += 1
        else:
            return False
        return True

    def pass_over(self) -> None:
        """A message that is no sample was written, and will be replied to."""
        self._passed_over += 1

    def let_go(self) -> None:
        """Keep the written samples no longer."""
        kept = 1 if self._writing else 0
        while len(self._written) > kept:
            self._count(-1, -self._written.popleft()[1])
            self._passed_over += 1

    def rewind(self) -> None:
        """The stream is over: what was not confirmed on it is to be written again."""
        self._waiting.extendleft(reversed(self._written))
        self._written.clear()
        self._passed_over = 0
        self._writing = False

    def clear(self) -> int:
        """Let go of all. Returns how many that are."""
        count = len(self)
        self._count(-count, -self._bytes)
        self._written.clear()
        self._waiting.clear()
        return count

    def _count(self, samples: int, size: int) -> None:
        self._bytes += size
        self._budget.samples += samples
        self._budget.used += size
