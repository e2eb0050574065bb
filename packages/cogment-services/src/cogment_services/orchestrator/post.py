"""Rewards and messages between the participants of a trial."""

from __future__ import annotations

from collections.abc import Sequence

from cogment_core.api.common_pb2 import NORMAL, ActorRunTrialInput, Message, Reward
from cogment_core.api.environment_pb2 import EnvRunTrialInput
from cogment_services.orchestrator.complaints import Complaints
from cogment_services.orchestrator.effects import Effects
from cogment_services.orchestrator.limits import Allowance, Limits, deliveries
from cogment_services.orchestrator.observer import TrialObserver
from cogment_services.orchestrator.participants import Participant, Standing
from cogment_services.orchestrator.routing import Roster
from cogment_services.orchestrator.samples import SampleBuffer
from cogment_services.orchestrator.tick import ANY_TICK, LockStep

__all__ = ["Post"]

_REWARDED = (Standing.ABSENT, Standing.CLAIMED, Standing.JOINING, Standing.ENGAGED)
_REACHABLE = (Standing.JOINING, Standing.ENGAGED)


class Post:
    """Delivers rewards and messages, and hands them to the trial's samples.

    What is received is never changed: the in-process transport hands over the sender's own objects.

    Args:
        step: The lock-step of the trial, which knows the current tick.
        actors: All actors of the trial.
        environment: Name of the environment.
        effects: Takes what is sent.
        samples: Where all is logged, None for a trial without a datalog.
        complaints: Takes what cannot be delivered.
        limits: How much may wait.
        observer: Told what is passed on.
    """

    __slots__ = (
        "_actors",
        "_complaints",
        "_effects",
        "_environment",
        "_limits",
        "_observer",
        "_roster",
        "_samples",
        "_step",
    )

    def __init__(
        self,
        step: LockStep,
        actors: Sequence[Participant],
        environment: str,
        effects: Effects,
        samples: SampleBuffer | None,
        complaints: Complaints,
        limits: Limits,
        observer: TrialObserver,
    ) -> None:
        self._step = step
        self._actors = actors
        self._environment = environment
        self._effects = effects
        self._samples = samples
        self._complaints = complaints
        self._limits = limits
        self._observer = observer
        self._roster = Roster([(actor.name, actor.actor_class) for actor in actors])

    def reward(self, sender: str, reward: Reward, allowance: Allowance | None, *, deliver: bool) -> None:
        """Take a reward: for the receivers' next observation if it is for the current tick, else only for the samples.

        Args:
            sender: Name of who sent it.
            reward: As it came.
            allowance: What the sender may cause; None for no bound.
            deliver: Whether there will be a next observation.
        """
        current = self._current_tick()
        tick = reward.tick_id
        if tick != ANY_TICK and not 0 <= tick <= current:
            self._complaints.note(sender, "sent a reward for tick %d while %d is current: dropped", tick, current)
            return
        in_sync = tick in (ANY_TICK, current)
        receivers = self._roster.receivers(reward.receiver_name) if in_sync else ()
        if not self._allows(sender, allowance, reward, len(receivers), len(reward.sources)):
            return
        self._observer.rewarded()
        if in_sync:
            self._take_in_sync(sender, reward, receivers, deliver=deliver)
        elif self._samples is not None:
            self._samples.add_late_reward(reward, sender, self._effects.timestamp())

    def _take_in_sync(self, sender: str, reward: Reward, receivers: Sequence[int], *, deliver: bool) -> None:
        if not receivers:
            self._complaints.note(sender, "sent a reward to %.200r, which is no actor", reward.receiver_name)
        elif deliver:
            self._keep(sender, reward, receivers)
        if self._samples is not None:
            self._samples.add_reward(reward, sender if receivers else None)

    def _keep(self, sender: str, reward: Reward, receivers: Sequence[int]) -> None:
        for index in receivers:
            actor = self._actors[index]
            if actor.standing not in _REWARDED:
                continue
            if len(actor.pending) + len(reward.sources) > self._limits.pending_rewards:
                self._complaints.note(sender, "sent [%s] more rewards than can wait: dropped", actor.name)
                continue
            actor.pending.extend((sender, source) for source in reward.sources)

    def message(self, sender: str, message: Message, allowance: Allowance | None, *, environment_open: bool) -> None:
        """Pass a message on.

        Args:
            sender: Name of who sent it.
            message: As it came.
            allowance: What the sender may cause; None for no bound.
            environment_open: Whether the environment can be sent messages.
        """
        tick = self._current_tick()
        if message.tick_id not in (ANY_TICK, tick):
            text = "sent a message for tick %d while %d is current: dropped"
            self._complaints.note(sender, text, message.tick_id, tick)
            return
        receivers = self._roster.receivers(message.receiver_name)
        if not self._allows(sender, allowance, message, len(receivers), 1):
            return
        self._observer.messaged()
        if receivers:
            for index in receivers:
                self._pass_to_actor(sender, message, self._actors[index])
        elif message.receiver_name != self._environment:
            self._complaints.note(sender, "sent a message to %.200r, who is not in the trial", message.receiver_name)
        elif environment_open:
            self._pass_to_environment(sender, message)
        else:
            self._complaints.note(sender, "sent a message to the environment, which is not there: not delivered")
        if self._samples is not None:
            self._samples.add_message(message, sender)

    def _pass_to_actor(self, sender: str, message: Message, receiver: Participant) -> None:
        if receiver.standing in _REACHABLE:
            envelope = ActorRunTrialInput(state=NORMAL)
            self._address(envelope.message, sender, message, receiver.name)
            self._effects.send_actor(receiver.index, envelope)
        else:
            self._complaints.note(sender, "sent a message to [%s], who is not there: not delivered", receiver.name)

    def _pass_to_environment(self, sender: str, message: Message) -> None:
        envelope = EnvRunTrialInput(state=NORMAL)
        self._address(envelope.message, sender, message, self._environment)
        self._effects.send_environment(envelope)

    def _address(self, addressed: Message, sender: str, message: Message, receiver: str) -> None:
        addressed.tick_id = self._current_tick()
        addressed.sender_name = sender
        addressed.receiver_name = receiver
        if message.HasField("payload"):
            addressed.payload.CopyFrom(message.payload)

    def _current_tick(self) -> int:
        return max(self._step.tick, 0)

    def _allows(
        self, sender: str, allowance: Allowance | None, item: Reward | Message, receivers: int, units: int
    ) -> bool:
        size = item.ByteSize()
        if receivers * size > self._limits.delivered_bytes:
            text = "sent %d bytes to %d receivers, more than %d in all: dropped"
            self._complaints.note(sender, text, size, receivers, self._limits.delivered_bytes)
            return False
        if allowance is None:
            return True
        cost = deliveries(receivers, units, size)
        if allowance.take(cost, self._step.tick, self._effects.now()):
            return True
        self._complaints.note(sender, "sends more rewards and messages than it may: dropped")
        return False
