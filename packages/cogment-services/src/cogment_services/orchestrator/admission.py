"""Whether a client actor may take the seat that it asks for."""

from __future__ import annotations

from typing import Any

import grpc

from cogment_core.api.common_pb2 import ActorInitialOutput
from cogment_core.join_tokens import METADATA_KEY, JoinTokenError, JoinTokens, Seat
from cogment_services.refusals import Refusal

__all__ = ["Admission"]


class Admission:
    """The seat that a client's token is for.

    Made by `of_call`.

    Args:
        tokens: What checked the token.
        seat: What it is for.
    """

    def __init__(self, tokens: JoinTokens, seat: Seat) -> None:
        self._tokens = tokens
        self._seat = seat

    @classmethod
    def of_call(cls, tokens: JoinTokens, context: Any, trial_id: str) -> Admission:
        """What the token of a call for this trial lets in.

        Raises:
            Refusal: There is not exactly one token, or it does not let anybody into this trial; it does not say why.
        """
        shown = [value for key, value in context.invocation_metadata() or () if key == METADATA_KEY]
        token = shown[0] if len(shown) == 1 and isinstance(shown[0], str) else ""
        try:
            seat = tokens.check(token)
            if seat.trial_id != trial_id:
                raise JoinTokenError("the join token does not let you in: it is for another trial")
        except JoinTokenError:
            raise _refusal() from None
        return cls(tokens, seat)

    def actor_name(self, slot: ActorInitialOutput) -> str:
        """The actor that the client becomes; asking for a class, it gets its seat all the same.

        Raises:
            Refusal: It asks for another actor.
        """
        if slot.actor_name and slot.actor_name != self._seat.actor_name:
            raise Refusal(grpc.StatusCode.PERMISSION_DENIED, "the join token is for another actor")
        return self._seat.actor_name

    def use(self) -> None:
        """The seat is being taken.

        Raises:
            Refusal: Somebody else has used the token meanwhile.
            BacklogError: Too many were used lately.
        """
        try:
            self._tokens.use(self._seat)
        except JoinTokenError:
            raise _refusal() from None

    def give_back(self) -> None:
        """The seat was not taken after all."""
        self._tokens.give_back(self._seat)


def _refusal() -> Refusal:
    text = "a join token is needed here, and yours is missing, wrong, expired, used or for another trial"
    return Refusal(grpc.StatusCode.UNAUTHENTICATED, text)
