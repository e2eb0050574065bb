"""The lock-step of a trial: observations to all actors, their actions back to the environment, tick by tick."""

from __future__ import annotations

from cogment_core.api.common_pb2 import LAST, NORMAL, Action, ActorRunTrialInput
from cogment_core.api.environment_pb2 import EnvRunTrialInput, ObservationSet
from cogment_core.errors import ProtocolError
from cogment_services.orchestrator.complaints import Complaints
from cogment_services.orchestrator.effects import Effects
from cogment_services.orchestrator.participants import Participant, Standing
from cogment_services.orchestrator.rewards import reward_message

__all__ = ["ANY_TICK", "LockStep"]

ANY_TICK = -1
"""``tick_id`` of what is meant for the current tick, whichever that is."""

_ENGAGED = Standing.ENGAGED


class LockStep:
    """Where the trial is in its current tick.

    A tick begins with `observe` and is complete when nobody is waited for; `action_set` then makes what the environment
    gets. This is the hot path of every trial: it is linear in the actors and does no work beyond the protocol's.

    Args:
        actors: All actors of the trial.
        effects: Takes what is sent to them.
        complaints: Takes what they do wrong.
        delivered_bytes: How many bytes of observations one tick may have, all actors together.
    """

    __slots__ = (
        "_actors",
        "_complaints",
        "_delivered_bytes",
        "_in_order",
        "_send",
        "answered",
        "defaulted",
        "tick",
        "unavailable",
        "waiting",
    )

    def __init__(
        self, actors: tuple[Participant, ...], effects: Effects, complaints: Complaints, delivered_bytes: int
    ) -> None:
        self._actors = actors
        self._in_order = list(range(len(actors)))
        self._send = effects.send_actor
        self._complaints = complaints
        self._delivered_bytes = delivered_bytes
        self.tick = -1
        """The current tick; -1 before the first observations."""
        self.waiting = 0
        """How many actors have still to act in it."""
        self.answered = False
        """Whether its action set has been made, or none will be."""
        self.defaulted: list[int] = []
        """Actors whose default action went into the action set."""
        self.unavailable: list[int] = []
        """Actors that have no action in the action set."""

    def contents(self, observations: ObservationSet) -> list[bytes]:
        """What each actor is to observe, in their order, if ``observations`` are right for the next tick.

        Raises:
            ProtocolError: They are for another tick, do not say what each actor observes, or are too large.
        """
        tick = observations.tick_id
        if tick != ANY_TICK and tick != self.tick + 1:
            raise ProtocolError(f"observations for tick {tick}, expected {self.tick + 1} (or {ANY_TICK})")
        places = observations.actors_map[:]
        payloads = observations.observations[:]
        if places == self._in_order and len(payloads) == len(places):
            return payloads  # one for each, the usual case
        if len(places) != len(self._actors):
            raise ProtocolError(f"actors_map has {len(places)} entries for {len(self._actors)} actors")
        for place in places:
            if not 0 <= place < len(payloads):
                raise ProtocolError(f"actors_map points to observation {place} of {len(payloads)}")
        contents = [payloads[place] for place in places]
        size = sum(map(len, contents))
        if size > self._delivered_bytes:  # a few payloads for many actors: each gets a copy
            raise ProtocolError(f"observations of {size} bytes for all actors, more than {self._delivered_bytes}")
        return contents

    def observe(self, contents: list[bytes], timestamp: int, *, final: bool) -> None:
        """Begin the next tick: give each actor that takes part its rewards, then its observation.

        Args:
            contents: What each actor observes.
            timestamp: When, by the environment's clock.
            final: Whether these are the last observations: they are announced by LAST and nobody has to act.
        """
        rewarded = max(self.tick, 0)
        self._begin_tick()
        self.answered = final
        tick = self.tick
        send = self._send
        for actor, content in zip(self._actors, contents, strict=True):
            actor.action = None
            if actor.standing is not _ENGAGED:
                continue
            if actor.pending:
                send(actor.index, reward_message(rewarded, actor.name, actor.pending))
                actor.pending = []
            if final:
                send(actor.index, ActorRunTrialInput(state=LAST))
                actor.awaited = False
            else:
                actor.awaited = True
                self.waiting += 1
            message = ActorRunTrialInput(state=NORMAL)
            observation = message.observation
            observation.tick_id = tick
            observation.timestamp = timestamp
            observation.content = content
            send(actor.index, message)

    def _begin_tick(self) -> None:
        self.tick += 1
        self.waiting = 0
        self.defaulted = []
        self.unavailable = []

    def take(self, actor: Participant, action: Action) -> bool:
        """Take an action: the first of the actor in the current tick.

        An action that comes when the tick no longer waits for it is still what the actor did in the tick.

        Returns:
            Whether it completes the tick.
        """
        tick = action.tick_id
        if self.tick < 0 or (tick != self.tick and tick != ANY_TICK):
            self._complaints.note(actor.name, "acted for tick %d while %d is current: ignored", tick, self.tick)
            return False
        if actor.action is not None:
            self._complaints.note(actor.name, "acted again in tick %d: ignored", self.tick)
            return False
        actor.action = action
        if not actor.awaited:
            return False
        actor.awaited = False
        self.waiting -= 1
        return not self.waiting

    def skip(self, actor: Participant) -> bool:
        """Wait no longer for ``actor`` in this tick. Returns whether that completes the tick."""
        if not actor.awaited:
            return False
        actor.awaited = False
        self.waiting -= 1
        return not self.waiting

    def drop(self, actor: Participant) -> bool:
        """``actor`` takes part no more, nor does an action of it that is not used yet; see `skip`."""
        if not self.answered:
            actor.action = None
        return self.skip(actor)

    def action_set(self, timestamp: int) -> EnvRunTrialInput:
        """What the environment gets for the current tick: for each actor its action, its default action or nothing."""
        self.answered = True
        message = EnvRunTrialInput(state=NORMAL)
        action_set = message.action_set
        action_set.tick_id = self.tick
        action_set.timestamp = timestamp
        append = action_set.actions.append
        for actor in self._actors:
            append(self._substitute(actor) if actor.action is None else actor.action.content)
        if self.unavailable:
            action_set.unavailable_actors.extend(self.unavailable)
        return message

    def _substitute(self, actor: Participant) -> bytes:
        if actor.default_action is not None:
            self.defaulted.append(actor.index)
            return actor.default_action
        self.unavailable.append(actor.index)
        return b""
