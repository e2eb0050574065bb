"""Rewards on their way: what waits for an actor's next observation, and how sources make one value."""

from __future__ import annotations

import math
from collections.abc import Iterable

from cogment_core.api.common_pb2 import NORMAL, ActorRunTrialInput, RewardSource

__all__ = ["PendingRewards", "aggregate", "reward_message"]

PendingRewards = list[tuple[str, RewardSource]]
"""Sources that wait, each with the name of its sender, in the order of their arrival."""


def aggregate(sources: Iterable[tuple[float, float]]) -> float:
    """The value of a reward: the mean of its sources' values, weighted by their confidences.

    Only sources with a finite positive confidence and a finite value count, so that no single source can spoil the
    value. Users mark "no reward" with a NaN value: the result is NaN if such marks are all there is.

    Args:
        sources: Value and confidence of each source.

    Returns:
        The weighted mean; without a source that counts NaN if one of positive confidence is NaN, else 0.
    """
    weighted = total = 0.0
    marked = False
    for value, confidence in sources:
        if not 0.0 < confidence < math.inf:
            continue
        if math.isfinite(value):
            weighted += value * confidence
            total += confidence
        elif value != value:
            marked = True
    if total > 0.0:
        return weighted / total
    return math.nan if marked else 0.0


def reward_message(tick: int, receiver: str, pending: PendingRewards) -> ActorRunTrialInput:
    """What ``receiver`` gets for the sources that wait for it: one reward, all sources in it."""
    message = ActorRunTrialInput(state=NORMAL)
    reward = message.reward
    reward.tick_id = tick
    reward.receiver_name = receiver
    reward.value = aggregate((source.value, source.confidence) for _, source in pending)
    for sender, received in pending:
        source = reward.sources.add()
        source.CopyFrom(received)
        source.sender_name = sender
    return message
