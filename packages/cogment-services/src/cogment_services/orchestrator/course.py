"""The course of a trial: what each event leads to, from the start to the end."""

from __future__ import annotations

from cogment_core.api.common_pb2 import LAST, Action, TrialParams
from cogment_core.api.environment_pb2 import EnvRunTrialInput, ObservationSet
from cogment_core.errors import ProtocolError
from cogment_core.logs import logger
from cogment_services.orchestrator import texts
from cogment_services.orchestrator.complaints import Complaints
from cogment_services.orchestrator.deadlines import Deadlines
from cogment_services.orchestrator.effects import Effects, Timer, TimerKind
from cogment_services.orchestrator.limits import Limits
from cogment_services.orchestrator.messages import actor_end, actor_init, environment_end, environment_init
from cogment_services.orchestrator.observer import NOBODY, Loss, TrialObserver
from cogment_services.orchestrator.participants import CONNECTED, Cast, Participant, Standing
from cogment_services.orchestrator.phases import STATE_OF, Phase
from cogment_services.orchestrator.samples import SampleBuffer
from cogment_services.orchestrator.tick import LockStep

__all__ = ["Course"]

# Looking these up in their enumerations takes longer than the tests they are for.
_ENGAGED = Standing.ENGAGED
_ENVIRONMENT = Phase.ENVIRONMENT
_ACTING = Phase.ACTING
_OBSERVING = Phase.OBSERVING
_FINISHING = Phase.FINISHING


