"""What a trial tells those who watch how it goes: metrics and traces."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from cogment_core.api.common_pb2 import TrialState

__all__ = ["NOBODY", "Loss", "TrialObserver", "observed_by"]


class Loss(enum.Enum):
    """Why a participant takes part no more."""

    DISCONNECTED = "disconnected"
    """Its stream ended."""
    NOT_READY = "not_ready"
    """It was not ready in time."""
    UNRESPONSIVE = "unresponsive"
    """It did not act, or acknowledge the end, in time."""
    VIOLATION = "violation"
    """It broke the protocol."""


class TrialObserver:
    """Watches one trial, and takes no notice of anything; those who do override what they need.

    No method waits or raises: a trial does not depend on who watches it.
    """

    __slots__ = ()

    def entered(self, state: TrialState.ValueType, reason: str = "") -> None:
        """The trial is in ``state`` now. If that is ENDED, ``reason`` says what forced it to end."""

    def began(self, actor_classes: Sequence[str]) -> None:
        """The trial begins, with actors of these classes."""

    def observed(self, tick: int, observations: Sequence[bytes]) -> None:
        """A tick begins: each actor is given its observation."""

    def acted(self, index: int) -> None:
        """An actor did something in the current tick, for the first time."""

    def answered(self, actions: Sequence[bytes], *, last: bool) -> None:
        """The environment is given the actions of the current tick, perhaps the last ones."""

    def rewarded(self) -> None:
        """A participant sent a reward, which is passed on."""

    def messaged(self) -> None:
        """A participant sent a message, which is passed on."""

    def lost(self, index: int | None, loss: Loss) -> None:
        """An actor, or the environment if None, takes part no more although the trial is not over."""


NOBODY = TrialObserver()
"""Watches nothing. Trials do not tell it what happens in each step."""


class _Several(TrialObserver):
    __slots__ = ("_observers",)

    def __init__(self, observers: Sequence[TrialObserver]) -> None:
        self._observers = observers

    def entered(self, state: TrialState.ValueType, reason: str = "") -> None:
        for observer in self._observers:
            observer.entered(state, reason)

    def began(self, actor_classes: Sequence[str]) -> None:
        for observer in self._observers:
            observer.began(actor_classes)

    def observed(self, tick: int, observations: Sequence[bytes]) -> None:
        for observer in self._observers:
            observer.observed(tick, observations)

    def acted(self, index: int) -> None:
        for observer in self._observers:
            observer.acted(index)

    def answered(self, actions: Sequence[bytes], *, last: bool) -> None:
        for observer in self._observers:
            observer.answered(actions, last=last)

    def rewarded(self) -> None:
        for observer in self._observers:
            observer.rewarded()

    def messaged(self) -> None:
        for observer in self._observers:
            observer.messaged()

    def lost(self, index: int | None, loss: Loss) -> None:
        for observer in self._observers:
            observer.lost(index, loss)


def observed_by(observers: Sequence[TrialObserver]) -> TrialObserver:
    """One observer that stands for all these."""
    if not observers:
        return NOBODY
    return observers[0] if len(observers) == 1 else _Several(observers)
