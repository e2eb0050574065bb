"""Who takes part in a trial, how far each one is, and the slots that client actors join."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from cogment_core.api.common_pb2 import Action, ActorParams
from cogment_core.errors import CogmentError
from cogment_services.orchestrator.limits import Allowance
from cogment_services.orchestrator.rewards import PendingRewards

__all__ = [
    "CONNECTED",
    "Cast",
    "NoSlotNamedError",
    "NotPendingError",
    "Participant",
    "SlotError",
    "SlotTakenError",
    "Standing",
    "UnknownSlotError",
]


class SlotError(CogmentError):
    """A client cannot join the trial as it asks to."""


class NotPendingError(SlotError):
    """The trial is not waiting for actors: not yet, or no longer."""


class NoSlotNamedError(SlotError):
    """The client gave neither the name nor the class of the actor it wants to be."""


class UnknownSlotError(SlotError):
    """The trial has no such actor, or it is not one that a client joins as."""


class SlotTakenError(SlotError):
    """The actor, or each actor of the class, has been joined already or is no longer waited for."""


class Standing(enum.Enum):
    """How far a participant is."""

    ABSENT = enum.auto()
    """It has no stream yet."""
    CLAIMED = enum.auto()
    """A client was given the slot; its stream is being set up."""
    JOINING = enum.auto()
    """Its stream was opened; it has not said yet that it is ready."""
    ENGAGED = enum.auto()
    """It takes part."""
    DISENGAGED = enum.auto()
    """It takes part no more. Its stream is open still, for the END."""
    GONE = enum.auto()
    """It has no stream and gets none any more."""


UNSETTLED = (Standing.ABSENT, Standing.CLAIMED, Standing.JOINING)
CONNECTED = (Standing.JOINING, Standing.ENGAGED, Standing.DISENGAGED)


class Participant:
    """One actor of the trial.

    Args:
        index: Its place in the trial parameters, and in all lists on the wire.
        params: Its parameters.
        client: Whether it joins as a client; else it is a service that is connected to.
        rate: What it may cause, see `Allowance`.
    """

    __slots__ = (
        "acked",
        "action",
        "actor_class",
        "allowance",
        "awaited",
        "client",
        "deadline",
        "default_action",
        "index",
        "name",
        "optional",
        "pending",
        "response_timeout",
        "standing",
    )

    def __init__(self, index: int, params: ActorParams, *, client: bool, rate: int) -> None:
        self.index = index
        self.name = params.name
        self.actor_class = params.actor_class
        self.optional = params.optional
        self.client = client
        self.response_timeout = max(0.0, params.response_timeout)
        self.default_action = params.default_action.content if params.HasField("default_action") else None
        self.allowance = Allowance(rate)
        self.standing = Standing.ABSENT
        self.pending: PendingRewards = []
        """Rewards for its next observation."""
        self.action: Action | None = None
        """What it did in the current tick."""
        self.awaited = False
        """Whether the action set of the current tick waits for it."""
        self.deadline = 0.0
        """When it has to have acted, if it is awaited and has a ``response_timeout``."""
        self.acked = False
        """Whether it said that it has sent all it had to send."""

    def forget(self) -> None:
        """Let go of what it was sent and did: the trial is over."""
        self.action = None
        self.pending = []


class Cast:
    """All actors of a trial, in the order of its parameters.

    Args:
        actors: The actors.
    """

    __slots__ = ("_by_name", "actors", "unsettled")

    def __init__(self, actors: Sequence[Participant]) -> None:
        self.actors = tuple(actors)
        self.unsettled = len(self.actors)
        """How many actors are waited for: neither ready nor given up."""
        self._by_name = {actor.name: actor for actor in actors}

    def place(self, actor: Participant, standing: Standing) -> None:
        """Change how far ``actor`` is."""
        self.unsettled += (standing in UNSETTLED) - (actor.standing in UNSETTLED)
        actor.standing = standing

    def claim(self, name: str | None, actor_class: str | None) -> Participant:
        """Give a client's slot away: the one called ``name``, or the first free one of ``actor_class``.

        Raises:
            SlotError: There is no such slot, or it is taken.
        """
        if name:
            slot = self._free_slot_called(name)
        elif actor_class:
            slot = self._free_slot_of(actor_class)
        else:
            raise NoSlotNamedError("neither the name nor the class of the actor to join as is given")
        self.place(slot, Standing.CLAIMED)
        return slot

    def _free_slot_called(self, name: str) -> Participant:
        actor = self._by_name.get(name)
        if actor is None:
            known = ", ".join(slot.name for slot in self.actors if slot.client) or "none"
            raise UnknownSlotError(f"the trial has no actor [{name}]; clients can join as: {known}")
        if not actor.client:
            raise UnknownSlotError(f"actor [{name}] is not one that a client joins as")
        if actor.standing is not Standing.ABSENT:
            raise SlotTakenError(f"actor [{name}] has been joined already, or is no longer waited for")
        return actor

    def _free_slot_of(self, actor_class: str) -> Participant:
        slots = [actor for actor in self.actors if actor.client and actor.actor_class == actor_class]
        if not slots:
            raise UnknownSlotError(f"the trial has no actor of class [{actor_class}] that a client joins as")
        for actor in slots:
            if actor.standing is Standing.ABSENT:
                return actor
        raise SlotTakenError(f"no actor of class [{actor_class}] is free: {len(slots)} joined or no longer waited for")
