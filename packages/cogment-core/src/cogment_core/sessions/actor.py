"""An actor's side of a trial."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, NoReturn

from google.protobuf.message import Message

from cogment_core.api import common_pb2
from cogment_core.enums import EventType
from cogment_core.errors import UsageError
from cogment_core.events import RecvEvent, RecvMessage, RecvObservation, RecvReward
from cogment_core.logs import logger
from cogment_core.payloads import require
from cogment_core.sessions.base import Session, receivers_of
from cogment_core.sessions.link import Link
from cogment_core.sessions.observer import SessionObserver
from cogment_core.specs import ActorClass
from cogment_core.stream import Phase

__all__ = ["ActorSession"]

_NORMAL = common_pb2.NORMAL
_Output = common_pb2.ActorRunTrialOutput


class ActorSession(Session):
    """A trial, as one of its actors takes part in it; given to the function registered with ``register_actor``.

    Attributes:
        actor_class: Name of the actor's class.
        class_name: The same.
        env_name: Name of the environment, to send messages to it.
    """

    def __init__(
        self,
        trial_id: str,
        init: common_pb2.ActorInitialInput,
        *,
        impl_name: str,
        spec: ActorClass | None,
        link: Link,
        joined_by_client: bool,
        observer: SessionObserver,
    ) -> None:
        super().__init__(trial_id=trial_id, name=init.actor_name, impl_name=impl_name, tick_id=-1, link=link)
        self.actor_class = init.actor_class
        self.class_name = init.actor_class
        self.env_name = init.env_name
        if init.HasField("config"):
            self._config = (init.config.content, spec.config_type if spec else None)
        self._observation_space = spec.observation_space if spec else None
        self._action_space = spec.action_space if spec else None
        self._joined_by_client = joined_by_client
        self._observer = observer
        self._delivered_tick = -1
        self._has_last_observation = False

    def start(self, auto_done_sending: bool = True) -> None:
        """Start to take part: the Orchestrator counts the actor as ready.

        Args:
            auto_done_sending: True to acknowledge the end of the trial with the last observation; False if the actor
                will send more afterwards, and then call `sending_done`.

        Raises:
            UsageError: It was called already, or the trial is over.
        """
        self._start(auto_done_sending)
        if not self._joined_by_client:
            # A client said this when it joined.
            self._send(_Output(state=_NORMAL, init_output=common_pb2.ActorInitialOutput()))
        if self._has_last_observation and auto_done_sending:
            self._acknowledge()

    def do_action(self, action: Message | None) -> None:
        """Act on the last observation that was delivered.

        Args:
            action: Of the action space of the actor's class. None sends nothing to decode: the environment sees an
                action with all fields at their defaults.

        Raises:
            UsageError: The action is of another type.
        """
        if not self._may_send("an action"):
            return
        if action is None:
            content = b""
        else:
            if type(action) is not self._action_space:
                require(action, self._action_space, f"{self}: an action")
            content = action.SerializeToString()
        # Filled in place: a message given to the constructor of another one is copied.
        output = _Output()
        output.state = _NORMAL
        wire = output.action
        wire.tick_id = self._delivered_tick
        wire.timestamp = time.time_ns()
        wire.content = content
        self._send(output)

    def send_message(
        self, payload: Message | None, to: str | Iterable[str], to_environment: bool | None = None
    ) -> None:
        """Send a message to actors or the environment.

        Args:
            payload: Anything for the receivers to interpret.
            to: Names of actors, or of the environment (`env_name`); ``*`` for all actors, ``actor_class.*`` for all of
                a class.
            to_environment: Deprecated: name the environment in ``to``.

        Raises:
            UsageError: ``to`` is no name and no names, or ``payload`` is no protobuf message.
        """
        receivers = receivers_of(to)
        if to_environment is not None:
            logger.deprecated("[ActorSession.send_message(to_environment)]: name the environment in [to]")
            if to_environment:
                receivers.append(self.env_name)
        self._post_message(payload, receivers)

    def get_active_actors(self) -> NoReturn:
        """Not known to actors.

        Raises:
            UsageError: Always.
        """
        raise UsageError("actors are not told who else takes part; Controller.get_actors() and environments are")

    def _receive_data(self, kind: str | None, message: Any, etype: EventType) -> None:
        event = RecvEvent(etype)
        if kind == "observation":
            observation = message.observation
            self._tick_id = observation.tick_id
            event.observation = RecvObservation(
                observation.tick_id, observation.timestamp, observation.content, self._observation_space
            )
            if etype is EventType.ENDING:
                self._on_last_observation()
        elif kind == "reward":
            event.rewards = [RecvReward.from_proto(message.reward)]
            self._observer.reward_received(message.reward.value)
        elif kind == "message":
            event.messages = [RecvMessage.from_proto(message.message)]
            self._observer.message_received()
        else:
            logger.warning("%s: ignored %s from the Orchestrator", self, kind)
            return
        self._push(event)

    def _on_last_observation(self) -> None:
        self._has_last_observation = True
        if self._started and self._auto_done_sending and self._stream.phase is Phase.ENDING:
            self._acknowledge()

    def _delivered(self, event: RecvEvent) -> None:
        if event.observation is not None:
            self._delivered_tick = event.observation.tick_id

    def _send_state(self, state: common_pb2.CommunicationState.ValueType) -> None:
        self._send(_Output(state=state))

    def _send_reward(self, reward: common_pb2.Reward) -> None:
        self._send(_Output(state=_NORMAL, reward=reward))

    def _send_message(self, message: common_pb2.Message) -> None:
        self._send(_Output(state=_NORMAL, message=message))

    def __str__(self) -> str:
        return f"actor {self.name!r} in trial {self._trial_id!r}"
