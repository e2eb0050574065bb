"""The simulator can fail: each fault that is planted in the engine is found, and soon."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from trialsim import Violation, run

from cogment_core.api.common_pb2 import HEARTBEAT, ActorRunTrialInput
from cogment_services.orchestrator.course import Course
from cogment_services.orchestrator.deadlines import Deadlines
from cogment_services.orchestrator.engine import Trial
from cogment_services.orchestrator.messages import actor_end
from cogment_services.orchestrator.participants import Standing
from cogment_services.orchestrator.phases import Phase
from cogment_services.orchestrator.post import Post
from cogment_services.orchestrator.samples import SampleBuffer
from cogment_services.orchestrator.tick import LockStep

SEEDS = 1000
"""How many worlds a fault may stay hidden in."""

Mutation = Callable[..., Any]
MUTANTS: dict[str, tuple[type, str, Callable[[Mutation], Mutation]]] = {}


def mutant(owner: type, method: str) -> Callable[[Callable[[Mutation], Mutation]], Callable[[Mutation], Mutation]]:
    """Plant a fault in a method: the decorated function makes the faulty one from the right one."""

    def register(make: Callable[[Mutation], Mutation]) -> Callable[[Mutation], Mutation]:
        MUTANTS[make.__name__] = owner, method, make
        return make

    return register


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What the mutants say is of no interest."""
    logger = logging.getLogger("cogment.sdk")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


# Ends


@mutant(Course, "_dismiss")
def end_is_sent_twice(right: Mutation) -> Mutation:
    def dismiss(self: Course, actor: Any) -> None:
        self._effects.send_actor(actor.index, actor_end(""))
        right(self, actor)

    return dismiss


@mutant(Course, "_dismiss")
def the_second_actor_is_not_told_the_end(right: Mutation) -> Mutation:
    return lambda self, actor: right(self, actor) if actor.index != 1 else None


@mutant(Course, "_finish")
def actors_are_told_the_end_backwards(right: Mutation) -> Mutation:
    def finish(self: Course, details: str) -> None:
        self._cast.actors = self._cast.actors[::-1]
        right(self, details)

    return finish


@mutant(Course, "_finish")
def the_trial_says_it_ended_but_nobody_is_released(right: Mutation) -> Mutation:
    def finish(self: Course, details: str) -> None:
        release, self._effects.release_actor = self._effects.release_actor, lambda index: None  # type: ignore[method-assign]
        right(self, details)
        self._effects.release_actor = release  # type: ignore[method-assign]

    return finish


@mutant(Course, "_enter")
def a_state_is_left_out(right: Mutation) -> Mutation:
    def enter(self: Course, phase: Phase) -> None:
        if phase is Phase.FINISHING:
            self.phase = phase
        else:
            right(self, phase)

    return enter


@mutant(Trial, "_on_actor")
def heartbeats_are_answered_after_the_end(right: Mutation) -> Mutation:
    def on_actor(self: Trial, index: int, message: Any) -> None:
        if message.state == HEARTBEAT and self.phase is Phase.OVER:
            self._effects.send_actor(index, ActorRunTrialInput(state=HEARTBEAT))
        right(self, index, message)

    return on_actor


# The lock-step


@mutant(Course, "_complete_tick")
def an_action_set_is_lost(right: Mutation) -> Mutation:
    def complete_tick(self: Course) -> None:
        if self.step.tick == 2:
            self.phase = Phase.OBSERVING
        else:
            right(self)

    return complete_tick


@mutant(Course, "_complete_tick")
def an_action_set_is_sent_twice(right: Mutation) -> Mutation:
    def complete_tick(self: Course) -> None:
        right(self)
        if self.step.tick == 1:
            self._effects.send_environment(self.step.action_set(0))

    return complete_tick


@mutant(LockStep, "observe")
def a_tick_is_skipped(right: Mutation) -> Mutation:
    def observe(self: LockStep, *args: Any, **kwargs: Any) -> None:
        self.tick += self.tick == 1
        right(self, *args, **kwargs)

    return observe


@mutant(LockStep, "observe")
def the_last_observation_is_not_announced(right: Mutation) -> Mutation:
    def observe(self: LockStep, contents: list[bytes], timestamp: int, *, final: bool) -> None:
        right(self, contents, timestamp, final=False)

    return observe


@mutant(LockStep, "contents")
def observations_are_mixed_up(right: Mutation) -> Mutation:
    return lambda self, observations: right(self, observations)[::-1]


@mutant(LockStep, "contents")
def wrong_observations_are_accepted(right: Mutation) -> Mutation:
    def contents(self: LockStep, observations: Any) -> Any:
        payloads = observations.observations
        return [payloads[place % len(payloads)] for place in observations.actors_map]

    return contents


@mutant(LockStep, "take")
def a_later_action_replaces_the_first(right: Mutation) -> Mutation:
    def take(self: LockStep, actor: Any, action: Any) -> bool:
        if actor.action is not None and self.waiting:
            actor.action = None
        return right(self, actor, action)

    return take


@mutant(LockStep, "take")
def actions_for_other_ticks_count(right: Mutation) -> Mutation:
    def take(self: LockStep, actor: Any, action: Any) -> bool:
        copy = type(action)()
        copy.CopyFrom(action)
        copy.tick_id = -1
        return right(self, actor, copy)

    return take


@mutant(LockStep, "take")
def the_tick_is_complete_with_the_first_action(right: Mutation) -> Mutation:
    def take(self: LockStep, actor: Any, action: Any) -> bool:
        right(self, actor, action)
        return not self.answered

    return take


