"""Which data of a sample is wanted."""

from __future__ import annotations

import enum

__all__ = ["DatastoreFields"]


class DatastoreFields(enum.Enum):
    """The data of an actor that a sample may have.

    The numbers are those of the protocol's ``StoredTrialSampleField``.
    """

    # Written out rather than taken from the generated enum, which takes time to import and is not needed otherwise.
    UNKNOWN = 0
    """Not used."""
    OBSERVATION = 1
    """The observation."""
    ACTION = 2
    """The action."""
    REWARD = 3
    """The aggregated reward."""
    RECEIVED_REWARDS = 4
    """Each reward that the actor received."""
    SENT_REWARDS = 5
    """Each reward that the actor sent."""
    RECEIVED_MESSAGES = 6
    """Each message that the actor received."""
    SENT_MESSAGES = 7
    """Each message that the actor sent."""
