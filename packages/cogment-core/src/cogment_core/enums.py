"""The enums that users meet.

Their numbers are those of the protocol. They are written out, and a test compares them: taken from the generated
module, they would make every import of Cogment load all of protobuf.
"""

from __future__ import annotations

import enum

__all__ = ["ActorStatus", "EventType", "TrialState"]


class TrialState(enum.Enum):
    """Where a trial is in its life."""

    UNKNOWN = 0
    """Not used."""
    INITIALIZING = 1
    """The trial is being set up: parameters and pre-trial hooks."""
    PENDING = 2
    """The trial waits for its components, and then for the first observations."""
    RUNNING = 3
    """Observations and actions are exchanged."""
    TERMINATING = 4
    """The trial is ending: the last step is being played and acknowledged."""
    ENDED = 5
    """The trial is over. The Orchestrator remembers it for a while."""


class EventType(enum.Enum):
    """What an event of a session says about its trial."""

    NONE = 0
    """Never received."""
    ACTIVE = 1
    """The trial goes on."""
    ENDING = 2
    """The trial is ending. An environment answers with its final observations, an actor does not act any more."""
    FINAL = 3
    """The trial is over. The event has no data and is the last one."""


class ActorStatus(enum.Enum):
    """Whether the action of an actor is its own."""

    UNKNOWN = 0
    """Never received."""
    ACTIVE = 1
    """The actor acted."""
    UNAVAILABLE = 2
    """The actor is optional and did not act: there is no action."""
    DEFAULT = 3
    """The default action of an optional actor was used. Only samples tell: environments see ``ACTIVE``."""
