"""What actors and environments have in common: their sessions, and what they receive."""

from __future__ import annotations

from cogment_core.enums import ActorStatus, EventType
from cogment_core.events import (
    ActorInfo,
    RecvAction,
    RecvEvent,
    RecvMessage,
    RecvObservation,
    RecvReward,
    RecvRewardSource,
)
from cogment_core.sessions.base import Session

__all__ = [
    "ActorInfo",
    "ActorStatus",
    "EventType",
    "RecvAction",
    "RecvEvent",
    "RecvMessage",
    "RecvObservation",
    "RecvReward",
    "RecvRewardSource",
    "Session",
]
