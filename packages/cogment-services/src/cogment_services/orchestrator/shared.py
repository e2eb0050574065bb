"""What the trials of an Orchestrator share."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from cogment_core.tasks import TaskOwner
from cogment_services.orchestrator.limits import DatalogPolicy, Limits
from cogment_services.orchestrator.metrics import OrchestratorMetrics
from cogment_services.orchestrator.observer import TrialObserver, observed_by
from cogment_services.orchestrator.sample_queue import ByteBudget
from cogment_services.orchestrator.traces import TrialTraces

__all__ = ["Shared"]


@dataclass(frozen=True)
class Shared:
    """What all trials of an Orchestrator share."""

    limits: Limits
    metrics: OrchestratorMetrics
    datalog_policy: DatalogPolicy = DatalogPolicy.STOP
    traces: TrialTraces | None = None
    peers: TaskOwner = field(default_factory=partial(TaskOwner, "Orchestrator"))
    """Receive from peers until these have completed their streams."""
    farewells: TaskOwner = field(default_factory=partial(TaskOwner, "Orchestrator"))
    """Send the last messages to peers."""
    pumps: TaskOwner = field(default_factory=partial(TaskOwner, "Orchestrator"))
    """Wait until the samples are delivered."""
    sample_budget: ByteBudget = field(init=False)
    """What samples of all trials that wait for their datalogs have in common."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "sample_budget", ByteBudget(self.limits.datalog_total_bytes))
        self.metrics.watch_samples(self.sample_budget)

    def observer(self, trial_id: str) -> TrialObserver:
        """What watches the trial with this id, which is new."""
        watching = (self.metrics.trial(), None if self.traces is None else self.traces.trial(trial_id))
        return observed_by([observer for observer in watching if observer is not None])
