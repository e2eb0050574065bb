"""What ties a session to the stream of its trial."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from cogment_core.stream import Phase, TrialStream

__all__ = ["Link"]


class Link:
    """The stream of one participant: its session at one end, what carries the messages at the other.

    Args:
        send: Sends a message to the Orchestrator.

    Attributes:
        stream: State of the stream.
        send: Sends a message to the Orchestrator.
        left: Set once the session's user knows that nothing more will come.
    """

    def __init__(self, send: Callable[[Any], None]) -> None:
        self.stream = TrialStream()
        self.send = send
        self.left = asyncio.Event()
        self._on_message: Callable[[Any], None] | None = None
        self._on_lost: Callable[[str], None] | None = None

    def attach(self, on_message: Callable[[Any], None], on_lost: Callable[[str], None]) -> None:
        """Make a session the receiver of messages, and of the news that the connection broke."""
        self._on_message = on_message
        self._on_lost = on_lost

    def receive(self, message: Any) -> None:
        """Hand ``message`` to the session."""
        assert self._on_message is not None, "no session is attached"
        self._on_message(message)

    def lose(self, reason: str) -> None:
        """The connection broke; does nothing after the end of the trial."""
        if self.stream.lose() and self._on_lost is not None:
            self._on_lost(reason)

    @property
    def is_over(self) -> bool:
        """Whether the trial ended as it should."""
        return self.stream.phase is Phase.OVER
