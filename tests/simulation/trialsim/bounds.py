"""The rules about time: how long a trial may take to react."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cogment_services.orchestrator.limits import Limits
from cogment_services.orchestrator.phases import Phase

if TYPE_CHECKING:
    from .world import World

SLACK = 0.01
"""Seconds that a reaction may come later than its bound."""


class Bounds:
    """Looks, when a bound has passed, whether the trial has reacted.

    Args:
        world: The world.
    """

    def __init__(self, world: World) -> None:
        count = len(world.scenario.params.actors)
        self.world = world
        self.params = world.scenario.params
        self.last_step = 0.0
        self.last_certain_step = 0.0
        self.acted_at = [-1.0] * count
        self.observed_at = [-1.0] * count
        self.announced = False

    # Inactivity

    def stepped(self, *, certainly: bool) -> None:
        """Something came that is a step of the trial, certainly or perhaps."""
        now = self.world.now()
        self.last_step = now
        if certainly and not self.world.is_busy():
            self.last_certain_step = now
        if self.params.max_inactivity:
            self.world.scheduler.after(self.params.max_inactivity + SLACK, self.check_activity, now)

    def check_activity(self, since: float) -> None:
        """A trial in which nothing happened for too long has ended, or is ending."""
        alive = self.world.trial.phase < Phase.ENVIRONMENT_ACK
        self.world.referee.check(self.last_step > since or not alive, "an inactive trial is ended in time")

    def is_inactive(self) -> bool:
        """Whether the trial may be ended for inactivity."""
        return self.world.now() - self.last_certain_step >= self.params.max_inactivity - SLACK

    # Responses

    def acted(self, index: int) -> None:
        """An actor acted; it is a step if the actor takes part."""
        record = self.world.referee.actors[index]
        self.acted_at[index] = self.world.now()
        lied = self.world.scenario.actors[index].lies_after > 0
        self.stepped(certainly=bool(record.observed) and not (record.leaving or record.barred or lied))

    def observed(self, index: int, tick: int) -> None:
        """An actor got an observation to act on."""
        now = self.world.now()
        self.observed_at[index] = now
        params = self.params.actors[index]
        if params.response_timeout and not params.optional:
            self.world.scheduler.after(params.response_timeout + SLACK, self.check_response, index, tick, now)

    def check_response(self, index: int, tick: int, since: float) -> None:
        """A required actor that did not act in time has ended the trial."""
        trial = self.world.trial
        waiting = trial.phase is Phase.ACTING and trial.tick_id == tick and self.acted_at[index] < since
        self.world.referee.check(not waiting, f"actor {index} is waited for no longer than its response_timeout")

    def is_late(self, index: int) -> bool:
        """Whether an actor has had its time to act on its latest observation."""
        timeout = self.params.actors[index].response_timeout
        return timeout > 0 and self.world.now() - self.observed_at[index] >= timeout - SLACK

    # End

    def ending(self) -> None:
        """The last observations were sent."""
        if not self.announced:
            self.announced = True
            limits = Limits()
            self.world.scheduler.after(limits.environment_ack + limits.actor_ack + SLACK, self.check_end)

    def check_end(self) -> None:
        """The acknowledgements are not waited for any longer than all of them may take."""
        self.world.referee.check(self.world.trial.phase is Phase.OVER, "a trial does not wait for ever for LAST_ACK")
