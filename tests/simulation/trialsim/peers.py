"""The peers of a trial: small models of an environment and of actors."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

from cogment_core.api.common_pb2 import (
    HEARTBEAT,
    LAST,
    LAST_ACK,
    NORMAL,
    Action,
    ActorInitialOutput,
    ActorRunTrialInput,
    ActorRunTrialOutput,
    Message,
    Reward,
    RewardSource,
)
from cogment_core.api.environment_pb2 import EnvInitialOutput, EnvRunTrialInput, EnvRunTrialOutput, ObservationSet

from .lies import actor_lie, environment_lie
from .network import Scheduler, Stream
from .scenario import Character, Scenario

GONE = "gone"
"""What a peer's stream delivers last if it breaks."""


class Peer:
    """What environments and actors have in common.

    Args:
        scenario: The world.
        character: How the peer behaves.
        rng: Its randomness.
        scheduler: Its time.
        deliver: Takes what it sends: a message, whether the message is a lie with consequences, or `GONE`.
    """

    def __init__(
        self,
        scenario: Scenario,
        character: Character,
        rng: Random,
        scheduler: Scheduler,
        deliver: Callable[[Any, bool], None],
    ) -> None:
        self.scenario = scenario
        self.character = character
        self.rng = rng
        self.alive = True
        self.ready = False
        self.ending = False
        self._received = 0
        self._serial = 0
        self._out = Stream(scheduler, rng, deliver, at_once=character.in_process)

    def receive(self, message: Any) -> None:
        """Take a message of the trial, and answer it in character."""
        if not self.alive:
            return
        character = self.character
        self._received += 1
        if character.refuses or self._received == character.dies_after:
            self.break_off()
        elif self._received == character.freezes_after:
            self.alive = False
        else:
            if self._received == character.lies_after:
                self.lie()
            self.answer(message)

    def break_off(self) -> None:
        """Close the stream."""
        self.alive = False
        self._out.put(GONE, False)

    def lie(self) -> None:
        """Break the protocol."""
        raise NotImplementedError

    def answer(self, message: Any) -> None:
        """Do what a message asks for."""
        raise NotImplementedError

    def say(self, message: Any, *, grave: bool = False, delay: float = 0.0) -> None:
        """Send ``message``."""
        self._out.put(message, grave, delay=delay)

    def thinking_time(self) -> float:
        """How long an answer takes."""
        if self.character.slow and self.rng.random() < 0.3:
            return self.character.slow
        return 0.0

    def new_serial(self) -> int:
        """A number that this peer has not used."""
        self._serial += 1
        return self._serial

    def some_receiver(self) -> str:
        """A receiver, or something that is none."""
        names = [actor.name for actor in self.scenario.params.actors]
        return self.rng.choice([*names, *names, "*", "player.*", "judge.*", "player.a0", "world", "nobody"])

    def new_reward(self, sender: str, tick: int) -> Reward:
        """A reward with a source that can be told from all others."""
        source = RewardSource(
            sender_name=self.rng.choice((sender, "somebody else")),
            value=self.new_serial(),
            confidence=self.rng.choice((1.0, 0.5, 0.0)),
        )
        return Reward(tick_id=tick, receiver_name=self.some_receiver(), sources=[source])


