"""What a trial says to people: in END messages and in the special events of samples.

Peers, users and stored samples know most of these byte for byte, misspelling included.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "ACTORS_NOT_READY",
    "DATALOG_LOST",
    "ENVIRONMENT_ENDED",
    "ENVIRONMENT_LOST",
    "ENVIRONMENT_NOT_ACKED",
    "ENVIRONMENT_NOT_READY",
    "ENVIRONMENT_STREAM_FAILED",
    "FAILURE",
    "INACTIVE",
    "LAST_STEP",
    "OUT_OF_SYNC",
    "REQUESTED",
    "SOFT_END",
    "STALE",
    "actor_lost",
    "datalog_lost",
    "forced",
    "protocol_error",
    "samples_lost",
    "unavailable",
]

# Details of END

REQUESTED = "Externally requested"
INACTIVE = "The trial was inactive for too long"
ACTORS_NOT_READY = "Failed to initialize all actors"
ENVIRONMENT_NOT_READY = "Failed to initialize environment"
ENVIRONMENT_NOT_ACKED = "Environment failed to end properly"
ENVIRONMENT_STREAM_FAILED = "Action processing requirement failure [Environment stream failure]"
FAILURE = "Orchestrator failure"


def datalog_lost(reason: str) -> str:
    """The trial cannot go on without losing samples."""
    return f"{DATALOG_LOST}: {reason}"


def unavailable(actors: Iterable[str], tick: int) -> str:
    """Actors that are required have no action for ``tick``."""
    return f"Action processing requirement failure [Required actors [{', '.join(actors)}] unavailable at tick [{tick}]]"


# Special events of samples

SOFT_END = "End requested"
LAST_STEP = "Maximum number of steps reached"
ENVIRONMENT_ENDED = "Evironment ended trial"
STALE = "Stale trial"
OUT_OF_SYNC = "Out of sync reward"


def forced(details: str) -> str:
    """The trial was ended from outside of its course; a cause, below, may come before it."""
    return f"Forced termination: {details}"


ENVIRONMENT_LOST = "ENVIRONMENT_LOST"
DATALOG_LOST = "DATALOG_LOST"


def actor_lost(name: str) -> str:
    """A required actor was lost, or did not act in time."""
    return f"ACTOR_LOST:{name}"


def protocol_error(what: str) -> str:
    """A participant broke the protocol."""
    return f"PROTOCOL_ERROR: {what}"


def samples_lost(count: int) -> str:
    """There are samples missing before this one: the datalog did not take them in time."""
    return f"SAMPLES_LOST:{count}"
