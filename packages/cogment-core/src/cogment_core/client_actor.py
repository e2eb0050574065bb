"""Joins running trials as an actor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cogment_core import duplex
from cogment_core.api import common_pb2, orchestrator_pb2_grpc
from cogment_core.checks import as_trial_id, checked_token
from cogment_core.errors import ProtocolError
from cogment_core.implementations import Implementations
from cogment_core.join_tokens import METADATA_KEY
from cogment_core.participation import Participation, Seat
from cogment_core.rpc import check_metadata
from cogment_core.sessions.actor import ActorSession
from cogment_core.sessions.link import Link
from cogment_core.sessions.observer import SessionObserver
from cogment_core.specs import CogSettings, actor_class_of

__all__ = ["LINGER", "SERVICE", "ClientActor"]

SERVICE = "cogmentAPI.ClientActorSP"
"""Full name of the service that is called."""

LINGER = 2.0
"""Seconds that the Orchestrator has to complete the call of an actor that has left."""


class ClientActor:
    """An actor that comes to the trial, rather than the trial to it.

    Args:
        trial_id: The trial to join.
        actor_name: The actor to be; empty to be any of ``actor_class``.
        actor_class: The class of actor to be, if there is no name.
        implementations: What is registered with the Context.
        settings: The specs, if known.
        join_token: What lets this actor in, if the Orchestrator asks for it.

    Raises:
        UsageError: ``trial_id`` is not the id of a trial, or ``join_token`` cannot be sent.
    """

    def __init__(
        self,
        trial_id: str,
        *,
        actor_name: str = "",
        actor_class: str = "",
        implementations: Implementations,
        settings: CogSettings | None,
        join_token: str | None = None,
    ) -> None:
        self._join_token = checked_token("join_token", join_token)
        self._trial_id = as_trial_id("trial_id", trial_id)
        self._actor_name = actor_name
        self._actor_class = actor_class
        self._implementations = implementations
        self._settings = settings

    async def run(self, channel: Any, metadata: Sequence[tuple[str, str | bytes]]) -> None:
        """Take part in the trial until the user's function returns.

        Raises:
            UsageError: There is too much metadata.
            RpcError: The Orchestrator refuses, or cannot be reached.
            CogmentError: It gives another actor than the one asked for.
            Exception: Whatever the user's function raises.
        """
        stub: Any = orchestrator_pb2_grpc.ClientActorSPStub(channel)
        own = [("trial-id", self._trial_id)]
        if self._join_token is not None:
            own.append((METADATA_KEY, self._join_token))
        ends = duplex.of_call(stub.RunTrial(metadata=check_metadata((*metadata, *own))))
        ends.send(common_pb2.ActorRunTrialOutput(state=common_pb2.NORMAL, init_output=self._slot()))
        who = f"actor {self._actor_name!r}" if self._actor_name else f"an actor of class {self._actor_class!r}"
        participation = Participation(
            f"{who} in trial {self._trial_id!r}",
            ends,
            reply=common_pb2.ActorRunTrialOutput,
            join=self._join,
            linger=LINGER,
        )
        if (fault := await participation.run()) is not None:
            raise fault

    def _slot(self) -> common_pb2.ActorInitialOutput:
        if self._actor_name:
            return common_pb2.ActorInitialOutput(actor_name=self._actor_name)
        return common_pb2.ActorInitialOutput(actor_class=self._actor_class)

    def _join(self, init: common_pb2.ActorInitialInput, link: Link) -> Seat:
        if self._actor_name and init.actor_name != self._actor_name:
            raise ProtocolError(f"joined as actor {init.actor_name!r}, asked for {self._actor_name!r}")
        if not self._actor_name and init.actor_class != self._actor_class:
            raise ProtocolError(f"joined as an actor of class {init.actor_class!r}, asked for {self._actor_class!r}")
        chosen = self._implementations.actor(init.impl_name, init.actor_class)
        session = ActorSession(
            self._trial_id,
            init,
            impl_name=chosen.name,
            spec=None if self._settings is None else actor_class_of(self._settings, init.actor_class),
            link=link,
            joined_by_client=True,
            observer=SessionObserver(),
        )
        return Seat(session, chosen.impl, lambda: None)
