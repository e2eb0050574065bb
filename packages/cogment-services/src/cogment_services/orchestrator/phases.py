"""How far a trial is."""

from __future__ import annotations

import enum

from cogment_core.api.common_pb2 import ENDED, INITIALIZING, PENDING, RUNNING, TERMINATING, TrialState

__all__ = ["STATE_OF", "Phase"]


class Phase(enum.IntEnum):
    """What a trial waits for. Later phases have greater numbers."""

    CREATED = enum.auto()
    """To be started."""
    ACTORS = enum.auto()
    """Every actor is ready, or is given up."""
    ENVIRONMENT = enum.auto()
    """The environment is ready and sends the first observations."""
    ACTING = enum.auto()
    """The actors act."""
    OBSERVING = enum.auto()
    """The environment answers the actions with observations."""
    FINISHING = enum.auto()
    """The environment answers the last actions with the last observations."""
    ENVIRONMENT_ACK = enum.auto()
    """The environment has sent all (LAST_ACK)."""
    ACTOR_ACKS = enum.auto()
    """The actors have sent all (LAST_ACK)."""
    OVER = enum.auto()
    """Nothing."""


STATE_OF: dict[Phase, TrialState.ValueType] = {
    Phase.CREATED: INITIALIZING,
    Phase.ACTORS: PENDING,
    Phase.ENVIRONMENT: PENDING,
    Phase.ACTING: RUNNING,
    Phase.OBSERVING: RUNNING,
    Phase.FINISHING: TERMINATING,
    Phase.ENVIRONMENT_ACK: TERMINATING,
    Phase.ACTOR_ACKS: TERMINATING,
    Phase.OVER: ENDED,
}
"""The state of a trial, as others see it, in each phase."""
