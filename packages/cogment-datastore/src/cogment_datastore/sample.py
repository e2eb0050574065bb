"""The samples of trials, as a Trial Datastore keeps them.

Nothing is parsed before it is asked for, and payloads are parsed once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from cogment_core.enums import TrialState
from cogment_core.errors import DecodeError
from cogment_core.payloads import decode
from cogment_datastore.stored_any import read_any

if TYPE_CHECKING:
    from cogment_core.api import trial_datastore_pb2
    from cogment_datastore.roster import Roster

__all__ = ["DatastoreActorData", "DatastoreMessage", "DatastoreReward", "DatastoreSample", "trial_state"]


def trial_state(number: int) -> TrialState:
    """The state with this number; ``UNKNOWN`` for one that a newer server may have and we do not."""
    try:
        return TrialState(number)
    except ValueError:
        return TrialState.UNKNOWN


class DatastoreReward:
    """One reward that an actor received or sent.

    Args:
        value: Value of the reward.
        confidence: Confidence in the value.
        sender: Name of the sender.
        receiver: Name of the receiver.
        user_data_serialized: The user data as it is stored, None if there is none.

    Attributes:
        value: Value of the reward.
        confidence: Confidence in the value; the higher, the more the value counts in the aggregated reward.
        sender: Name of the actor that sent it, or of the environment.
        receiver: Name of the actor that received it.
        user_data_serialized: The user data as it is stored, None if there is none.
    """

    def __init__(
        self, value: float, confidence: float, sender: str, receiver: str, user_data_serialized: bytes | None
    ) -> None:
        self.value = value
        self.confidence = confidence
        self.sender = sender
        self.receiver = receiver
        self.user_data_serialized = user_data_serialized

    @cached_property
    def user_data(self) -> AnyMessage | None:
        """What the sender added, None if nothing.

        Datastores of Cogment 2.x do not keep its type: ``type_url`` is empty then, and ``Unpack`` says False.
        ``MyType.FromString(reward.user_data.value)`` works with all datastores.
        """
        return None if self.user_data_serialized is None else read_any(self.user_data_serialized)

    def __repr__(self) -> str:
        return f"DatastoreReward({self.value}, {self.confidence}, {self.sender!r} to {self.receiver!r})"


class DatastoreMessage:
    """One message that an actor received or sent.

    Args:
        sender: Name of the sender.
        receiver: Name of the receiver.
        payload_serialized: The payload as it is stored.

    Attributes:
        sender: Name of the actor that sent it, or of the environment.
        receiver: Name of the actor that received it, or of the environment. Datastores of Cogment 2.x keep no
            wildcards: what an actor sent to several has the name of the environment here, too.
        payload_serialized: The payload as it is stored.
    """

    def __init__(self, sender: str, receiver: str, payload_serialized: bytes) -> None:
        self.sender = sender
        self.receiver = receiver
        self.payload_serialized = payload_serialized

    @cached_property
    def payload(self) -> AnyMessage:
        """What was sent.

        Datastores of Cogment 2.x do not keep its type: ``type_url`` is empty then, and ``Unpack`` says False.
        ``MyType.FromString(message.payload.value)`` works with all datastores.
        """
        return read_any(self.payload_serialized)

    def __repr__(self) -> str:
        return f"DatastoreMessage({self.sender!r} to {self.receiver!r})"


class DatastoreActorData:
    """What a sample has about one actor.

    Args:
        roster: Who takes part in the trial.
        proto: What the sample has about the actor.
        sample: The sample.

    Raises:
        DecodeError: The trial has no such actor. Whatever reads data raises it, if the sample contradicts itself.
    """

    def __init__(
        self,
        roster: Roster,
        proto: trial_datastore_pb2.StoredTrialActorSample,
        sample: trial_datastore_pb2.StoredTrialSample,
    ) -> None:
        roster.check(proto.actor)
        self._roster = roster
        self._proto = proto
        self._sample = sample

    @property
    def name(self) -> str:
        """Name of the actor."""
        return self._roster.name(self._proto.actor)

    @property
    def actor_class(self) -> str:
        """Name of the actor's class."""
        return self._roster.actors[self._proto.actor].actor_class

    @property
    def implementation(self) -> str:
        """Name of the implementation that the parameters of the trial ask for; empty if any."""
        return self._roster.actors[self._proto.actor].implementation

    def has_specs(self) -> bool:
        """Whether the specs are known, which `observation` and `action` need."""
        return self._roster.settings is not None

    @property
    def observation_serialized(self) -> bytes | None:
        """The observation in serialized form, None if there is none; available without specs."""
        return self._payload(self._proto.observation) if self._proto.HasField("observation") else None

    @cached_property
    def observation(self) -> Any:
        """The observation, of the observation space of the actor's class, None if there is none. Parsed once.

        Raises:
            SpecsError: The specs, or those of the actor's class, are not known.
            DecodeError: It is something else.
        """
        return self._parsed(self.observation_serialized, self._roster.observation_space, "observation")

    @property
    def action_serialized(self) -> bytes | None:
        """The action in serialized form, None if there is none; available without specs.

        Datastores of Cogment 2.x keep an empty action where there was none. In the last sample of a trial, to which
        actors do not act any more, it is left out here.
        """
        if not self._proto.HasField("action"):
            return None
        content = self._payload(self._proto.action)
        return None if not content and self._sample.state == TrialState.ENDED.value else content

    @cached_property
    def action(self) -> Any:
        """The action, of the action space of the actor's class, None if there is none. Parsed once.

        Raises:
            SpecsError: The specs, or those of the actor's class, are not known.
            DecodeError: It is something else.
        """
        return self._parsed(self.action_serialized, self._roster.action_space, "action")

    @property
    def reward(self) -> float:
        """The aggregated reward that the actor received; 0.0 if it received none, see `has_reward`."""
        return self._proto.reward

    @property
    def has_reward(self) -> bool:
        """Whether the actor received a reward."""
        return self._proto.HasField("reward")

    def all_received_rewards(self) -> Iterator[DatastoreReward]:
        """Iterate over the rewards that the actor received, of which `reward` is the aggregate."""
        for reward in self._proto.received_rewards:
            yield self._reward(reward, self._roster.name(reward.sender), self.name)

    def all_sent_rewards(self) -> Iterator[DatastoreReward]:
        """Iterate over the rewards that the actor sent, one for each receiver."""
        for reward in self._proto.sent_rewards:
            yield self._reward(reward, self.name, self._roster.name(reward.receiver))

    def all_received_messages(self) -> Iterator[DatastoreMessage]:
        """Iterate over the messages that the actor received."""
        for message in self._proto.received_messages:
            yield DatastoreMessage(self._roster.name(message.sender), self.name, self._payload(message.payload))

    def all_sent_messages(self) -> Iterator[DatastoreMessage]:
        """Iterate over the messages that the actor sent."""
        for message in self._proto.sent_messages:
            yield DatastoreMessage(self.name, self._roster.name(message.receiver), self._payload(message.payload))

    def _reward(
        self, reward: trial_datastore_pb2.StoredTrialActorSampleReward, sender: str, receiver: str
    ) -> DatastoreReward:
        user_data = self._payload(reward.user_data) if reward.HasField("user_data") else None
        return DatastoreReward(reward.reward, reward.confidence, sender, receiver, user_data)

    def _payload(self, index: int) -> bytes:
        payloads: Sequence[bytes] = self._sample.payloads
        if index >= len(payloads):
            raise DecodeError(
                f"the sample of tick {self._sample.tick_id} of trial {self._sample.trial_id!r} refers to payload "
                f"#{index}, and has {len(payloads)}"
            )
        return payloads[index]

    def _parsed(
        self, content: bytes | None, space_of: Callable[[int], type[Message] | None], kind: str
    ) -> Message | None:
        if content is None:
            return None
        what = f"the {kind} of {self.name!r} at tick {self._sample.tick_id} of trial {self._sample.trial_id!r}"
        return decode(content, space_of(self._proto.actor), what)

    def __repr__(self) -> str:
        return f"DatastoreActorData({self.name!r}, reward={self.reward})"


