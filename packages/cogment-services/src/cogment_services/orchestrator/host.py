"""What the trials of an Orchestrator share."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from cogment_core.tasks import TaskOwner
from cogment_services.orchestrator.limits import Limits
from cogment_services.orchestrator.metrics import OrchestratorMetrics

__all__ = ["Host"]


@dataclass(frozen=True)
class Host:
    """What all trials of an Orchestrator share."""

    limits: Limits
    metrics: OrchestratorMetrics
    peers: TaskOwner = field(default_factory=partial(TaskOwner, "Orchestrator"))
    """Receive from peers until these have completed their streams."""
    farewells: TaskOwner = field(default_factory=partial(TaskOwner, "Orchestrator"))
    """Send the last messages to peers."""
    pumps: TaskOwner = field(default_factory=partial(TaskOwner, "Orchestrator"))
    """Send samples."""
