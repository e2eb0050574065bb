"""A trial, as a machine without I/O: inputs are calls of its methods, outputs are calls on its `Effects`.

::

    state         phase             what the trial waits for
    INITIALIZING  CREATED           start()
    PENDING       ACTORS            every actor is ready, or is given up
                  ENVIRONMENT       the environment is ready and sends the first observations
    RUNNING       ACTING            the actors act           <-.
                  OBSERVING         the next observations    --'
    TERMINATING   FINISHING         the observations that answer the last actions
                  ENVIRONMENT_ACK   the environment has sent all (LAST_ACK)
                  ACTOR_ACKS        the actors have sent all (LAST_ACK)
    ENDED         OVER

A trial that ends on request or at its last step goes through all of them; one whose environment ends it leaves out
FINISHING; one that is forced to end goes to OVER from wherever it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from cogment_core.api.common_pb2 import (
    HEARTBEAT,
    NORMAL,
    PENDING,
    ActorRunTrialInput,
    ActorRunTrialOutput,
    TrialParams,
    TrialState,
)
from cogment_core.api.environment_pb2 import EnvRunTrialInput, EnvRunTrialOutput, ObservationSet
from cogment_core.logs import logger
from cogment_services.orchestrator import texts
from cogment_services.orchestrator.complaints import Complaints
from cogment_services.orchestrator.course import Course
from cogment_services.orchestrator.effects import Effects, Timer
from cogment_services.orchestrator.limits import Limits
from cogment_services.orchestrator.observer import NOBODY, Loss, TrialObserver
from cogment_services.orchestrator.participants import Cast, NotPendingError, Participant, Standing
from cogment_services.orchestrator.phases import STATE_OF, Phase
from cogment_services.orchestrator.post import Post
from cogment_services.orchestrator.receipts import Receipt, classify
from cogment_services.orchestrator.samples import SampleBuffer

__all__ = ["Trial"]

_ENGAGED = Standing.ENGAGED
_DEFAULT_LIMITS = Limits()


class Trial:
    """One trial.

    Each input is handled to its end before the next: one that arrives meanwhile, because an effect calls back, waits.
    After END nothing is sent to anyone, and no timer runs.

    Args:
        trial_id: Identifier of the trial.
        params: Its parameters, complete and valid (see `complete_parameters`). They are not changed.
        effects: The outside.
        user_id: Who started it.
        client_slots: For each actor, whether it joins as a client; else it is a service that is connected to.
        logged: Whether there is a datalog to send samples to.
        limits: Its bounds.
        created: When it was created, ns since the Unix epoch; now if None.
        observer: Told how the trial goes.
    """

    def __init__(
        self,
        trial_id: str,
        params: TrialParams,
        effects: Effects,
        *,
        user_id: str = "",
        client_slots: Sequence[bool],
        logged: bool,
        limits: Limits = _DEFAULT_LIMITS,
        created: int | None = None,
        observer: TrialObserver = NOBODY,
    ) -> None:
        self.trial_id = trial_id
        self.user_id = user_id
        self.params = params
        self.created = effects.timestamp() if created is None else created
        """When it was created, ns since the Unix epoch."""
        self.complaints = Complaints(trial_id)
        """What participants did wrong without ending anything."""
        self._effects = effects
        self._environment = params.environment.name
        self._cast = Cast(
            [
                Participant(index, actor, client=client, rate=limits.deliveries)
                for index, (actor, client) in enumerate(zip(params.actors, client_slots, strict=True))
            ]
        )
        samples = SampleBuffer(params.nb_buffered_ticks, limits.sample_records, effects.log_sample) if logged else None
        self._course = Course(trial_id, params, effects, self._cast, samples, self.complaints, limits, observer)
        self._post = Post(
            self._course.step,
            self._cast.actors,
            self._environment,
            effects,
            samples,
            self.complaints,
            limits,
            observer,
        )
        self._busy = False
        self._inbox: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()

    @property
    def state(self) -> TrialState.ValueType:
        """The state of the trial."""
        return STATE_OF[self._course.phase]

    @property
    def phase(self) -> Phase:
        """What the trial waits for."""
        return self._course.phase

    @property
    def tick_id(self) -> int:
        """The current tick: 0 until the second observations."""
        return max(self._course.step.tick, 0)

    @property
    def latest_observations(self) -> ObservationSet | None:
        """What the environment sent last; None before the first and after the end. Not to be changed."""
        return self._course.observed

    @property
    def ended(self) -> int | None:
        """When the trial ended, ns since the Unix epoch; None while it has not."""
        return self._course.ended

    @property
    def end_reason(self) -> str:
        """Why the trial had to be ended; empty while it runs, and if it ended as it should."""
        return self._course.end_reason

    # What happens to a trial

    def start(self) -> None:
        """The trial is PENDING: service actors are connected, clients may join."""
        self._handle(self._course.start)

    def join(self, name: str | None, actor_class: str | None) -> int:
        """Give a client the slot it asks for. `joined`, or `actor_gone`, has to follow.

        Args:
            name: Name of the actor that the client wants to be.
            actor_class: Without a name: the class of the actor; the first free one is given.

        Returns:
            Index of the actor.

        Raises:
            SlotError: The trial has no such slot, or it is not free.
        """
        if self.state != PENDING:
            state = TrialState.Name(self.state)
            raise NotPendingError(f"trial [{self.trial_id}] is {state}; actors join while it is PENDING")
        return self._cast.claim(name, actor_class).index

    def joined(self, index: int) -> None:
        """The stream of the client that was given slot ``index`` can be sent to."""
        self._handle(self._on_joined, index)

    def actor_said(self, index: int, message: ActorRunTrialOutput) -> None:
        """An actor sent ``message``; the ``init_output`` of a service is one, that of a client is not (see `join`)."""
        self._handle(self._on_actor, index, message)

    def actor_gone(self, index: int, reason: str) -> None:
        """An actor's stream closed, failed or was given up. Nothing is sent to it any more."""
        self._handle(self._on_actor_gone, index, reason)

    def environment_said(self, message: EnvRunTrialOutput) -> None:
        """The environment sent ``message``."""
        self._handle(self._on_environment, message)

    def environment_gone(self, reason: str) -> None:
        """The environment's stream closed, failed or was given up. Nothing is sent to it any more."""
        self._handle(self._on_environment_gone, reason)

    def datalog_lost(self, reason: str) -> None:
        """The datalog takes no more samples, and the trial is not to go on without."""
        self._handle(self._course.end, texts.datalog_lost(reason), texts.DATALOG_LOST)

    def timer_fired(self, timer: Timer) -> None:
        """A timer that was started is due."""
        self._handle(self._course.due, timer)

    def terminate(self, hard: bool, details: str = texts.REQUESTED) -> None:
        """End the trial.

        Args:
            hard: Now; else with the actions of the current tick and the observations that follow them.
            details: What the participants are told if ``hard``.
        """
        if hard:
            self._handle(self._course.end, details)
        else:
            self._handle(self._course.request_end)

    def _handle(self, handler: Callable[..., None], *args: Any) -> None:
        if self._busy:
            self._inbox.append((handler, args))
            return
        self._busy = True
        try:
            handler(*args)
            while self._inbox:
                handler, args = self._inbox.popleft()
                handler(*args)
        except Exception:
            self._course.end(texts.FAILURE)  # a trial that fails must not leave its participants waiting
            raise
        finally:
            self._busy = False

    # Actors

    def _on_joined(self, index: int) -> None:
        actor = self._cast.actors[index]
        if actor.standing is Standing.CLAIMED:
            self._course.welcome(actor)

    def _on_actor(self, index: int, message: ActorRunTrialOutput) -> None:
        actor = self._cast.actors[index]
        kind = message.WhichOneof("data")
        if kind == "action" and message.state == NORMAL and actor.standing is _ENGAGED:
            self._course.act(actor, message.action)
            return
        receipt = classify(message.state, kind)
        if actor.standing is _ENGAGED:
            self._on_engaged_actor(actor, receipt, message)
        elif receipt is Receipt.HEARTBEAT and actor.standing in (Standing.JOINING, Standing.DISENGAGED):
            self._effects.send_actor(index, ActorRunTrialInput(state=HEARTBEAT))
        elif actor.standing is Standing.JOINING:
            self._on_joining_actor(actor, receipt, kind)

    def _on_joining_actor(self, actor: Participant, receipt: Receipt, kind: str | None) -> None:
        if receipt is Receipt.DATA and kind == "init_output":
            self._course.engage(actor)
        else:
            self._on_violation(actor, f"sent {kind or receipt.name} before init_output")

    def _on_engaged_actor(self, actor: Participant, receipt: Receipt, message: ActorRunTrialOutput) -> None:
        if receipt is Receipt.DATA:
            self._on_actor_data(actor, message)
        elif receipt is Receipt.HEARTBEAT:
            self._effects.send_actor(actor.index, ActorRunTrialInput(state=HEARTBEAT))
        elif receipt is Receipt.LAST_ACK and not actor.acked:
            if self._course.phase < Phase.ENVIRONMENT_ACK:
                self.complaints.note(actor.name, "acknowledged the end before it came")
            self._course.acknowledge(actor)
        elif receipt is Receipt.LAST_ACK:
            self._on_violation(actor, "sent LAST_ACK twice")
        elif receipt is Receipt.VIOLATION:
            self._on_violation(actor, f"sent data in communication state {message.state}, or the state is unknown")
        elif receipt is Receipt.DETAILS:
            logger.debug("trial [%s]: [%s] says: %.500r", self.trial_id, actor.name, message.details)
        else:
            self.complaints.note(actor.name, f"sent {receipt.name}, which means nothing here: ignored")

    def _on_actor_data(self, actor: Participant, message: ActorRunTrialOutput) -> None:
        kind = message.WhichOneof("data")
        if kind == "reward":
            deliver = self._course.phase < Phase.ENVIRONMENT_ACK
            self._post.reward(actor.name, message.reward, actor.allowance, deliver=deliver)
        elif kind == "message":
            self._post.message(
                actor.name, message.message, actor.allowance, environment_open=self._environment_is_open()
            )
        else:
            self._on_violation(actor, f"sent {kind} again")

    def _on_violation(self, actor: Participant, what: str) -> None:
        logger.warning("trial [%s]: [%s] %s: takes part no more", self.trial_id, actor.name, what)
        self._course.lose(actor, Standing.DISENGAGED, Loss.VIOLATION, texts.protocol_error(f"[{actor.name}] {what}"))

    def _on_actor_gone(self, index: int, reason: str) -> None:
        actor = self._cast.actors[index]
        if actor.standing is not Standing.GONE:
            logger.debug("trial [%s]: [%s] is gone: %s", self.trial_id, actor.name, reason)
            self._course.lose(actor, Standing.GONE, Loss.DISCONNECTED)

    # Environment

    def _environment_is_open(self) -> bool:
        return self._course.environment in (Standing.JOINING, Standing.ENGAGED)

    def _on_environment(self, message: EnvRunTrialOutput) -> None:
        course = self._course
        kind = message.WhichOneof("data")
        if kind == "observation_set" and message.state == NORMAL and course.environment is _ENGAGED:
            course.observe(message.observation_set)
            return
        if not self._environment_is_open():
            return
        receipt = classify(message.state, kind)
        if receipt is Receipt.HEARTBEAT:
            self._effects.send_environment(EnvRunTrialInput(state=HEARTBEAT))
        elif course.environment is _ENGAGED:
            self._on_engaged_environment(receipt, message)
        elif receipt is Receipt.DATA and kind == "init_output":
            course.engage_environment()
        else:
            course.end_for_violation(f"environment sent {kind or receipt.name} before init_output")

    def _on_engaged_environment(self, receipt: Receipt, message: EnvRunTrialOutput) -> None:
        course = self._course
        if receipt is Receipt.DATA:
            self._on_environment_data(message)
        elif receipt is Receipt.LAST and not course.environment_said_last and course.phase <= Phase.FINISHING:
            course.environment_said_last = True
        elif receipt is Receipt.LAST_ACK and not course.environment_acked:
            if course.phase < Phase.ENVIRONMENT_ACK:
                self.complaints.note(self._environment, "acknowledged the end before it came")
            course.acknowledge_environment()
        elif receipt is Receipt.DETAILS:
            logger.debug("trial [%s]: [%s] says: %.500r", self.trial_id, self._environment, message.details)
        else:
            self.complaints.note(self._environment, f"sent {receipt.name}, which means nothing here: ignored")

    def _on_environment_data(self, message: EnvRunTrialOutput) -> None:
        kind = message.WhichOneof("data")
        if kind == "reward":
            deliver = self._course.phase < Phase.ENVIRONMENT_ACK
            self._post.reward(self._environment, message.reward, None, deliver=deliver)
        elif kind == "message":
            self._post.message(self._environment, message.message, None, environment_open=True)
        else:
            self.complaints.note(self._environment, f"sent {kind} again: ignored")

    def _on_environment_gone(self, reason: str) -> None:
        if self._course.environment is not Standing.GONE:
            logger.debug("trial [%s]: environment is gone: %s", self.trial_id, reason)
            self._course.lose_environment()
