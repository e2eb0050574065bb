"""How much one trial, or one actor in it, may ask of the Orchestrator."""

from __future__ import annotations

import enum
from dataclasses import dataclass

__all__ = ["Allowance", "DatalogPolicy", "Limits", "deliveries"]

BYTES_PER_DELIVERY = 4_096
"""A large payload counts as one more delivery for each block of this size."""


class DatalogPolicy(enum.Enum):
    """What happens to a trial whose datalog does not take its samples, when there is no room for more of them."""

    STOP = "stop"
    """The trial ends, so that no sample is missing among those that the datalog gets once it is back."""
    DROP = "drop"
    """The trial goes on; samples are dropped and counted, and the next one that is sent says how many."""


@dataclass(frozen=True)
class Limits:
    """Bounds of a trial. All are far above what trials that mean well use."""

    actors: int = 1_000
    """Actors in the parameters."""
    buffered_ticks: int = 1_000
    """Samples that are kept for late rewards (``nb_buffered_ticks``)."""
    deliveries: int = 20_000
    """What one actor may have delivered (sources or messages, times receivers) in a tick, and per second of it."""
    pending_rewards: int = 10_000
    """Reward sources that may wait for one receiver's next observation."""
    sample_records: int = 100_000
    """Rewards and messages that are logged in one sample."""
    delivered_bytes: int = 256 * 1024 * 1024
    """Size of an observation, a reward or a message, times its receivers."""
    datalog_samples: int = 10_000
    """Samples that may wait for the datalog."""
    datalog_bytes: int = 64 * 1024 * 1024
    """Bytes of samples that may wait for the datalog."""
    datalog_total_bytes: int = 1024 * 1024 * 1024
    """Bytes of samples that may wait for the datalogs of all trials together."""
    environment_connection: float = 0.0
    """Seconds that the environment has to be ready. 0: whatever ``max_inactivity`` allows; some load for minutes."""
    environment_ack: float = 60.0
    """Seconds that the environment has to acknowledge the end."""
    actor_ack: float = 30.0
    """Seconds that the actors, all together, have to acknowledge the end."""


class Allowance:
    """What one sender may still cause: full at each new tick, and filling up with time within a tick.

    A sender in debt is refused, and one that is not may go into debt: a single large delivery always passes.

    Args:
        rate: Deliveries per tick, and per second within a tick.
    """

    __slots__ = ("_left", "_rate", "_tick", "_time")

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._left = float(rate)
        self._tick = -1
        self._time = 0.0

    def take(self, cost: int, tick: int, now: float) -> bool:
        """Use up ``cost`` deliveries in ``tick`` at time ``now`` (seconds). Returns False if nothing is left."""
        if tick != self._tick:
            self._tick = tick
            self._left = self._rate
        else:
            self._left = min(self._rate, self._left + (now - self._time) * self._rate)
        self._time = now
        if self._left <= 0:
            return False
        self._left -= cost
        return True


def deliveries(receivers: int, units: int, size: int) -> int:
    """What it costs to deliver ``units`` items of together ``size`` bytes to that many receivers."""
    return max(1, receivers) * (max(1, units) + size // BYTES_PER_DELIVERY)
