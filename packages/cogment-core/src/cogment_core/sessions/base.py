"""What environment and actor sessions share: the events that come in, and the rewards and messages that go out."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from functools import cached_property
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from cogment_core.api import common_pb2
from cogment_core.enums import EventType
from cogment_core.errors import ProtocolError, SpecsError, UsageError
from cogment_core.events import ActorInfo, RecvEvent
from cogment_core.logs import logger
from cogment_core.payloads import decode, require
from cogment_core.sessions.link import Link
from cogment_core.stream import Phase, Receipt, state_name

__all__ = ["EVENT_LIMIT", "Session", "receivers_of"]

EVENT_LIMIT = 65_536
"""How many events may wait for the user before the session ends: a bound on what a flooding peer can cost."""


class Session(ABC):
    """One trial, as the environment or an actor takes part in it.

    Attributes:
        name: Name of the environment or actor.
        impl_name: Name of the implementation that runs it.
        end_reason: Why the trial is over for this session, in words; None while it goes on. After an end that somebody
            forced, and after a lost connection, it says which.
    """

    def __init__(self, *, trial_id: str, name: str, impl_name: str, tick_id: int, link: Link) -> None:
        self.name = name
        self.impl_name = impl_name
        self.end_reason: str | None = None
        self._trial_id = trial_id
        self._tick_id = tick_id
        self._stream = link.stream
        self._send = link.send
        self._left = link.left
        self._started = False
        self._auto_done_sending = True
        self._events: deque[RecvEvent] = deque()
        self._waiters: list[asyncio.Future[None]] = []
        self._config: tuple[bytes | None, type[Message] | None] = (None, None)
        link.attach(self._on_message, self._on_lost)

    # --- what the user asks -------------------------------------------------------------------------------------

    def get_trial_id(self) -> str:
        """Identifier of the trial."""
        return self._trial_id

    def get_tick_id(self) -> int:
        """The current tick: the one of the last observation (actor) or actions (environment) received."""
        return self._tick_id

    def is_trial_over(self) -> bool:
        """Whether the trial has ended. A lost connection is no end: see `end_reason`."""
        return self._stream.phase is Phase.OVER

    @cached_property
    def config(self) -> Any:
        """The config from the trial parameters, None if there is none.

        Raises:
            SpecsError: There is one, but the specs do not name its type.
            DecodeError: It is something else than the specs say.
        """
        content, config_type = self._config
        if content is None:
            return None
        if config_type is None:
            raise SpecsError(f"{self} received a config, but the specs do not name a config type for it")
        return decode(content, config_type, f"the config of {self}")

    @property
    def config_serialized(self) -> bytes | None:
        """The config as it was received; available without specs."""
        return self._config[0]

    @abstractmethod
    def get_active_actors(self) -> list[ActorInfo]:
        """The actors of the trial."""

    # --- events -------------------------------------------------------------------------------------------------

    async def all_events(self) -> AsyncGenerator[RecvEvent, bool | None]:
        """Iterate over what happens in the trial, from where the last iteration stopped.

        The iteration ends after the `EventType.FINAL` event, when the connection is lost (then without such an event,
        and `end_reason` says why), or when ``False`` is sent to the generator.
        """
        if not self._started:
            logger.warning("%s: all_events() does nothing before start()", self)
            return
        events = self._events
        while True:
            while not events:
                if self._is_finished():
                    self._left.set()
                    return
                await self._new_waiter()
            event = events.popleft()
            self._delivered(event)
            wanted = yield event
            if event.type is EventType.FINAL or (wanted is not None and not wanted):
                return

    def event_loop(self) -> AsyncGenerator[RecvEvent, bool | None]:
        """Deprecated name of `all_events`."""
        logger.deprecated("[Session.event_loop] is now [Session.all_events]")
        return self.all_events()

    def _delivered(self, event: RecvEvent) -> None:  # noqa: B027 - only some sessions take note
        """The user is about to see ``event``."""

    def _is_finished(self) -> bool:
        return self._stream.phase is Phase.OVER or self._stream.phase is Phase.LOST

    def _new_waiter(self) -> asyncio.Future[None]:
        """Something to await until there is an event, or will be none. Each loop has its own: one may be cancelled."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        return waiter

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _push(self, event: RecvEvent) -> None:
        if len(self._events) >= EVENT_LIMIT:
            raise ProtocolError(f"{EVENT_LIMIT} events wait for the user's loop to take them")
        self._events.append(event)
        if self._waiters:
            self._wake()

    # --- what the peer says -------------------------------------------------------------------------------------

    def _on_message(self, message: Any) -> None:
        """Take a message of the stream; the initial one has been taken already."""
        kind: str | None = message.WhichOneof("data")
        receipt = self._stream.receive(message.state, kind)
        if receipt is Receipt.DELIVER:
            phase = self._stream.phase
            self._receive_data(kind, message, EventType.ACTIVE if phase is Phase.ACTIVE else EventType.ENDING)
        elif receipt is Receipt.ECHO:
            self._send_state(common_pb2.HEARTBEAT)
        elif receipt is Receipt.ENDED:
            self._on_end(message.details)
        elif receipt is Receipt.NOTE:
            logger.info("%s: the Orchestrator says: %s", self, message.details)
        elif receipt is Receipt.IGNORE:
            # Both sides may announce the end at the same time.
            level = logging.DEBUG if message.state == common_pb2.LAST else logging.WARNING
            logger.log(level, "%s: ignored %s (%s) from the Orchestrator", self, state_name(message.state), kind)

    @abstractmethod
    def _receive_data(self, kind: str | None, message: Any, etype: EventType) -> None:
        """Turn the data of ``message`` into an event."""

    @abstractmethod
    def _send_state(self, state: common_pb2.CommunicationState.ValueType) -> None:
        """Send a message without data."""

    def _on_end(self, details: str) -> None:
        self.end_reason = details or "the trial ended"
        if details:
            logger.warning("%s: the trial was ended: %s", self, details)
        self._events.append(RecvEvent(EventType.FINAL))
        self._left.set()
        self._wake()

    def _on_lost(self, reason: str) -> None:
        """The connection broke: the user's loop ends after what has arrived."""
        self.end_reason = reason
        logger.warning("%s: lost the trial: %s", self, reason)
        self._wake()

    # --- what the user sends ------------------------------------------------------------------------------------

    def _start(self, auto_done_sending: bool) -> None:
        if self._started:
            raise UsageError(f"{self}: start() was called already")
        if self._stream.phase is Phase.OVER:
            raise UsageError(f"{self}: cannot start, the trial is over ({self.end_reason})")
        self._started = True
        self._auto_done_sending = auto_done_sending

    def _may_send(self, what: str) -> bool:
        """Whether data can go out now; if not, a warning says why not."""
        if self._started and self._stream.can_send:
            return True
        if not self._started:
            reason = "the session is not started"
        elif self._is_finished():
            reason = self.end_reason or "the trial is over"
        else:
            reason = "the session has told that it is done sending"
        logger.warning("%s: %s is not sent: %s", self, what, reason)
        return False

    def sending_done(self) -> None:
        """Tell the Orchestrator that everything for this trial was sent.

        To be called while the trial is ending, and only if ``auto_done_sending=False`` was given to ``start``.

        Raises:
            UsageError: The session does this itself, or the trial is not ending.
        """
        if self._auto_done_sending:
            raise UsageError(f"{self}: sending_done() is for sessions started with auto_done_sending=False")
        phase = self._stream.phase
        if phase is Phase.ACTIVE:
            raise UsageError(f"{self}: sending_done() can only be called while the trial is ending")
        if phase is Phase.ENDING:
            self._acknowledge()
        elif phase is Phase.ACKNOWLEDGED:
            logger.debug("%s: sending_done() was called already", self)
        else:
            logger.warning("%s: sending_done() comes too late: %s", self, self.end_reason)

    def _acknowledge(self) -> None:
        if self._stream.acknowledge():
            self._send_state(common_pb2.LAST_ACK)

    def add_reward(
        self,
        value: float,
        confidence: float,
        to: str | Iterable[str],
        tick_id: int = -1,
        user_data: Message | None = None,
    ) -> None:
        """Send a reward to actors.

        Args:
            value: The reward. All rewards that an actor gets for a tick are averaged, weighted by their confidence.
            confidence: Weight of this reward, > 0.
            to: Names of actors; ``*`` for all, ``actor_class.*`` for all of a class.
            tick_id: The tick that it is for; -1 for the current one. Rewards for past ticks reach only the datalog.
            user_data: Anything for the receivers to interpret.

        Raises:
            UsageError: ``to`` is no name and no names, or ``user_data`` is no protobuf message.
        """
        if not self._may_send("a reward"):
            return
        source = common_pb2.RewardSource(sender_name=self.name, value=value, confidence=confidence)
        if user_data is not None:
            require(user_data, None, f"{self}: the user data of a reward")
            source.user_data.Pack(user_data)
        for receiver in receivers_of(to):
            reward = common_pb2.Reward(tick_id=tick_id, receiver_name=receiver, value=value, sources=(source,))
            self._send_reward(reward)

    def _post_message(self, payload: Message | None, to: Iterable[str]) -> None:
        if not self._may_send("a message"):
            return
        packed: AnyMessage | None = None
        if payload is not None:
            require(payload, None, f"{self}: the payload of a message")
            packed = AnyMessage()
            packed.Pack(payload)
        for receiver in to:
            self._send_message(
                common_pb2.Message(tick_id=-1, sender_name=self.name, receiver_name=receiver, payload=packed)
            )

    @abstractmethod
    def _send_reward(self, reward: common_pb2.Reward) -> None: ...

    @abstractmethod
    def _send_message(self, message: common_pb2.Message) -> None: ...


def receivers_of(to: str | Iterable[str]) -> list[str]:
    """The receivers that a user names; a single name is one receiver, not a sequence of letters.

    Raises:
        UsageError: These are no names.
    """
    given: Any = to
    if isinstance(given, str):
        return [given]
    try:
        receivers: list[Any] = list(given)
    except TypeError:
        receivers = [given]
    if not all(isinstance(receiver, str) for receiver in receivers):
        raise UsageError(f"to has to be the name of a receiver, or a list of names, not {given!r}")
    return receivers