class DatastoreSample:
    """What happened in a trial during one tick.

    Args:
        roster: Who takes part in the trial.
        proto: The sample; not copied.
    """

    def __init__(self, roster: Roster, proto: trial_datastore_pb2.StoredTrialSample) -> None:
        self._roster = roster
        self._proto = proto

    @property
    def trial_id(self) -> str:
        """The trial."""
        return self._proto.trial_id

    @property
    def trial_state(self) -> TrialState:
        """State of the trial at the end of the tick.

        It is ``ENDED`` in the last sample, which may have no observations and actions.
        """
        return trial_state(self._proto.state)

    @property
    def tick_id(self) -> int:
        """The tick."""
        return self._proto.tick_id

    @property
    def timestamp(self) -> int:
        """When the tick began, in nanoseconds since the Unix epoch."""
        return self._proto.timestamp

    @cached_property
    def actors_data(self) -> dict[str, DatastoreActorData]:
        """What the sample has about the actors that were asked for, by their names.

        Raises:
            DecodeError: The sample is about actors that its trial does not have, or twice about the same one.
        """
        found = [DatastoreActorData(self._roster, actor, self._proto) for actor in self._proto.actor_samples]
        by_name = {data.name: data for data in found}
        if len(by_name) < len(found):
            raise DecodeError(
                f"the sample of tick {self.tick_id} of trial {self.trial_id!r} has {len(found)} entries about "
                f"{len(by_name)} actors: {', '.join(by_name)}"
            )
        return by_name

    def has_specs(self) -> bool:
        """Whether the specs are known, which observations and actions need."""
        return self._roster.settings is not None

    def to_proto(self) -> trial_datastore_pb2.StoredTrialSample:
        """The message that holds the sample; not a copy."""
        return self._proto

    def __repr__(self) -> str:
        return f"DatastoreSample({self.trial_id!r}, tick_id={self.tick_id}, {self.trial_state.name})"
