"""What a message from a participant is, by the rules of the trial protocol."""

from __future__ import annotations

import enum

from cogment_core.api.common_pb2 import END, HEARTBEAT, LAST, LAST_ACK, NORMAL

__all__ = ["Receipt", "classify"]


class Receipt(enum.Enum):
    """What a received message is."""

    DATA = enum.auto()
    """It carries data of the trial."""
    DETAILS = enum.auto()
    """It carries a text for the log."""
    EMPTY = enum.auto()
    """It should carry data, and does not."""
    HEARTBEAT = enum.auto()
    """It wants to be answered."""
    LAST = enum.auto()
    """The sender announces its last data."""
    LAST_ACK = enum.auto()
    """The sender has sent all it had to send."""
    END = enum.auto()
    """The sender says the trial is over, which is not for it to say."""
    VIOLATION = enum.auto()
    """Data where there may be none, or a communication state that does not exist."""


_BY_STATE = {
    HEARTBEAT: Receipt.HEARTBEAT,
    LAST: Receipt.LAST,
    LAST_ACK: Receipt.LAST_ACK,
    END: Receipt.END,
}


def classify(state: int, kind: str | None) -> Receipt:
    """What a message is.

    Args:
        state: Its ``CommunicationState``; any number may have been sent.
        kind: Name of its data field that is set, None without data.
    """
    if state == NORMAL:
        if kind is None:
            return Receipt.EMPTY
        return Receipt.DETAILS if kind == "details" else Receipt.DATA
    if kind is not None and kind != "details":
        return Receipt.VIOLATION
    return _BY_STATE.get(state, Receipt.VIOLATION)  # type: ignore[call-overload, no-any-return]
