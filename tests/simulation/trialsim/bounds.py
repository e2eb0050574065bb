"""The rules about time: how long a trial may take to react."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cogment_services.orchestrator.limits import Limits
from cogment_services.orchestrator.phases import Phase

if TYPE_CHECKING:
    from trialsim.world import World

SLACK = 0.01
"""Seconds that a reaction may come later than its bound."""


class Bounds:
    """Looks, when a bound has passed, whether the trial has reacted.

    Args:
        world: The world.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.active = 0.0
        self.acted = [-1.0] * len(world.scenario.params.actors)
        self.announced = False

    def heard(self) -> None:
        """Something came that may be a step of the trial."""
        self.active = self.world.now()
        limit = self.world.scenario.params.max_inactivity
        if limit:
            self.world.scheduler.after(limit + SLACK, self.check_activity, self.active)

    def check_activity(self, since: float) -> None:
        """A trial in which nothing happened for too long has ended, or is ending."""
        alive = self.world.trial.phase < Phase.ENVIRONMENT_ACK
        self.world.referee.check(self.active > since or not alive, "an inactive trial is ended in time")

    def observed(self, index: int, tick: int) -> None:
        """A required actor got an observation."""
        params = self.world.scenario.params.actors[index]
        if params.response_timeout and not params.optional:
            delay = params.response_timeout + SLACK
            self.world.scheduler.after(delay, self.check_response, index, tick, self.world.now())

    def check_response(self, index: int, tick: int, since: float) -> None:
        """A required actor that did not act in time has ended the trial."""
        trial = self.world.trial
        waiting = trial.phase is Phase.ACTING and trial.tick_id == tick and self.acted[index] < since
        self.world.referee.check(not waiting, f"actor {index} is waited for no longer than its response_timeout")

    def ending(self) -> None:
        """The last observations were sent."""
        if not self.announced:
            self.announced = True
            limits = Limits()
            self.world.scheduler.after(limits.environment_ack + limits.actor_ack + SLACK, self.check_end)

    def check_end(self) -> None:
        """The acknowledgements are not waited for any longer than all of them may take."""
        self.world.referee.check(self.world.trial.phase is Phase.OVER, "a trial does not wait for ever for LAST_ACK")
