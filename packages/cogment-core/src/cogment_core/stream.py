"""The trial stream as an actor or environment lives it: a state machine without I/O.

::

    JOINING --init--> ACTIVE --LAST, or end()--> ENDING --LAST_ACK sent--> ACKNOWLEDGED --END--> OVER
       |                 |                         |                           |
       '-----------------'------- END -------------'---------------------------'----> OVER
    a break of the connection leads from anywhere but OVER to LOST

Heartbeats are echoed in every phase. Whatever carries the messages, and whatever their payloads are, the same rules
hold for served actors, served environments and client actors.
"""

from __future__ import annotations

import enum

from cogment_core.api import common_pb2
from cogment_core.errors import ProtocolError

__all__ = ["Phase", "Receipt", "TrialStream", "state_name"]

_NORMAL = common_pb2.NORMAL
_HEARTBEAT = common_pb2.HEARTBEAT
_LAST = common_pb2.LAST
_END = common_pb2.END


class Phase(enum.Enum):
    """How far a participant's stream is."""

    JOINING = enum.auto()
    """The Orchestrator has not sent the initial data yet."""
    ACTIVE = enum.auto()
    """Data flows both ways."""
    ENDING = enum.auto()
    """The end was announced; the last data may still be sent."""
    ACKNOWLEDGED = enum.auto()
    """LAST_ACK was sent: nothing more will be."""
    OVER = enum.auto()
    """END was received: the trial is over."""
    LOST = enum.auto()
    """The connection broke before END."""


class Receipt(enum.Enum):
    """What a received message asks for."""

    INIT = enum.auto()
    """It has the initial data: take part in the trial."""
    DELIVER = enum.auto()
    """It has data for the user."""
    ECHO = enum.auto()
    """Answer the heartbeat."""
    ACKNOWLEDGE = enum.auto()
    """Send LAST_ACK: the trial ends before this participant was part of it."""
    END_ANNOUNCED = enum.auto()
    """LAST: the data that follows is the last."""
    ENDED = enum.auto()
    """END: the trial is over."""
    NOTE = enum.auto()
    """It has details to log."""
    IGNORE = enum.auto()
    """It means nothing here; worth a warning."""


class TrialStream:
    """The state of one participant's stream.

    Attributes:
        phase: How far it is.
    """

    def __init__(self) -> None:
        self.phase = Phase.JOINING

    def receive(self, state: int, kind: str | None) -> Receipt:
        """Take note of a received message.

        Args:
            state: Its ``CommunicationState``.
            kind: Which data it has: the name of the field, None if it has none.

        Raises:
            ProtocolError: The message is not allowed before the initial data.
        """
        phase = self.phase
        if phase is Phase.OVER or phase is Phase.LOST:
            return Receipt.IGNORE
        if state == _NORMAL and kind is not None and phase is not Phase.JOINING:
            return Receipt.DELIVER if kind != "details" else Receipt.NOTE
        if state == _HEARTBEAT:
            return Receipt.ECHO
        if state == _END:
            self.phase = Phase.OVER
            return Receipt.ENDED
        if phase is Phase.JOINING:
            return self._receive_first(state, kind)
        if state == _LAST and phase is Phase.ACTIVE:
            self.phase = Phase.ENDING
            return Receipt.END_ANNOUNCED
        return Receipt.IGNORE

    def _receive_first(self, state: int, kind: str | None) -> Receipt:
        if state == _NORMAL and kind == "init_input":
            self.phase = Phase.ACTIVE
            return Receipt.INIT
        if state == _LAST:
            return Receipt.ACKNOWLEDGE
        raise ProtocolError(f"the trial started with {state_name(state)} ({kind or 'no data'}) instead of initial data")

    @property
    def can_send(self) -> bool:
        """Whether data may still be sent."""
        return self.phase is Phase.ACTIVE or self.phase is Phase.ENDING

    def announce_end(self) -> bool:
        """The environment ends the trial. Returns whether LAST has to be sent."""
        if self.phase is not Phase.ACTIVE:
            return False
        self.phase = Phase.ENDING
        return True

    def acknowledge(self) -> bool:
        """All is sent. Returns whether LAST_ACK has to be sent."""
        if self.phase is not Phase.ENDING:
            return False
        self.phase = Phase.ACKNOWLEDGED
        return True

    def lose(self) -> bool:
        """The connection broke. Returns whether this is news."""
        if self.phase is Phase.OVER or self.phase is Phase.LOST:
            return False
        self.phase = Phase.LOST
        return True


def state_name(state: int) -> str:
    """The name of a ``CommunicationState``, for messages."""
    try:
        return common_pb2.CommunicationState.Name(state)  # type: ignore[arg-type]
    except ValueError:
        return f"unknown state {state}"