class EnvironmentPeer(Peer):
    """An environment that answers each action set with observations, until it ends the trial or is told to."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.tick = -1
        self.over = False
        self.rewards: dict[int, list[tuple[str, int]]] = {}
        """Receiver and serial number of what it rewarded before each of its observation sets."""
        self._final_tick: int | None = None
        self._sets = 0

    def answer(self, message: EnvRunTrialInput) -> None:
        kind = message.WhichOneof("data")
        if kind == "init_input":
            self.say(EnvRunTrialOutput(state=NORMAL, init_output=EnvInitialOutput()), delay=self.thinking_time())
            self.ready = True
            self.observe()
        elif kind == "action_set" and not self.over:
            self.observe()
        elif message.state == LAST:
            self.ending = True

    def is_final(self, tick: int) -> bool:
        """Whether it announced that its observations for ``tick`` are its last."""
        return self._final_tick is not None and tick >= self._final_tick

    def say(self, message: EnvRunTrialOutput, *, grave: bool = False, delay: float = 0.0) -> None:
        if message.WhichOneof("data") == "observation_set":
            self._sets += 1
        elif message == EnvRunTrialOutput(state=LAST) and self._final_tick is None:
            self._final_tick = self._sets
        super().say(message, grave=grave, delay=delay)

    def observe(self) -> None:
        """Send the observations of the next tick."""
        self.chat()
        self.tick += 1
        own_end = self.tick == self.scenario.environment_ends_at
        if own_end and not (self.ending and self.rng.random() < 0.5):
            self.say(EnvRunTrialOutput(state=LAST))
        self.over = own_end or self.ending
        self.say(self.new_observations(), delay=self.thinking_time())
        if self.over:
            self.chat()
            if not self.character.silent_at_end:
                self.say(EnvRunTrialOutput(state=LAST_ACK), delay=self.thinking_time())
        elif self.character.hasty and self.rng.random() < 0.3:
            self.observe()

    def new_observations(self) -> EnvRunTrialOutput:
        """Observations of the current tick: some shared, some not."""
        count = len(self.scenario.params.actors)
        shared = self.rng.random() < 0.3
        contents = [f"obs:{self.tick}:{0 if shared else index}".encode() for index in range(1 if shared else count)]
        observations = ObservationSet(
            tick_id=self.tick if self.character.explicit_ticks else -1,
            timestamp=1000 + self.tick,
            observations=contents,
            actors_map=[0] * count if shared else range(count),
        )
        return EnvRunTrialOutput(state=NORMAL, observation_set=observations)

    def chat(self) -> None:
        """Send rewards, messages and what else may come along."""
        while self.character.chatty and self.ready and self.rng.random() < 0.5:
            kind = self.rng.randrange(4)
            if kind == 0:
                self.say(EnvRunTrialOutput(state=HEARTBEAT))
            elif kind == 1:
                self.say(
                    EnvRunTrialOutput(state=NORMAL, message=Message(tick_id=-1, receiver_name=self.some_receiver()))
                )
            else:
                reward = self.new_reward("world", -1)
                self.rewards.setdefault(self.tick + 1, []).append((reward.receiver_name, self._serial))
                self.say(EnvRunTrialOutput(state=NORMAL, reward=reward))

    def lie(self) -> None:
        message, grave = environment_lie(self)
        if not self.ready:  # then all but heartbeats and init_output is a lie
            message, grave = EnvRunTrialOutput(state=LAST), True
        self.say(message, grave=grave)


class ActorPeer(Peer):
    """An actor that acts on each observation."""

    def __init__(self, index: int, *args: Any) -> None:
        super().__init__(*args)
        self.index = index
        self.name = self.scenario.params.actors[index].name
        self.view = -1
        self.ready = self.scenario.client_slots[index]
        self.first_acts: dict[int, int] = {}
        """Serial number of the first action that it sent on each observation."""

    def answer(self, message: ActorRunTrialInput) -> None:
        kind = message.WhichOneof("data")
        if kind == "init_input":
            if not self.scenario.client_slots[self.index]:
                init = ActorInitialOutput()
                self.say(ActorRunTrialOutput(state=NORMAL, init_output=init), delay=self.thinking_time())
            self.ready = True
            self.chat()
        elif kind == "observation":
            self.view = message.observation.tick_id
            self.act_or_acknowledge()
        elif message.state == LAST:
            self.ending = True

    def act_or_acknowledge(self) -> None:
        """Answer an observation."""
        self.chat()
        if not self.ending or self.rng.random() < 0.1:
            self.say(self.new_action(), delay=self.thinking_time())
            if self.character.chatty and self.rng.random() < 0.1:
                self.say(self.new_action())
        if self.ending and not self.character.silent_at_end:
            self.say(ActorRunTrialOutput(state=LAST_ACK), delay=self.thinking_time())

    def new_action(self) -> ActorRunTrialOutput:
        """An action on the latest observation; its content tells who acted on what, and that it is not the first."""
        explicit = self.character.explicit_ticks
        serial = self.new_serial()
        self.first_acts.setdefault(self.view, serial)
        content = f"act:{self.index}:{self.view}:{serial}:{int(explicit)}".encode()
        tick = self.view if explicit else -1
        return ActorRunTrialOutput(state=NORMAL, action=Action(tick_id=tick, timestamp=7, content=content))

    def chat(self) -> None:
        """Send rewards, messages and what else may come along."""
        while self.character.chatty and self.rng.random() < 0.4:
            kind = self.rng.randrange(4)
            if kind == 0:
                self.say(ActorRunTrialOutput(state=HEARTBEAT))
            elif kind == 1:
                message = Message(tick_id=-1, receiver_name=self.some_receiver())
                self.say(ActorRunTrialOutput(state=NORMAL, message=message))
            else:
                tick = self.rng.choice((-1, max(self.view, 0), max(self.view - 2, 0)))
                self.say(ActorRunTrialOutput(state=NORMAL, reward=self.new_reward(self.name, tick)))

    def lie(self) -> None:
        message, grave = actor_lie(self)
        if not self.ready:
            message, grave = ActorRunTrialOutput(state=LAST), True
        self.say(message, grave=grave)
        if message.state == LAST_ACK:
            self.say(message, grave=True)
