"""What a trial's engine asks of the world around it."""

from __future__ import annotations

import enum
from typing import NamedTuple, Protocol

from cogment_core.api.common_pb2 import ActorRunTrialInput, TrialState
from cogment_core.api.datalog_pb2 import DatalogSample
from cogment_core.api.environment_pb2 import EnvRunTrialInput

__all__ = ["Effects", "Timer", "TimerKind"]


class TimerKind(enum.Enum):
    """What a trial waits for with a bound."""

    ACTOR_CONNECTION = enum.auto()
    """An actor has to be ready (``initial_connection_timeout``)."""
    ENVIRONMENT_CONNECTION = enum.auto()
    """The environment has to be ready."""
    RESPONSE = enum.auto()
    """An actor has to act on its observation (``response_timeout``)."""
    INACTIVITY = enum.auto()
    """Something has to happen in the trial (``max_inactivity``)."""
    ENVIRONMENT_ACK = enum.auto()
    """The environment has to acknowledge the end."""
    ACTOR_ACK = enum.auto()
    """The actors have to acknowledge the end."""


class Timer(NamedTuple):
    """One timer of a trial: at most one of each kind and actor runs."""

    kind: TimerKind
    actor: int = -1
    """Index of the actor in the trial parameters; -1 for timers that belong to no actor."""


class Effects(Protocol):
    """The outside of a trial, as its engine uses it.

    No method waits or raises. A method may call back into the engine before it returns: the engine queues such an input
    until it has handled the current one. A participant that the engine was told is gone is not mentioned any more: it
    is neither sent to nor released.

    The engine answers every heartbeat of a participant. Whoever sends heartbeats of its own to participants keeps their
    answers from the engine, or the two echo each other for ever.
    """

    def now(self) -> float:
        """Seconds of a monotonic clock, for durations."""
        ...

    def timestamp(self) -> int:
        """Nanoseconds since the Unix epoch, for what is recorded."""
        ...

    def connect_actor(self, index: int) -> None:
        """Open the stream to a service actor. What is sent to it meanwhile waits for the stream."""
        ...

    def connect_environment(self) -> None:
        """Open the stream to the environment. What is sent to it meanwhile waits for the stream."""
        ...

    def send_actor(self, index: int, message: ActorRunTrialInput) -> None:
        """Send to an actor. A peer that cannot take it is reported by ``actor_gone``, never by an exception."""
        ...

    def send_environment(self, message: EnvRunTrialInput) -> None:
        """Send to the environment. A peer that cannot take it is reported by ``environment_gone``."""
        ...

    def release_actor(self, index: int) -> None:
        """Nothing more will be sent to this actor: complete its call once all is sent.

        That may be before its stream was opened.
        """
        ...

    def release_environment(self) -> None:
        """Nothing more will be sent to the environment, see `release_actor`."""
        ...

    def start_timer(self, timer: Timer, seconds: float) -> None:
        """Call ``timer_fired(timer)`` in ``seconds``; restarts a timer that runs."""
        ...

    def stop_timer(self, timer: Timer) -> None:
        """Forget a timer; does nothing if it does not run."""
        ...

    def state_changed(self, state: TrialState.ValueType) -> None:
        """The trial entered ``state``. Called once for each state from PENDING on."""
        ...

    def log_sample(self, sample: DatalogSample) -> None:
        """Hand a finished sample to the datalog. Only called for trials that have one."""
        ...
