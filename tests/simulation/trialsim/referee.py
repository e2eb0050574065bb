"""Checks what a trial does against the rules that hold for every trial."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from cogment_core.api.common_pb2 import (
    END,
    ENDED,
    HEARTBEAT,
    INITIALIZING,
    LAST,
    PENDING,
    RUNNING,
    TERMINATING,
    ActorRunTrialInput,
    Reward,
)
from cogment_core.api.environment_pb2 import ActionSet, EnvRunTrialInput
from cogment_services.orchestrator import texts
from cogment_services.orchestrator.phases import Phase
from cogment_services.orchestrator.routing import Roster

from .sample_rules import check_samples
from .scenario import Scenario

if TYPE_CHECKING:
    from .world import World


class Violation(AssertionError):
    """A trial broke a rule."""


NEXT_STATES = {
    INITIALIZING: (PENDING, ENDED),
    PENDING: (RUNNING, ENDED),
    RUNNING: (TERMINATING,),
    TERMINATING: (ENDED,),
    ENDED: (),
}


class StreamRecord:
    """What was sent to one peer."""

    def __init__(self, who: str) -> None:
        self.who = who
        self.connected = False
        self.leaving = False
        self.gone = False
        self.barred = False
        self.greeted = False
        self.announced = False
        self.finished = False
        self.acted = False
        self.ended = False
        self.released = False
        self.observed: list[int] = []
        self.rewarded: dict[int, list[int]] = {}


class Referee:
    """Watches one trial.

    Args:
        world: The world, with the peers.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.scenario: Scenario = world.scenario
        self.count = len(self.scenario.params.actors)
        self.state = INITIALIZING
        self.ran = False
        self.actors = [StreamRecord(actor.name) for actor in self.scenario.params.actors]
        self.environment = StreamRecord("environment")
        self.sets: dict[int, ActionSet] = {}
        self.ends: list[int] = []
        self.roster = Roster([(actor.name, actor.actor_class) for actor in self.scenario.params.actors])

    def check(self, holds: bool, rule: str) -> None:
        """Complain if a rule does not hold."""
        if not holds:
            raise Violation(rule)

    # Streams

    def opened(self, record: StreamRecord) -> None:
        """A stream was opened."""
        self.check(not record.connected and not record.gone, f"{record.who} is connected once")
        record.connected = True

    def released(self, record: StreamRecord) -> None:
        """A stream was released."""
        self.check(record.ended and not record.released, f"{record.who} is released once, after END")
        record.released = True

    def sent(self, record: StreamRecord, state: int, kind: str | None) -> None:
        """Anything was sent."""
        self.check(record.connected, f"nothing is sent to {record.who} before its stream is open")
        self.check(not record.gone, f"nothing is sent to {record.who} when it is known to be gone")
        self.check(not record.ended and not record.released, f"nothing is sent to {record.who} after END")
        self.check(record.greeted or kind == "init_input" or state == END, f"{record.who} gets init_input first")
        self.check(not (record.greeted and kind == "init_input"), f"{record.who} gets init_input once")
        self.check(not record.barred or state in (END, HEARTBEAT), f"{record.who} broke the rules and gets only END")
        record.greeted = True
        record.ended = state == END

    # What actors get

    def sent_actor(self, index: int, message: ActorRunTrialInput) -> None:
        """A message was sent to an actor."""
        kind = message.WhichOneof("data")
        record = self.actors[index]
        self.sent(record, message.state, kind)
        if message.state == END:
            self.ends.append(index)
        elif message.state == LAST:
            self.check(not record.announced, f"{record.who} gets LAST once")
            record.announced = True
        elif kind == "observation":
            self.observed(record, index, message)
        elif kind == "reward":
            self.rewarded(record, message.reward)
        elif kind == "message":
            self.check(message.message.receiver_name == record.who, "a message is addressed to who gets it")
            self.check(message.message.tick_id == self.world.trial.tick_id, "a message is for the current tick")

    def observed(self, record: StreamRecord, index: int, message: ActorRunTrialInput) -> None:
        """An observation was sent."""
        observation = message.observation
        expected = record.observed[-1] + 1 if record.observed else 0
        self.check(observation.tick_id == expected, f"{record.who} gets observation {expected} next, each tick once")
        final = self.environment.announced or self.world.environment.is_final(expected)
        self.check(record.announced == final, f"{record.who} gets LAST before the last observation, and only then")
        self.check(not record.finished, f"{record.who} gets one observation after LAST")
        record.finished = final
        self.check(observation.content != b"lie", "observations that cannot be right are not passed on")
        _, tick, whose = observation.content.decode().split(":")
        self.check(int(tick) == observation.tick_id, "an observation is the one for its tick")
        self.check(int(whose) in (0, index), "an observation is the one for its actor")
        self.check_environment_rewards(record, index, observation.tick_id)
        record.observed.append(observation.tick_id)
        record.acted = False
        if final:
            self.world.bounds.ending()
        else:
            self.world.bounds.observed(index, expected)

    def rewarded(self, record: StreamRecord, reward: Reward) -> None:
        """A reward was sent."""
        current = record.observed[-1] if record.observed else 0
        self.check(reward.tick_id == current, "a reward for tick t comes after observation t and before the next")
        self.check(reward.receiver_name == record.who, "a reward names its receiver")
        self.check(not record.announced, "rewards come before LAST")
        upcoming = len(record.observed)
        self.check(upcoming not in record.rewarded, "all rewards of a tick come in one")
        counted = [(s.value, s.confidence) for s in reward.sources if s.confidence > 0 and math.isfinite(s.value)]
        counted = [(value, confidence) for value, confidence in counted if math.isfinite(confidence)]
        if counted:
            mean = sum(value * confidence for value, confidence in counted) / sum(c for _, c in counted)
            self.check(math.isclose(reward.value, mean, rel_tol=1e-5), "a reward is the weighted mean of its sources")
        self.check(all(source.sender_name != "somebody else" for source in reward.sources), "senders are who they are")
        record.rewarded[upcoming] = [s.value for s in reward.sources if s.sender_name == "world"]

    def check_environment_rewards(self, record: StreamRecord, index: int, tick: int) -> None:
        """What an honest environment rewards between two observation sets comes with the second one."""
        environment = self.world.environment
        if not environment.character.honest:
            return
        given = environment.rewards.get(tick, [])
        expected = [serial for receiver, serial in given if index in self.roster.receivers(receiver)]
        self.check(record.rewarded.get(tick, []) == expected, "the environment's rewards come before its observation")

    # What the environment gets

    def sent_environment(self, message: EnvRunTrialInput) -> None:
        """A message was sent to the environment."""
        kind = message.WhichOneof("data")
        record = self.environment
        self.sent(record, message.state, kind)
        if message.state == END:
            self.check(not self.ends, "the environment gets END first")
        elif message.state == LAST:
            self.check(not record.announced, "the environment gets LAST once")
            record.announced = True
        elif kind == "action_set":
            self.check(self.state != TERMINATING or record.announced, "the last actions come after LAST")
            self.acted(message.action_set)

    def acted(self, action_set: ActionSet) -> None:
        """An action set was sent."""
        tick = action_set.tick_id
        self.check(tick not in self.sets, "there is one action set per tick")
        self.check(tick <= self.world.environment.tick, "an action set is for observations that came")
        self.check(not self.world.environment.is_final(tick), "nobody acts on the last observations")
        self.check(not self.environment.finished, "there is one action set after LAST")
        self.environment.finished = self.environment.announced
        for record, character in zip(self.actors, self.scenario.actors, strict=True):
            if record.observed and not record.leaving and not character.lies_after:
                self.check(record.observed[-1] == tick, f"an action set is for the tick that {record.who} observed")
        self.check(len(action_set.actions) == self.count, "an action set has an action for each actor")
        for index in range(self.count):
            self.check_action(index, tick, action_set)
        self.sets[tick] = action_set

    def check_action(self, index: int, tick: int, action_set: ActionSet) -> None:
        """The action of one actor in an action set."""
        content = action_set.actions[index].decode()
        missing = content in ("", f"default:{index}")
        self.check((index in action_set.unavailable_actors) == (content == ""), "who has no action is unavailable")
        if missing:
            params = self.scenario.params.actors[index]
            self.check(params.optional, f"no action set is made without required actor {params.name}")
            default = params.default_action.content.decode()
            self.check(content == default, "a missing actor's default action is used")
            self.check(self.may_miss(index), f"{params.name} took part, so its action is waited for")
            return
        self.check(content != "lie", "an action that is not for the tick does not count")
        _, whose, view, serial, explicit = content.split(":")
        self.check(int(whose) == index, "an action is the one of its actor")
        peer = self.world.actors[index]
        self.check(int(view) == tick if int(explicit) else int(view) <= tick, "an action is for its tick")
        first = peer.first_acts[int(view)] == int(serial)
        self.check(first or int(view) < tick, "the first action of a tick counts")

    def may_miss(self, index: int) -> bool:
        """Whether there is a reason for an actor not to act: it never took part, does so no more, or is late."""
        record = self.actors[index]
        lied = self.scenario.actors[index].lies_after > 0
        return record.leaving or record.barred or lied or not record.observed or self.world.bounds.is_late(index)

    # The trial

    def entered(self, state: int) -> None:
        """The trial entered a state."""
        self.check(state in NEXT_STATES[self.state], f"state {self.state} is not followed by state {state}")
        self.state = state
        self.ran |= state == RUNNING
        if state == ENDED:
            self.check_ends()
            self.check_reason(self.world.trial.end_reason)
            self.check(self.ends == sorted(self.ends), "actors get END in their order")

    def check_reason(self, reason: str) -> None:
        """The trial ended for a reason that holds."""
        if reason == texts.INACTIVE:
            self.check(self.world.bounds.is_inactive(), "only an inactive trial is ended as such")
        if reason.startswith(texts.DATALOG_LOST):
            self.check(len(self.world.samples) > self.scenario.datalog_lost_at >= 0, "only a lost datalog is blamed")
        for index, actor in enumerate(self.scenario.params.actors):
            if re.search(rf"Required actors \[.*\b{actor.name}\b.*\] unavailable", reason):
                self.check(not actor.optional and self.may_miss(index), f"{actor.name} is blamed for a reason")

    def check_ends(self) -> None:
        """The trial is over, and everyone knows."""
        for record in (self.environment, *self.actors):
            if record.connected and not record.leaving:
                self.check(record.ended and record.released, f"{record.who} is alive and gets an END")

    def timer_started(self, seconds: float) -> None:
        """A timer was started."""
        self.check(self.state != ENDED, "no timer is started after the end")
        self.check(0 < seconds < math.inf, "a timer has a sensible length")

    def settled(self) -> None:
        """The trial has handled all that has come."""
        trial = self.world.trial
        if trial.phase is Phase.ACTING:
            able = [record for record in self.actors if record.observed and not (record.leaving or record.barred)]
            self.check(any(not record.acted for record in able), "a trial does not wait when nobody can act any more")

    def heard_action(self, index: int, tick: int) -> None:
        """An actor acted; perhaps not for the first time in its tick."""
        record = self.actors[index]
        record.acted |= record.observed[-1:] == [tick] or tick == -1

    def lost(self, record: StreamRecord, *, busy: bool) -> None:
        """The trial is told that a stream is gone; if it is ``busy``, it may find out later."""
        record.leaving = True
        record.gone = not busy

    def must_have_ended(self, what: str) -> None:
        """Something has been handled that a trial cannot go on from."""
        self.check(self.state == ENDED, f"{what} ends the trial at once")

    def finish(self) -> None:
        """Nothing happens any more."""
        trial = self.world.trial
        self.check(self.state == ENDED and trial.state == ENDED, "a trial always reaches ENDED")
        self.check(not self.world.timers, f"no timer is left: {self.world.timers}")
        self.check(trial.latest_observations is None and trial.ended is not None, "an ended trial holds nothing")
        self.check_ends()
        check_samples(self)
        if self.scenario.peaceful:
            self.finish_peaceful()

    def finish_peaceful(self) -> None:
        """A trial in which nobody did anything wrong."""
        trial = self.world.trial
        self.check(trial.end_reason == "", f"a peaceful trial ends as it should, not with {trial.end_reason!r}")
        self.check(sorted(self.sets) == list(range(trial.tick_id)), "each tick but the last has its action set")
        self.check(all(record.announced for record in self.actors), "everyone is told that the end comes")
        limits = [self.scenario.environment_ends_at] if self.scenario.environment_ends_at >= 0 else []
        if self.scenario.params.max_steps:
            limits.append(self.scenario.params.max_steps + 1)
        if not self.scenario.terminations:
            self.check(trial.tick_id == min(limits), f"the trial ends at tick {min(limits)}, not {trial.tick_id}")
