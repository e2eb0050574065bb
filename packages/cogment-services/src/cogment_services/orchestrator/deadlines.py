"""The bounds of a trial's waits: which timers run, and when its actors have to act."""

from __future__ import annotations

from collections.abc import Sequence

from cogment_services.orchestrator.effects import Effects, Timer, TimerKind
from cogment_services.orchestrator.participants import Participant

__all__ = ["Deadlines"]

TOLERANCE = 0.001
"""Seconds that may be left of a bound when its timer fires."""


class Deadlines:
    """Starts and stops the timers of a trial.

    It keeps track of what runs, so that a timer that fires although it was stopped is known as such, and that all can
    be stopped. Waits that begin anew with each step, for an action or for anything to happen, have a timer that is not
    touched in the step: when it fires, it is started again for what is left of the wait by then.

    Args:
        effects: Runs the timers.
        actors: The actors of the trial.
        max_inactivity: Seconds that may pass without a step, 0 for any.
    """

    __slots__ = ("_active", "_effects", "_now", "_running", "_timed", "max_inactivity")

    def __init__(self, effects: Effects, actors: Sequence[Participant], max_inactivity: float) -> None:
        self.max_inactivity = max_inactivity
        self._effects = effects
        self._now = effects.now
        self._timed = tuple(actor for actor in actors if actor.response_timeout)
        self._running: set[Timer] = set()
        self._active = self._now()

    def start(self, kind: TimerKind, seconds: float, actor: int = -1) -> None:
        """Start a timer, unless ``seconds`` is not positive: no bound."""
        if seconds > 0:
            timer = Timer(kind, actor)
            self._running.add(timer)
            self._effects.start_timer(timer, seconds)

    def stop(self, kind: TimerKind, actor: int = -1) -> None:
        """Stop a timer, if it runs."""
        timer = Timer(kind, actor)
        if timer in self._running:
            self._running.remove(timer)
            self._effects.stop_timer(timer)

    def stop_all(self) -> None:
        """Stop every timer."""
        while self._running:
            self._effects.stop_timer(self._running.pop())

    def fired(self, timer: Timer) -> bool:
        """Take note that ``timer`` fired; False if it was stopped meanwhile."""
        if timer not in self._running:
            return False
        self._running.remove(timer)
        return True

    def touch(self) -> None:
        """A step was made."""
        if self.max_inactivity:
            self._active = self._now()

    def watch_activity(self) -> bool:
        """Wait on for activity. Returns False if there was none for too long."""
        left = self._active + self.max_inactivity - self._now()
        if left <= TOLERANCE:
            return False
        self.start(TimerKind.INACTIVITY, left)
        return True

    def await_responses(self) -> None:
        """Give each actor that is awaited, and has a bound, its time to act."""
        if not self._timed:
            return
        now = self._now()
        for actor in self._timed:
            if actor.awaited:
                actor.deadline = now + actor.response_timeout
                if Timer(TimerKind.RESPONSE, actor.index) not in self._running:
                    self.start(TimerKind.RESPONSE, actor.response_timeout, actor.index)

    def await_response(self, actor: Participant) -> bool:
        """Wait on for ``actor``, whose timer fired. Returns False if its time is over."""
        if self.is_overdue(actor):
            return False
        if actor.awaited:
            self.start(TimerKind.RESPONSE, actor.deadline - self._now(), actor.index)
        return True

    def is_overdue(self, actor: Participant) -> bool:
        """Whether ``actor`` should have acted by now."""
        return actor.awaited and actor.response_timeout > 0 and actor.deadline - self._now() <= TOLERANCE
