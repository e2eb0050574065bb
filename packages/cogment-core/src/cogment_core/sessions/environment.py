"""The environment's side of a trial."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from google.protobuf.message import Message

from cogment_core.api import common_pb2, environment_pb2
from cogment_core.enums import ActorStatus, EventType
from cogment_core.errors import ProtocolError
from cogment_core.events import ActorInfo, RecvAction, RecvEvent, RecvMessage
from cogment_core.logs import logger
from cogment_core.sessions.base import Session, receivers_of
from cogment_core.sessions.link import Link
from cogment_core.sessions.observations import ObservationPacker
from cogment_core.sessions.observer import SessionObserver
from cogment_core.specs import ActorClass
from cogment_core.stream import Phase

__all__ = ["EnvironmentSession"]

_NORMAL = common_pb2.NORMAL
_ACTIVE = ActorStatus.ACTIVE
_UNAVAILABLE = ActorStatus.UNAVAILABLE
_Output = environment_pb2.EnvRunTrialOutput


class EnvironmentSession(Session):
    """A trial, as its environment runs it; given to the function registered with ``register_environment``."""

    def __init__(
        self,
        trial_id: str,
        init: environment_pb2.EnvInitialInput,
        *,
        impl_name: str,
        config_type: type[Message] | None,
        actor_specs: list[ActorClass | None],
        link: Link,
        observer: SessionObserver,
    ) -> None:
        super().__init__(trial_id=trial_id, name=init.name, impl_name=impl_name, tick_id=init.tick_id, link=link)
        if init.HasField("config"):
            self._config = (init.config.content, config_type)
        self._actors = [(actor.name, actor.actor_class) for actor in init.actors_in_trial]
        self._action_spaces = [spec.action_space if spec else None for spec in actor_specs]
        observation_spaces = [spec.observation_space if spec else None for spec in actor_specs]
        self._packer = ObservationPacker(self._actors, observation_spaces)
        self._has_sent_last = False
        self._observer = observer

    def start(self, observations: Iterable[tuple[str, Message]] | None = None, auto_done_sending: bool = True) -> None:
        """Start to run the trial: the Orchestrator counts the environment as ready.

        Args:
            observations: The first observations, as for `produce_observations`; None to send them later. No actions
                come before.
            auto_done_sending: True to acknowledge the end of the trial with the final observations; False if the
                environment will send more afterwards, and then call `sending_done`.

        Raises:
            UsageError: It was called already, the trial is over, or the observations are wrong.
        """
        # Packed first: observations that are refused must leave the session as it was.
        packed = None if observations is None else self._packer.pack(observations)
        self._start(auto_done_sending)
        self._send(_Output(state=_NORMAL, init_output=environment_pb2.EnvInitialOutput()))
        if packed is not None:
            self._send_observations(*packed)

    def get_active_actors(self) -> list[ActorInfo]:
        """The actors of the trial, in the order of ``event.actions``."""
        return [ActorInfo(name, actor_class) for name, actor_class in self._actors]

    def produce_observations(self, observations: Iterable[tuple[str, Message]]) -> None:
        """Send observations; each actor of the trial has to get one.

        After an event of type ``ENDING`` these are the final observations, as with `end`.

        Args:
            observations: Pairs of a target and an observation of the observation space of its actor class. A target is
                the name of an actor; ``*`` (alone) for all; ``actor_class.*`` for all of a class.

        Raises:
            UsageError: An actor gets no observation, or two; a target is unknown; an observation is of another type.
        """
        packed = self._packer.pack(observations)
        if not self._may_observe():
            return
        is_final = self._stream.phase is Phase.ENDING and self._auto_done_sending
        self._send_observations(*packed)
        if is_final:
            self._finish_sending()

    def end(self, final_observations: Iterable[tuple[str, Message]]) -> None:
        """End the trial with these observations. Messages may still arrive afterwards.

        Args:
            final_observations: As for `produce_observations`.

        Raises:
            UsageError: See `produce_observations`.
        """
        packed = self._packer.pack(final_observations)
        if not self._may_observe():
            return
        if self._stream.announce_end():
            self._send_state(common_pb2.LAST)
        self._send_observations(*packed)
        self._has_sent_last = True
        if self._auto_done_sending:
            self._finish_sending()

    def send_message(
        self, payload: Message | None, to: str | Iterable[str], to_environment: bool | None = None
    ) -> None:
        """Send a message to actors.

        Args:
            payload: Anything for the receivers to interpret.
            to: Names of actors; ``*`` for all, ``actor_class.*`` for all of a class.
            to_environment: Deprecated, without effect.

        Raises:
            UsageError: ``to`` is no name and no names, or ``payload`` is no protobuf message.
        """
        if to_environment is not None:
            logger.deprecated("[EnvironmentSession.send_message(to_environment)] has no effect")
        self._post_message(payload, receivers_of(to))

    def _may_observe(self) -> bool:
        if self._has_sent_last:
            logger.warning("%s: observations are not sent: the final ones were sent already", self)
            return False
        return self._may_send("a set of observations")

    def _finish_sending(self) -> None:
        self._has_sent_last = True
        self._acknowledge()

    def _send_observations(self, payloads: list[bytes], actors_map: list[int]) -> None:
        # Filled in place: a message given to the constructor of another one is copied.
        output = _Output()
        output.state = _NORMAL
        observation_set = output.observation_set
        observation_set.tick_id = -1
        observation_set.timestamp = time.time_ns()
        observation_set.observations.extend(payloads)
        observation_set.actors_map.extend(actors_map)
        self._observer.updated()
        self._send(output)

    def _receive_data(self, kind: str | None, message: Any, etype: EventType) -> None:
        event = RecvEvent(etype)
        if kind == "action_set":
            event.actions = self._actions(message.action_set)
        elif kind == "message":
            event.messages = [RecvMessage.from_proto(message.message)]
            self._observer.message_received()
        else:
            logger.warning("%s: ignored %s from the Orchestrator", self, kind)
            return
        self._push(event)

    def _actions(self, action_set: environment_pb2.ActionSet) -> list[RecvAction]:
        contents = action_set.actions
        if len(contents) != len(self._actors):
            raise ProtocolError(f"received {len(contents)} actions for {len(self._actors)} actors")
        tick_id = self._tick_id = action_set.tick_id
        timestamp = action_set.timestamp
        make = RecvAction.from_content
        spaces = self._action_spaces
        actions = [
            make(index, tick_id, _ACTIVE, timestamp, content, spaces[index]) for index, content in enumerate(contents)
        ]
        for index in action_set.unavailable_actors:
            if index >= len(actions):
                raise ProtocolError(f"actor #{index} is said to be unavailable, of {len(actions)} actors")
            actions[index] = RecvAction(index, tick_id, _UNAVAILABLE, 0, None)
        return actions

    def _send_state(self, state: common_pb2.CommunicationState.ValueType) -> None:
        self._send(_Output(state=state))

    def _send_reward(self, reward: common_pb2.Reward) -> None:
        self._send(_Output(state=_NORMAL, reward=reward))

    def _send_message(self, message: common_pb2.Message) -> None:
        self._observer.message_sent()
        self._send(_Output(state=_NORMAL, message=message))

    def __str__(self) -> str:
        return f"environment {self.name!r} in trial {self._trial_id!r}"
