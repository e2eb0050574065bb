"""A world around one trial: its `Effects`, and everything that happens to it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import Message

from cogment_core.api.common_pb2 import PENDING, ActorRunTrialInput, TrialState
from cogment_core.api.datalog_pb2 import DatalogSample
from cogment_core.api.environment_pb2 import EnvRunTrialInput
from cogment_services.orchestrator.effects import Timer
from cogment_services.orchestrator.engine import Trial
from cogment_services.orchestrator.participants import SlotError
from cogment_services.orchestrator.phases import Phase

from .bounds import Bounds
from .network import Scheduler, Stream
from .peers import GONE, ActorPeer, EnvironmentPeer
from .referee import Referee, StreamRecord, Violation
from .scenario import Scenario, make_scenario

MAX_EVENTS = 20_000
"""More events than any scenario has: a run that has so many goes in circles."""


class World:
    """The `Effects` of one trial, and the peers, clients and people around it.

    Args:
        scenario: What happens.
        make_trial: Makes the trial; a mutant for tests of this simulator.
    """

    def __init__(self, scenario: Scenario, make_trial: Callable[..., Trial] = Trial) -> None:
        self.scenario = scenario
        self.scheduler = Scheduler()
        self.rng = Random(scenario.seed + 1)
        self.trace: list[tuple[float, str, object]] = []
        self.timers: dict[Timer, int] = {}
        self.samples: list[DatalogSample] = []
        self.environment: EnvironmentPeer | None = None
        self.actors: list[ActorPeer | None] = [None] * len(scenario.params.actors)
        self._down: dict[int, Stream] = {}
        self.was_busy = False
        self._depth = 0
        self._afterwards: list[Callable[[], None]] = []
        self._timer_count = 0
        self._make_trial = make_trial

    def run(self) -> None:
        """Let everything happen.

        Raises:
            Violation: The trial broke a rule; says which, and what happened before.
        """
        try:
            self.play()
        except Exception as problem:
            raise Violation(self.describe(problem)) from problem

    def play(self) -> None:
        """Start the trial, and go on until nothing happens any more."""
        scenario = self.scenario
        self.trial = self._make_trial(
            f"trial {scenario.seed}",
            scenario.params,
            self,
            client_slots=scenario.client_slots,
            logged=scenario.logged,
        )
        self.referee = Referee(self)
        self.bounds = Bounds(self)
        for when, hard in scenario.terminations:
            self.scheduler.after(when, self.tell, "terminate", self.trial.terminate, hard)
        self.tell("start", self.trial.start)
        self.bounds.stepped(certainly=True)
        for when, index, by_class in scenario.joins:
            self.scheduler.after(when, self.join, index, by_class)
        events = 0
        while self.scheduler.step():
            events += 1
            self.referee.check(events < MAX_EVENTS, "a trial comes to an end")
        self.referee.finish()

    def describe(self, problem: Exception) -> str:
        """What broke, and the whole story."""
        lines = [f"seed {self.scenario.seed}: {problem!r}", repr(self.scenario), "What happened:"]
        lines += [f"{time:9.4f}  {what:24} {_brief(detail)}" for time, what, detail in self.trace]
        return "\n".join(lines)

    # What happens to the trial

    def tell(self, what: str, call: Callable[..., None], *args: Any) -> None:
        """Give the trial an input."""
        self.trace.append((self.scheduler.now, f"> {what}", args))
        self.was_busy |= self.is_busy()
        self._depth += 1
        try:
            call(*args)
        finally:
            self._depth -= 1
        if not self.is_busy():
            afterwards, self._afterwards = self._afterwards, []
            self.referee.settled()
            for check in afterwards:
                check()

    def is_busy(self) -> bool:
        """Whether the trial is handling something: it comes to what is said now later, and may have ended by then."""
        return self._depth > 0

    def from_environment(self, message: Any, grave: bool) -> None:
        """The environment's stream delivers."""
        ongoing = self.trial.phase <= Phase.FINISHING
        if message is GONE:
            self._lose(self.referee.environment)
            self._must_end_if(ongoing, "the loss of the environment")
            self.tell("environment gone", self.trial.environment_gone, "it broke off")
        else:
            self._must_end_if(grave and ongoing, "a lie of the environment")
            if message.WhichOneof("data") == "observation_set":
                self.bounds.stepped(certainly=True)
            self.tell("environment", self.trial.environment_said, message)

    def from_actor(self, index: int, message: Any, grave: bool) -> None:
        """An actor's stream delivers."""
        needed = not self.scenario.params.actors[index].optional and self.trial.phase < Phase.FINISHING
        record = self.referee.actors[index]
        if message is GONE:
            self._lose(record)
            self._must_end_if(needed, "the loss of a required actor")
            self.tell(f"actor {index} gone", self.trial.actor_gone, index, "it broke off")
            return
        self._must_end_if(grave and needed, "a lie of a required actor")
        if message.WhichOneof("data") == "action":
            self.bounds.acted(index)
            self.referee.heard_action(index, message.action.tick_id)
        self.tell(f"actor {index}", self.trial.actor_said, index, message)
        record.barred |= grave and not self.is_busy()

    def _lose(self, record: StreamRecord) -> None:
        self.referee.lost(record, busy=self.is_busy())
        self._afterwards.append(lambda: self.referee.lost(record, busy=False))

    def _must_end_if(self, reason: bool, what: str) -> None:
        """The trial must have ended when it has handled what comes next. If it is busy it is not known when that is."""
        if reason and not self.is_busy():
            self._afterwards.append(lambda: self.referee.must_have_ended(what))

    def join(self, index: int, by_class: bool) -> None:
        """A client tries to join as an actor, or as any of its class."""
        params = self.scenario.params.actors[index]
        free = self.trial.state == PENDING and self.scenario.client_slots[index] and self.actors[index] is None
        self.trace.append((self.scheduler.now, "> join", f"{params.name} {'by class' if by_class else ''}"))
        try:
            got = self.trial.join(None, params.actor_class) if by_class else self.trial.join(params.name, None)
        except SlotError as error:
            self.trace.append((self.scheduler.now, "  refused", str(error)))
            patient = params.initial_connection_timeout == 0
            self.referee.check(not (free and patient), "a client joins a free slot")
            return
        self.referee.check(self.trial.state == PENDING and self.actors[got] is None, "a slot is given away once")
        self._make_actor(got)
        if self.rng.random() < 0.8:
            self.joined(got)
        else:
            self.scheduler.after(self.rng.choice((0.0, 0.01, 0.5)), self.joined, got)

    def joined(self, index: int) -> None:
        """The stream of a client is set up."""
        self.referee.opened(self.referee.actors[index])
        self.tell("joined", self.trial.joined, index)

    def fire(self, timer: Timer, number: int) -> None:
        """A timer is due, unless it was stopped."""
        if self.timers.get(timer) == number:
            del self.timers[timer]
            self.tell("timer", self.trial.timer_fired, timer)

    def fire_late(self, timer: Timer) -> None:
        """A timer that was stopped fires all the same: it was due already."""
        if timer not in self.timers:
            self.tell("stopped timer", self.trial.timer_fired, timer)

    def _make_actor(self, index: int) -> None:
        peer = ActorPeer(index, *self._peer_arguments(index), lambda *said: self.from_actor(index, *said))
        self.actors[index] = peer
        self._down[index] = Stream(self.scheduler, self.rng, peer.receive, at_once=peer.character.in_process)

    def _peer_arguments(self, index: int) -> tuple[Any, ...]:
        character = self.scenario.actors[index] if index >= 0 else self.scenario.environment
        return self.scenario, character, Random(self.scenario.seed * 101 + index), self.scheduler

    # Effects

    def now(self) -> float:
        return self.scheduler.now

    def timestamp(self) -> int:
        return int(self.scheduler.now * 1e9) + 10**18

    def connect_actor(self, index: int) -> None:
        self.trace.append((self.now(), "  connect", index))
        self.referee.opened(self.referee.actors[index])
        self._make_actor(index)

    def connect_environment(self) -> None:
        self.trace.append((self.now(), "  connect", "environment"))
        self.referee.opened(self.referee.environment)
        self.environment = EnvironmentPeer(*self._peer_arguments(-1), self.from_environment)
        at_once = self.environment.character.in_process
        self._down[-1] = Stream(self.scheduler, self.rng, self.environment.receive, at_once=at_once)

    def send_actor(self, index: int, message: ActorRunTrialInput) -> None:
        self.trace.append((self.now(), f"  to actor {index}", message))
        self.referee.sent_actor(index, message)
        self._down[index].put(message)

    def send_environment(self, message: EnvRunTrialInput) -> None:
        self.trace.append((self.now(), "  to environment", message))
        self.referee.sent_environment(message)
        self._down[-1].put(message)

    def release_actor(self, index: int) -> None:
        self.trace.append((self.now(), "  release", index))
        self.referee.released(self.referee.actors[index])

    def release_environment(self) -> None:
        self.trace.append((self.now(), "  release", "environment"))
        self.referee.released(self.referee.environment)

    def start_timer(self, timer: Timer, seconds: float) -> None:
        self.trace.append((self.now(), "  start timer", (timer, seconds)))
        self.referee.timer_started(seconds)
        self._timer_count += 1
        self.timers[timer] = self._timer_count
        self.scheduler.after(seconds, self.fire, timer, self._timer_count)

    def stop_timer(self, timer: Timer) -> None:
        self.trace.append((self.now(), "  stop timer", timer))
        self.timers.pop(timer, None)
        if self.rng.random() < 0.1:
            self.scheduler.after(0.0, self.fire_late, timer)

    def state_changed(self, state: int) -> None:
        self.trace.append((self.now(), "  state", TrialState.Name(state)))  # type: ignore[arg-type]
        self.referee.entered(state)

    def log_sample(self, sample: DatalogSample) -> None:
        self.trace.append((self.now(), "  sample", sample))
        self.samples.append(sample)
        if len(self.samples) - 1 == self.scenario.datalog_lost_at:
            # The trial is busy: it gave the sample away. That may have been its last one.
            if self.trial.phase is not Phase.OVER:
                self._afterwards.append(lambda: self.referee.must_have_ended("the loss of the datalog"))
            self.tell("datalog lost", self.trial.datalog_lost, "there is no room")


def _brief(detail: object) -> str:
    if isinstance(detail, tuple):
        return ", ".join(_brief(part) for part in detail)
    return text_format.MessageToString(detail, as_one_line=True) if isinstance(detail, Message) else str(detail)


def run(seed: int, make_trial: Callable[..., Trial] = Trial) -> World:
    """Run the world with this number.

    Raises:
        Violation: The trial broke a rule; the text tells the whole story.
    """
    world = World(make_scenario(seed), make_trial)
    world.run()
    return world
