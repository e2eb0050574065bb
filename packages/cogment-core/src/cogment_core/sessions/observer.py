"""What a session reports to whoever keeps its metrics."""

from __future__ import annotations

__all__ = ["SessionObserver"]


class SessionObserver:
    """Takes no notice of anything; metrics override what they count."""

    def reward_received(self, value: float) -> None:
        """An actor received a reward."""

    def message_received(self) -> None:
        """A message was received."""

    def message_sent(self) -> None:
        """A message was sent."""

    def updated(self) -> None:
        """An environment produced observations."""

    def ended(self) -> None:
        """The session is over."""