class Course:
    """How far a trial is, and how it goes on.

    Args:
        trial_id: Identifier of the trial, for the log.
        params: Its parameters.
        effects: The outside.
        cast: Its actors.
        samples: Where it is logged, None without a datalog.
        complaints: Takes what participants do wrong.
        limits: Its bounds.
        observer: Told how the trial goes.
    """

    def __init__(
        self,
        trial_id: str,
        params: TrialParams,
        effects: Effects,
        cast: Cast,
        samples: SampleBuffer | None,
        complaints: Complaints,
        limits: Limits,
        observer: TrialObserver,
    ) -> None:
        self.phase = Phase.CREATED
        self.step = LockStep(cast.actors, effects, complaints, limits.delivered_bytes)
        self.environment = Standing.ABSENT
        self.environment_said_last = False
        self.environment_acked = False
        self.observed: ObservationSet | None = None
        self.ended: int | None = None
        self.end_reason = ""
        self._trial_id = trial_id
        self._params = params
        self._effects = effects
        self._cast = cast
        self._samples = samples
        self._complaints = complaints
        self._limits = limits
        self._observer = observer
        self._observed = observer is not NOBODY
        self._deadlines = Deadlines(effects, cast.actors, params.max_inactivity)
        self._max_steps = params.max_steps
        self._end_requested = False
        self._unacked = 0

    # Start

    def start(self) -> None:
        """Wait for the actors; connect those that are services."""
        if self.phase is not Phase.CREATED:
            return
        if self._samples is not None:
            self._samples.begin(0, self._effects.timestamp())
        self._enter(Phase.ACTORS)
        self._deadlines.touch()
        self._deadlines.start(TimerKind.INACTIVITY, self._params.max_inactivity)
        for actor, params in zip(self._cast.actors, self._params.actors, strict=True):
            self._deadlines.start(TimerKind.ACTOR_CONNECTION, params.initial_connection_timeout, actor.index)
            if not actor.client:
                self._cast.place(actor, Standing.JOINING)
                self._effects.connect_actor(actor.index)
                self._introduce(actor)
        self._proceed_when_settled()

    def welcome(self, actor: Participant) -> None:
        """A client has its stream: it is ready."""
        if self.phase is Phase.OVER:
            self._dismiss(actor)
            return
        self._introduce(actor)
        self.engage(actor)

    def engage(self, actor: Participant) -> None:
        """``actor`` is ready."""
        self._deadlines.stop(TimerKind.ACTOR_CONNECTION, actor.index)
        self._cast.place(actor, Standing.ENGAGED)
        self._proceed_when_settled()

    def engage_environment(self) -> None:
        """The environment is ready."""
        self._deadlines.stop(TimerKind.ENVIRONMENT_CONNECTION)
        self.environment = Standing.ENGAGED

    def _introduce(self, actor: Participant) -> None:
        self._effects.send_actor(actor.index, actor_init(self._params, actor.index))

    def _proceed_when_settled(self) -> None:
        if self.phase is not Phase.ACTORS or self._cast.unsettled:
            return
        self._enter(Phase.ENVIRONMENT)
        self._deadlines.start(TimerKind.ENVIRONMENT_CONNECTION, self._limits.environment_connection)
        self.environment = Standing.JOINING
        self._effects.connect_environment()
        self._effects.send_environment(environment_init(self._params))

    # Steps

    def observe(self, observations: ObservationSet) -> None:
        """The environment sent observations: a new tick begins."""
        self._deadlines.touch()
        phase = self.phase
        if phase > _FINISHING:
            self._complaints.note(self._params.environment.name, "sent observations after the last ones: ignored")
            return
        try:
            contents = self.step.contents(observations)
        except ProtocolError as error:
            self.end_for_violation(str(error))
            return
        if self._samples is not None:
            self._log_observations(self._samples, observations)
        if phase is _ENVIRONMENT:
            self._enter(_ACTING)
        final = phase is _FINISHING or self.environment_said_last
        if final:
            self._note(texts.ENVIRONMENT_ENDED)
        self.observed = observations
        if self._observed:
            self._observer.observed(self.step.tick + 1, contents)
        self.step.observe(contents, observations.timestamp, final=final)
        if final:
            self._await_environment_ack()
        else:
            self._await_actions()

    def act(self, actor: Participant, action: Action) -> None:
        """An actor that takes part sent an action."""
        self._deadlines.touch()
        complete = self.step.take(actor, action)
        if self._observed and actor.action is action:
            self._observer.acted(actor.index)
        if complete:
            self._complete_tick()

    def _log_observations(self, samples: SampleBuffer, observations: ObservationSet) -> None:
        now = self._effects.timestamp()
        if self.phase is not _ENVIRONMENT:
            self._close_sample(samples)
            samples.begin(self.step.tick + 1, now)
        samples.observe(now, observations)

    def _close_sample(self, samples: SampleBuffer) -> None:
        actions = [actor.action for actor in self._cast.actors]
        samples.close(STATE_OF[self.phase], actions, self.step.defaulted, self.step.unavailable)

    def _await_actions(self) -> None:
        self.phase = _ACTING
        if self._samples is not None:
            self._samples.release()
        self._deadlines.await_responses()
        if not self.step.waiting:
            self._complete_tick()

    def _complete_tick(self) -> None:
        step = self.step
        if self._end_requested or (self._max_steps and step.tick >= self._max_steps):
            if not self._end_requested:
                self._note(texts.LAST_STEP)
            self._enter(_FINISHING)
            self._effects.send_environment(EnvRunTrialInput(state=LAST))
        else:
            self.phase = _OBSERVING
        answer = step.action_set(self._effects.timestamp())
        if self._observed:
            self._observer.answered(answer.action_set.actions[:], last=self.phase is _FINISHING)
        self._effects.send_environment(answer)

    # Losses

    def lose(self, actor: Participant, standing: Standing, loss: Loss, *causes: str) -> None:
        """``actor`` takes part no more.

        Args:
            actor: Whom the trial loses.
            standing: DISENGAGED if it can be told the end still, else GONE.
            loss: Why.
            causes: Special events that say why.
        """
        if self.phase is Phase.CREATED:
            return
        before = actor.standing
        self._cast.place(actor, standing)
        if before is Standing.DISENGAGED:
            return
        if not actor.acked:
            self._observer.lost(actor.index, loss)
        actor.pending = []
        self._deadlines.stop(TimerKind.ACTOR_CONNECTION, actor.index)
        self._deadlines.stop(TimerKind.RESPONSE, actor.index)
        tick_complete = self.step.drop(actor)
        if self.phase < _FINISHING and not actor.optional:
            self._end_without_actors(actor, *causes)
        elif self.phase is Phase.ACTORS:
            self._proceed_when_settled()
        elif tick_complete:
            self._complete_tick()
        elif self.phase is Phase.ACTOR_ACKS and not actor.acked:
            self._count_ack()

    def lose_environment(self) -> None:
        """The environment's stream is gone."""
        before, self.environment = self.environment, Standing.GONE
        if not self.environment_acked:
            self._observer.lost(None, Loss.DISCONNECTED)
        if before is Standing.JOINING:
            self.end(texts.ENVIRONMENT_NOT_READY, texts.ENVIRONMENT_LOST)
        elif before is _ENGAGED and self.phase <= _FINISHING:
            self.end(texts.ENVIRONMENT_STREAM_FAILED, texts.ENVIRONMENT_LOST)
        elif before is _ENGAGED and self.phase is Phase.ENVIRONMENT_ACK:
            self._note(texts.ENVIRONMENT_LOST)
            self._finish(texts.ENVIRONMENT_NOT_ACKED)

    def end_for_violation(self, what: str) -> None:
        """The environment broke the protocol in a way that the trial cannot go on from."""
        self._observer.lost(None, Loss.VIOLATION)
        error = texts.protocol_error(what)
        self.end(texts.ENVIRONMENT_NOT_READY if self.environment is Standing.JOINING else error, error)

    def _end_without_actors(self, actor: Participant, *causes: str) -> None:
        if self.phase < _ACTING:
            self.end(texts.ACTORS_NOT_READY, *causes, texts.actor_lost(actor.name))
            return
        overdue = self._deadlines.is_overdue
        missing = (other for other in self._cast.actors if other.standing is not _ENGAGED or overdue(other))
        names = [other.name for other in missing if not other.optional]
        details = texts.unavailable(names, self.step.tick)
        self.end(details, *causes, *(texts.actor_lost(name) for name in names))

    # End

    def request_end(self) -> None:
        """End with the actions of the current tick."""
        self._end_requested = True
        if self.phase is not Phase.OVER:
            self._note(texts.SOFT_END)

    def end(self, details: str, *causes: str) -> None:
        """End now.

        Args:
            details: What the participants are told.
            causes: Special events that say why.
        """
        if self.phase is Phase.OVER:
            return
        if self.phase is _ACTING or self.phase is _OBSERVING:
            self._enter(_FINISHING)
        for cause in causes:
            self._note(cause)
        self._note(texts.forced(details))
        self._finish(details)

    def acknowledge(self, actor: Participant) -> None:
        """An actor has sent all it had to send."""
        actor.acked = True
        if self.phase is Phase.ACTOR_ACKS:
            self._count_ack()

    def acknowledge_environment(self) -> None:
        """The environment has sent all it had to send."""
        self.environment_acked = True
        if self.phase is Phase.ENVIRONMENT_ACK:
            self._await_actor_acks()

    def _await_environment_ack(self) -> None:
        self._enter(Phase.ENVIRONMENT_ACK)
        self._deadlines.stop(TimerKind.INACTIVITY)  # the acknowledgements have bounds of their own
        if self.environment_acked:
            self._await_actor_acks()
        else:
            self._deadlines.start(TimerKind.ENVIRONMENT_ACK, self._limits.environment_ack)

    def _await_actor_acks(self) -> None:
        self._deadlines.stop(TimerKind.ENVIRONMENT_ACK)
        self._enter(Phase.ACTOR_ACKS)
        self._unacked = sum(actor.standing is _ENGAGED and not actor.acked for actor in self._cast.actors)
        if self._unacked:
            self._deadlines.start(TimerKind.ACTOR_ACK, self._limits.actor_ack)
        else:
            self._finish("")

    def _count_ack(self) -> None:
        self._unacked -= 1
        if not self._unacked:
            self._finish("")

    def _finish(self, details: str) -> None:
        started = self.phase is not Phase.CREATED
        self._deadlines.stop_all()
        self.end_reason = details
        if self.environment in CONNECTED:
            self.environment = Standing.GONE
            self._effects.send_environment(environment_end(details))
            self._effects.release_environment()
        for actor in self._cast.actors:
            if actor.standing in CONNECTED:
                self._dismiss(actor)
        self.ended = self._effects.timestamp()
        self._enter(Phase.OVER)
        if self._samples is not None and started:
            self._close_sample(self._samples)
            self._samples.finish()
        self.observed = None
        for actor in self._cast.actors:
            actor.forget()
        self._complaints.summarize()
        reason = details or "as it should"
        logger.info("trial [%s] ended at tick %d: %s", self._trial_id, max(self.step.tick, 0), reason)

    def _dismiss(self, actor: Participant) -> None:
        self._cast.place(actor, Standing.GONE)
        self._effects.send_actor(actor.index, actor_end(self.end_reason))
        self._effects.release_actor(actor.index)

    # Timers

    def due(self, timer: Timer) -> None:
        """A timer fired."""
        if not self._deadlines.fired(timer):
            return
        if timer.kind is TimerKind.RESPONSE:
            self._check_response(self._cast.actors[timer.actor])
        elif timer.kind is TimerKind.INACTIVITY:
            self._check_activity()
        elif timer.kind is TimerKind.ACTOR_CONNECTION:
            self._give_up(self._cast.actors[timer.actor])
        elif timer.kind is TimerKind.ENVIRONMENT_CONNECTION:
            self._observer.lost(None, Loss.NOT_READY)
            self.end(texts.ENVIRONMENT_NOT_READY, texts.ENVIRONMENT_LOST)
        elif timer.kind is TimerKind.ENVIRONMENT_ACK:
            self._observer.lost(None, Loss.UNRESPONSIVE)
            self._finish(texts.ENVIRONMENT_NOT_ACKED)
        elif timer.kind is TimerKind.ACTOR_ACK:
            late = [actor for actor in self._cast.actors if actor.standing is _ENGAGED and not actor.acked]
            for actor in late:
                self._observer.lost(actor.index, Loss.UNRESPONSIVE)
            names = ", ".join(actor.name for actor in late)
            logger.warning("trial [%s]: [%s] did not acknowledge the end", self._trial_id, names)
            self._finish("")

    def _check_response(self, actor: Participant) -> None:
        if self._deadlines.await_response(actor):
            return
        if not actor.optional:
            self._observer.lost(actor.index, Loss.UNRESPONSIVE)
            self._end_without_actors(actor)
        elif self.step.skip(actor):
            self._complete_tick()

    def _check_activity(self) -> None:
        if not self._deadlines.watch_activity():
            self.end(texts.INACTIVE, texts.STALE)

    def _give_up(self, actor: Participant) -> None:
        if actor.standing is Standing.ABSENT:
            self.lose(actor, Standing.GONE, Loss.NOT_READY)
        elif actor.standing is Standing.JOINING:
            self.lose(actor, Standing.DISENGAGED, Loss.NOT_READY)

    def _note(self, event: str) -> None:
        if self._samples is not None:
            self._samples.note(event)

    def _enter(self, phase: Phase) -> None:
        before, self.phase = STATE_OF[self.phase], phase
        if STATE_OF[phase] != before:
            self._effects.state_changed(STATE_OF[phase])
