"""The kinds of services that a Directory knows."""

from __future__ import annotations

import enum

__all__ = ["ServiceType"]


class ServiceType(enum.Enum):
    """What a service is. The numbers are those of the protocol's ``ServiceType``."""

    # Written out rather than taken from the generated enum: that module is not needed until a Directory is used.
    LIFE_CYCLE = 1
    """Starts, watches and ends trials (Orchestrator)."""
    CLIENT_ACTOR = 2
    """Lets client actors join trials (Orchestrator)."""
    ACTOR = 3
    """Runs actors."""
    ENVIRONMENT = 4
    """Runs environments."""
    HOOK = 5
    """Runs pre-trial hooks."""
    DATALOG = 6
    """Takes the samples of trials."""
    DATASTORE = 7
    """Hands out the samples of trials."""
    MODEL_REG = 8
    """Keeps models (Model Registry)."""
    DIRECTORY = 9
    """Knows where services are."""
    OTHER = 100
    """Anything else."""
