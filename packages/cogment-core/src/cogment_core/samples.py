"""Samples of a trial, as its datalog receives them."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING, SupportsIndex, cast

from google.protobuf.message import DecodeError as ProtobufDecodeError

from cogment_core.api import common_pb2, datalog_pb2
from cogment_core.checks import as_bytes
from cogment_core.enums import ActorStatus, TrialState
from cogment_core.errors import DecodeError, UsageError
from cogment_core.events import RecvAction, RecvMessage, RecvObservation, RecvReward
from cogment_core.logs import logger
from cogment_core.parameters import ActorParameters, TrialParameters

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from cogment_core.parameter_keywords import TrialKeywords
    from cogment_core.specs import CogSettings

__all__ = ["LogParams", "LogSample", "SpecialEvents"]

_NO_ACTION_TICK = -2
"""Tick of what stands in the place of an action that never came."""


class SpecialEvents(list[str]):
    """Descriptions of what happened during a sample, in order. As text: one per line."""

    def __str__(self) -> str:
        return "\n".join(self)


class LogSample:
    """What happened in a trial from one set of observations to the next.

    The last sample of a trial is the one whose `state` is ``ENDED``. Parts of a sample can be missing, because
    ``TrialParameters.datalog_exclude_fields`` left them out.

    Args:
        params: The parameters of the trial.

    Raises:
        UsageError: ``params`` is something else. What needs data raises it, too, before there is any.
    """

    def __init__(self, params: TrialParameters) -> None:
        self._params = _trial_parameters(params)
        self._data: datalog_pb2.DatalogSample | None = None
        self._statuses: dict[int, ActorStatus] | None = None
        self._actions: dict[int, RecvAction] = {}
        self._observations: dict[int, RecvObservation] = {}

    @classmethod
    def from_proto(cls, params: TrialParameters, proto: datalog_pb2.DatalogSample) -> Self:
        """The sample that ``proto`` says; not copied."""
        result = cls(params)
        result._data = proto
        return result

    def to_proto(self) -> datalog_pb2.DatalogSample:
        """The message that holds the sample; not a copy."""
        if self._data is None:
            raise UsageError("this sample has no data yet: it comes from all_samples(), or from deserialize()")
        return self._data

    @property
    def out_of_sync(self) -> bool | None:
        """Whether this is isolated data, often a reward, for a tick whose sample was sent before; None if left out."""
        info = self._info()
        return None if info is None else info.out_of_sync

    @property
    def tick_id(self) -> int | None:
        """The tick that the sample is for; None if left out."""
        info = self._info()
        return None if info is None else info.tick_id

    @property
    def timestamp(self) -> int | None:
        """When the sample starts, or, if it is out of sync, when its data came; nanoseconds since the Unix epoch.

        None if left out.
        """
        info = self._info()
        return None if info is None else info.timestamp

    @property
    def state(self) -> TrialState | None:
        """The state of the trial at the end of the sample; ``UNKNOWN`` if it is out of sync; None if left out."""
        info = self._info()
        if info is None:
            return None
        try:
            return TrialState(info.state)
        except ValueError:  # of a newer protocol
            return TrialState.UNKNOWN

    @property
    def events(self) -> SpecialEvents | None:
        """Descriptions of special events during the sample: a list that prints as text; None if left out."""
        info = self._info()
        return None if info is None else SpecialEvents(info.special_events)

    def _info(self) -> datalog_pb2.SampleInfo | None:
        proto = self.to_proto()
        return proto.info if proto.HasField("info") else None

    def get_serialization_type(self) -> int:
        """The kind of data that `serialize` makes and `deserialize` takes."""
        return 2

    def serialize(self) -> bytes:
        """The sample as bytes."""
        return self.to_proto().SerializeToString()

    def deserialize(self, raw_string: bytes) -> None:
        """Replace the sample by what `serialize` made of another.

        Raises:
            DecodeError: The data cannot be read; the sample is as before.
        """
        content = as_bytes("raw_string", raw_string)
        try:
            data = datalog_pb2.DatalogSample.FromString(content)
        except ProtobufDecodeError as error:
            raise DecodeError(f"{len(content)} bytes cannot be read as a sample: {error}") from error
        self._data = data
        self._statuses = None
        self._actions = {}
        self._observations = {}

    def all_actor_names(self) -> Iterator[str]:
        """Iterate over the names of the actors of the trial."""
        return (actor.name for actor in self._params.to_proto().actors)

    def get_action(self, actor: str | int) -> RecvAction | None:
        """The action of an actor.

        Args:
            actor: Name or index of the actor in the parameters of the trial.

        Returns:
            The action; without content unless its status is ``ACTIVE``. None if the sample has no actions.

        Raises:
            UsageError: The trial has no such actor.
            DecodeError: The sample does not fit the parameters.
        """
        actions = self.to_proto().actions
        index = self._index(actor)
        if not actions:
            return None
        if index not in self._actions:
            if index >= len(actions):
                raise self._unfit(f"{len(actions)} actions")
            self._actions[index] = self._action(index, actions[index])
        return self._actions[index]

    def _action(self, index: int, action: common_pb2.Action) -> RecvAction:
        status = self._status(index)
        if status is ActorStatus.ACTIVE and action.tick_id == _NO_ACTION_TICK and not action.content:
            status = ActorStatus.UNAVAILABLE
        if status is not ActorStatus.ACTIVE:
            return RecvAction(index, action.tick_id, status, 0, None)
        spec = self._actor(index).actor_class_spec
        space = None if spec is None else spec.action_space
        return RecvAction.from_content(index, action.tick_id, status, action.timestamp, action.content, space)

    def _status(self, index: int) -> ActorStatus:
        if self._statuses is None:
            proto = self.to_proto()
            self._statuses = dict.fromkeys(proto.default_actors, ActorStatus.DEFAULT)
            self._statuses.update(dict.fromkeys(proto.unavailable_actors, ActorStatus.UNAVAILABLE))
        return self._statuses.get(index, ActorStatus.ACTIVE)

    def get_observation(self, actor: str | int) -> RecvObservation | None:
        """The observation for an actor.

        Args:
            actor: Name or index of the actor in the parameters of the trial.

        Returns:
            The observation; None if the sample has no observations.

        Raises:
            UsageError: The trial has no such actor.
            DecodeError: The sample does not fit the parameters.
        """
        proto = self.to_proto()
        index = self._index(actor)
        if not proto.HasField("observations") or not proto.observations.actors_map:
            return None
        if index not in self._observations:
            self._observations[index] = self._observation(index)
        return self._observations[index]

    def _observation(self, index: int) -> RecvObservation:
        observed = self.to_proto().observations
        if index >= len(observed.actors_map):
            raise self._unfit(f"observations for {len(observed.actors_map)}")
        place = observed.actors_map[index]
        if not 0 <= place < len(observed.observations):
            raise self._unfit(f"observation #{place} of {len(observed.observations)} for actor #{index}")
        spec = self._actor(index).actor_class_spec
        space = None if spec is None else spec.observation_space
        tick_id = observed.tick_id
        if tick_id < 0:  # "the next one", to the environment that sent it
            tick_id = self.tick_id or 0
        return RecvObservation(tick_id, observed.timestamp, observed.observations[place], space)

    def all_rewards(self) -> Iterator[RecvReward]:
        """Iterate over the rewards that were sent, as the senders sent them; the receiver can be a wildcard."""
        return map(RecvReward.from_proto, self.to_proto().rewards)

    def all_messages(self) -> Iterator[RecvMessage]:
        """Iterate over the messages that were sent, as the senders sent them; the receiver can be a wildcard."""
        return map(RecvMessage.from_proto, self.to_proto().messages)

    def _index(self, actor: object) -> int:
        if isinstance(actor, str):
            return self._params.actors.index_of(actor)
        try:
            index = operator.index(cast("SupportsIndex", actor))
        except TypeError:
            raise UsageError(f"an actor is found by name or index, not by {actor!r}") from None
        count = len(self._params.actors)
        if not 0 <= index < count:
            raise UsageError(f"there is no actor #{index}: the trial has {count}, counted from 0")
        return index

    def _actor(self, index: int) -> ActorParameters:
        return self._params.actors[index]

    def _unfit(self, found: str) -> DecodeError:
        return DecodeError(f"the sample does not fit a trial of {len(self._params.actors)} actors: it has {found}")

    def __str__(self) -> str:
        if self._data is None:
            return "LogSample: no data"
        state = self.state
        return (
            f"LogSample: tick_id = {self.tick_id}, state = {state and state.name}, timestamp = {self.timestamp}, "
            f"out_of_sync = {self.out_of_sync}, events = {self.events and list(self.events)}"
        )


def _trial_parameters(value: object) -> TrialParameters:
    if not isinstance(value, TrialParameters):
        raise UsageError(f"a sample needs the TrialParameters of its trial, not {type(value).__name__}")
    return value


class LogParams(TrialParameters):
    """Deprecated name of `TrialParameters`."""

    def __init__(self, cog_settings: CogSettings | None, **kwargs: Unpack[TrialKeywords]) -> None:
        logger.deprecated("[LogParams] is now [TrialParameters]")
        super().__init__(cog_settings, **kwargs)