@mutant(LockStep, "action_set")
def unavailable_actors_are_not_listed(right: Mutation) -> Mutation:
    def action_set(self: LockStep, timestamp: int) -> Any:
        message = right(self, timestamp)
        message.action_set.ClearField("unavailable_actors")
        return message

    return action_set


# Losses


@mutant(Course, "lose")
def an_actor_that_is_gone_is_served_on(right: Mutation) -> Mutation:
    return lambda self, actor, standing, *causes: None


@mutant(Course, "lose")
def an_actor_that_breaks_the_rules_is_served_on(right: Mutation) -> Mutation:
    def lose(self: Course, actor: Any, standing: Standing, *causes: str) -> None:
        if standing is Standing.GONE:
            right(self, actor, standing, *causes)

    return lose


@mutant(Course, "_end_without_actors")
def a_required_actor_is_done_without(right: Mutation) -> Mutation:
    return lambda self, actor, *causes: None


@mutant(Course, "lose_environment")
def the_environment_is_not_missed(right: Mutation) -> Mutation:
    def lose_environment(self: Course) -> None:
        self.environment = Standing.GONE

    return lose_environment


@mutant(LockStep, "drop")
def the_tick_waits_for_an_actor_that_is_lost(right: Mutation) -> Mutation:
    def drop(self: LockStep, actor: Any) -> bool:
        right(self, actor)
        return False

    return drop


# Rewards


@mutant(Post, "_keep")
def rewards_are_lost(right: Mutation) -> Mutation:
    return lambda self, sender, reward, receivers: None


@mutant(Post, "_keep")
def a_wildcard_reward_reaches_only_the_first(right: Mutation) -> Mutation:
    return lambda self, sender, reward, receivers: right(self, sender, reward, receivers[:1])


@mutant(LockStep, "observe")
def rewards_come_after_the_observation(right: Mutation) -> Mutation:
    def observe(self: LockStep, *args: Any, **kwargs: Any) -> None:
        kept = [(actor, actor.pending) for actor in self._actors]
        for actor in self._actors:
            actor.pending = []
        right(self, *args, **kwargs)
        for actor, pending in kept:
            actor.pending = pending

    return observe


# Samples


@mutant(SampleBuffer, "release")
def a_sample_is_lost(right: Mutation) -> Mutation:
    def release(self: SampleBuffer) -> None:
        if len(self._held) == 2:
            self._held.popleft()
        right(self)

    return release


@mutant(SampleBuffer, "finish")
def samples_are_sent_backwards(right: Mutation) -> Mutation:
    def finish(self: SampleBuffer) -> None:
        self._held.reverse()
        right(self)

    return finish


@mutant(SampleBuffer, "close")
def a_sample_does_not_say_who_was_missing(right: Mutation) -> Mutation:
    return lambda self, state, actions, defaulted, unavailable: right(self, state, actions, (), ())


@mutant(SampleBuffer, "add_late_reward")
def a_late_reward_is_not_marked(right: Mutation) -> Mutation:
    def add_late_reward(self: SampleBuffer, reward: Any, timestamp: int) -> None:
        sink = self._sink

        def unmarked(sample: Any) -> None:
            sample.info.ClearField("special_events")
            sink(sample)

        self._sink = unmarked
        right(self, reward, timestamp)
        self._sink = sink

    return add_late_reward


# Time


@mutant(Deadlines, "stop_all")
def timers_run_on_after_the_end(right: Mutation) -> Mutation:
    return lambda self: None


@mutant(Deadlines, "watch_activity")
def inactivity_is_looked_at_once(right: Mutation) -> Mutation:
    return lambda self: True


@mutant(Deadlines, "touch")
def activity_is_not_seen(right: Mutation) -> Mutation:
    return lambda self: None


@mutant(Deadlines, "await_responses")
def response_timers_do_not_run(right: Mutation) -> Mutation:
    return lambda self: None


@mutant(Deadlines, "await_response")
def a_response_timer_ends_the_wait_of_a_later_tick(right: Mutation) -> Mutation:
    return lambda self, actor: not actor.awaited


@mutant(Deadlines, "fired")
def a_timer_that_was_stopped_counts(right: Mutation) -> Mutation:
    def fired(self: Deadlines, timer: Any) -> bool:
        right(self, timer)
        return True

    return fired


@mutant(Course, "acknowledge")
def acknowledgements_are_not_seen(right: Mutation) -> Mutation:
    return lambda self, actor: None


@mutant(Trial, "datalog_lost")
def a_lost_datalog_is_put_up_with(right: Mutation) -> Mutation:
    return lambda self, reason: None


# Order


@mutant(Trial, "_handle")
def inputs_are_handled_within_each_other(right: Mutation) -> Mutation:
    return lambda self, handler, *args: handler(*args)


@mutant(Trial, "_handle")
def inputs_that_come_while_busy_are_lost(right: Mutation) -> Mutation:
    return lambda self, handler, *args: None if self._busy else right(self, handler, *args)


@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial with this fault breaks a rule in one of the first worlds, and the story is told."""
    owner, method, make = MUTANTS[name]
    monkeypatch.setattr(owner, method, make(getattr(owner, method)))
    with pytest.raises(Violation, match="What happened:"):
        run_all(SEEDS)


def run_all(seeds: int) -> None:
    """Run the first worlds."""
    for seed in range(seeds):
        run(seed)
