"""What a Controller says about a trial."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from cogment_core.api import orchestrator_pb2
from cogment_core.enums import TrialState

__all__ = ["TrialInfo"]


@dataclass(frozen=True, repr=False)
class TrialInfo:
    """A trial as it is, or was, at one moment."""

    trial_id: str
    """The trial."""

    state: TrialState
    """The state that it is in."""

    properties: dict[str, str] | None = field(default=None, hash=False)
    """Properties from the trial parameters; None without full information."""

    env_name: str | None = None
    """Name of the environment; None without full information, empty before the environment is known."""

    tick_id: int | None = None
    """The tick that the information is about; None without full information."""

    duration: int | None = None
    """How long the trial has run, in nanoseconds; None without full information."""

    @classmethod
    def from_proto(cls, info: orchestrator_pb2.TrialInfo) -> TrialInfo:
        """The full information that ``info`` has."""
        return cls(
            trial_id=info.trial_id,
            state=trial_state(info.state),
            properties=dict(info.properties),
            env_name=info.env_name,
            tick_id=info.tick_id,
            duration=info.trial_duration,
        )

    @classmethod
    def from_entry(cls, entry: orchestrator_pb2.TrialListEntry) -> TrialInfo:
        """What ``entry``, sent to a watcher, has: full information, or the trial's id and state."""
        if entry.HasField("info"):
            return cls.from_proto(entry.info)
        return cls(trial_id=entry.trial_id, state=trial_state(entry.state))

    def __repr__(self) -> str:
        values = ((item.name, getattr(self, item.name)) for item in fields(self))
        shown = (f"{name}={_as_text(value)}" for name, value in values if value is not None)
        return f"TrialInfo({', '.join(shown)})"


def _as_text(value: object) -> str:
    return value.name if isinstance(value, TrialState) else repr(value)


def trial_state(number: int) -> TrialState:
    """The state with this number; ``UNKNOWN`` for one that a newer Orchestrator may have and we do not."""
    try:
        return TrialState(number)
    except ValueError:
        return TrialState.UNKNOWN
