"""How much callers may ask of a Directory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

__all__ = ["Budget", "DirectoryLimits"]


@dataclass(frozen=True)
class DirectoryLimits:
    """Bounds of a Directory. All are far above what callers that mean well use."""

    entries: int = 50_000
    """Entries of all tokens together."""
    entries_per_token: int = 10_000
    """Entries of one token; without a token counts as one token."""
    properties: int = 64
    """Properties of an entry, or of an inquiry."""
    properties_size: int = 8_192
    """Bytes of their names and values together."""
    burst: int = 1_000
    """Registrations that one token, or one address, may make at once."""
    rate: float = 10.0
    """Registrations per second that one token, or one address, may make for longer."""
    waiting: int = 1_000
    """Inquiries that wait for a registration at the same time."""
    request_size: int = 65_536
    """Bytes of a request."""


class Budget:
    """What each of many spenders may still spend: a burst at once, and then so much per second.

    Args:
        burst: How much at once.
        rate: How much per second.
        spenders: How many are remembered; the one that was idle for longest is forgotten first, and may start anew.
    """

    def __init__(self, burst: float, rate: float, spenders: int = 10_000) -> None:
        self._burst = burst
        self._rate = rate
        self._most = spenders
        self._accounts: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def spend(self, spender: Hashable, now: float) -> bool:
        """Spend one at this time, in seconds. Returns False if nothing is left."""
        left, at = self._accounts.pop(spender, (self._burst, now))
        left = min(self._burst, left + (now - at) * self._rate)
        affordable = left >= 1.0
        self._accounts[spender] = (left - 1.0 if affordable else left, now)
        if len(self._accounts) > self._most:
            self._accounts.popitem(last=False)
        return affordable
