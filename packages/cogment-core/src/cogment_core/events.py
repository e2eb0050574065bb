"""What a session receives: events and the observations, actions, rewards and messages in them.

Payloads are kept as the bytes that arrived and decoded when they are first looked at, once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from cogment_core.api import common_pb2
from cogment_core.enums import ActorStatus, EventType
from cogment_core.logs import logger
from cogment_core.payloads import decode

__all__ = [
    "ActorInfo",
    "RecvAction",
    "RecvEvent",
    "RecvMessage",
    "RecvObservation",
    "RecvReward",
    "RecvRewardSource",
]


class ActorInfo:
    """Name and class of an actor in a trial.

    Attributes:
        actor_name: Name of the actor.
        actor_class_name: Name of its class, as in the spec file.
    """

    def __init__(self, name: str, actor_class: str | None = None, *, class_name: str | None = None) -> None:
        # The second parameter was called class_name up to 2.7; both are in use.
        self.actor_name = name
        self.actor_class_name = actor_class if actor_class is not None else (class_name or "")

    def __repr__(self) -> str:
        return f"ActorInfo({self.actor_name!r}, {self.actor_class_name!r})"

    def __str__(self) -> str:
        return f"ActorInfo: actor_name = {self.actor_name}, actor_class_name = {self.actor_class_name}"


class RecvObservation:
    """An observation for an actor.

    Attributes:
        tick_id: The tick that it belongs to.
        timestamp: When the environment made it, in nanoseconds since the Unix epoch.
    """

    def __init__(self, tick_id: int, timestamp: int, content: bytes, space: type[Message] | None) -> None:
        self.tick_id = tick_id
        self.timestamp = timestamp
        self._content = content
        self._space = space
        self._decoded: Message | None = None

    @property
    def observation(self) -> Any:
        """The observation, of the observation space of the actor's class.

        Raises:
            SpecsError: The specs are not known.
            DecodeError: The environment sent something else.
        """
        if self._decoded is None:
            self._decoded = decode(self._content, self._space, "an observation")
        return self._decoded

    @property
    def observation_serialized(self) -> bytes:
        """The observation as it was received; available without specs."""
        return self._content

    @property
    def snapshot(self) -> Any:
        """Deprecated name of `observation`."""
        logger.deprecated("[RecvObservation.snapshot] is now [RecvObservation.observation]")
        return self.observation

    def __str__(self) -> str:
        return f"RecvObservation: tick_id = {self.tick_id}, timestamp = {self.timestamp}"


class RecvAction:
    """An action of an actor.

    Attributes:
        actor_index: Index of the actor in ``get_active_actors()``.
        tick_id: The tick that it belongs to.
        status: Whether the actor acted.
        timestamp: When, in nanoseconds since the Unix epoch; 0 unless the status is ``ACTIVE``.
    """

    def __init__(
        self, actor_index: int, tick_id: int, status: ActorStatus, timestamp: int, action: Message | None
    ) -> None:
        self.actor_index = actor_index
        self.tick_id = tick_id
        self.status = status
        self.timestamp = timestamp
        self._action = action
        self._content: bytes | None = None
        self._space: type[Message] | None = None

    @classmethod
    def from_content(
        cls,
        actor_index: int,
        tick_id: int,
        status: ActorStatus,
        timestamp: int,
        content: bytes,
        space: type[Message] | None,
    ) -> RecvAction:
        """An action that is decoded when it is first looked at."""
        self = cls(actor_index, tick_id, status, timestamp, None)
        self._content = content
        self._space = space
        return self

    @property
    def action(self) -> Any:
        """The action, of the action space of the actor's class; None unless the status is ``ACTIVE``.

        Raises:
            SpecsError: The specs are not known.
            DecodeError: The actor sent something else.
        """
        if self._action is None and self._content is not None:
            self._action = decode(self._content, self._space, f"the action of actor #{self.actor_index}")
        return self._action

    @property
    def action_serialized(self) -> bytes | None:
        """The action as it was received, None if there is none; available without specs."""
        if self._content is None and self._action is not None:
            return self._action.SerializeToString()
        return self._content

    def __str__(self) -> str:
        return (
            f"RecvAction: actor_index = {self.actor_index}, tick_id = {self.tick_id}, status = {self.status.name}, "
            f"timestamp = {self.timestamp}"
        )


class RecvRewardSource:
    """One of the rewards that an aggregated reward is made of.

    Attributes:
        value: Value of the reward.
        confidence: Weight of the value in the aggregate.
        sender_name: Name of the actor or environment that sent it.
        user_data: What the sender added, packed in an ``Any``; None if nothing.
    """

    def __init__(self, value: float, confidence: float, sender_name: str, user_data: AnyMessage | None) -> None:
        self.value = value
        self.confidence = confidence
        self.sender_name = sender_name
        self.user_data = user_data

    def __str__(self) -> str:
        return (
            f"RecvRewardSource: value = {self.value}, confidence = {self.confidence}, "
            f"sender_name = {self.sender_name}, user_data = {self.user_data}"
        )


class RecvReward:
    """A reward for an actor, aggregated from its sources.

    Attributes:
        tick_id: The tick that it is for.
        receiver_name: Whom it is for: the name of an actor, or a wildcard.
        value: Mean of the sources' values weighted by their confidence.
    """

    def __init__(self, tick_id: int, receiver_name: str, value: float, sources: tuple[RecvRewardSource, ...]) -> None:
        self.tick_id = tick_id
        self.receiver_name = receiver_name
        self.value = value
        self._sources = sources

    @classmethod
    def from_proto(cls, reward: common_pb2.Reward) -> RecvReward:
        """The reward that ``reward`` says."""
        sources = tuple(
            RecvRewardSource(
                source.value,
                source.confidence,
                source.sender_name,
                source.user_data if source.HasField("user_data") else None,
            )
            for source in reward.sources
        )
        return cls(reward.tick_id, reward.receiver_name, reward.value, sources)

    def get_nb_sources(self) -> int:
        """Number of rewards that this one is made of."""
        return len(self._sources)

    def all_sources(self) -> Iterator[RecvRewardSource]:
        """Iterate over the rewards that this one is made of."""
        yield from self._sources

    def __str__(self) -> str:
        return (
            f"RecvReward: tick_id = {self.tick_id}, receiver_name = {self.receiver_name}, value = {self.value}, "
            f"number of sources = {len(self._sources)}"
        )


class RecvMessage:
    """A message from an actor or the environment.

    Attributes:
        tick_id: The tick at which it was sent.
        receiver_name: Whom it is for: the name of an actor or environment, or a wildcard.
        sender_name: Who sent it.
        payload: The data, packed in an ``Any``: ``payload.Is(T.DESCRIPTOR)`` and ``payload.Unpack(message)``.
    """

    def __init__(self, tick_id: int, sender_name: str, receiver_name: str, payload: AnyMessage) -> None:
        self.tick_id = tick_id
        self.sender_name = sender_name
        self.receiver_name = receiver_name
        self.payload = payload

    @classmethod
    def from_proto(cls, message: common_pb2.Message) -> RecvMessage:
        """The message that ``message`` says."""
        return cls(message.tick_id, message.sender_name, message.receiver_name, message.payload)

    def __str__(self) -> str:
        return (
            f"RecvMessage: tick_id = {self.tick_id}, sender_name = {self.sender_name}, "
            f"receiver_name = {self.receiver_name}, payload = {self.payload}"
        )


class RecvEvent:
    """Something that happened in a trial. It always has a type, and any of the rest.

    Attributes:
        type: What it says about the trial.
        observation: For actors: an observation to act on, or None.
        actions: For environments: one action for each actor of the trial, or empty.
        rewards: For actors: rewards received, or empty.
        messages: Messages received, or empty.
    """

    def __init__(self, etype: EventType) -> None:
        self.type = etype
        self.observation: RecvObservation | None = None
        self.actions: list[RecvAction] = []
        self.rewards: list[RecvReward] = []
        self.messages: list[RecvMessage] = []

    def __str__(self) -> str:
        parts = [f"type = {self.type.name}"]
        if self.observation is not None:
            parts.append(f"observation = ({self.observation})")
        for name in ("actions", "rewards", "messages"):
            items = getattr(self, name)
            if items:
                parts.append(f"{name} = [{', '.join(str(item) for item in items)}]")
        return f"RecvEvent: {', '.join(parts)}"
