"""Serves the actors of a Context."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from cogment_core.api import agent_pb2_grpc, common_pb2
from cogment_core.implementations import Implementations
from cogment_core.metrics import ActorMetrics
from cogment_core.participation import Seat
from cogment_core.services.base import ParticipantService, trial_id_of
from cogment_core.sessions.actor import ActorSession
from cogment_core.sessions.link import Link
from cogment_core.specs import CogSettings, actor_class_of

__all__ = ["ActorService"]


class ActorService(ParticipantService, agent_pb2_grpc.ServiceActorSPServicer):
    """``ServiceActorSP``: the Orchestrator brings the trials to the actors.

    Args:
        implementations: What is registered with the Context.
        settings: The specs, if known.
        metrics: Where sessions are counted.
    """

    name = "cogmentAPI.ServiceActorSP"

    def __init__(self, implementations: Implementations, settings: CogSettings | None, metrics: ActorMetrics) -> None:
        super().__init__()
        self._implementations = implementations
        self._settings = settings
        self._metrics = metrics

    async def RunTrial(  # type: ignore[override]  # it writes by itself
        self, request_iterator: AsyncIterator[common_pb2.ActorRunTrialInput], context: Any
    ) -> None:
        """Run an actor in a trial, from the first to the last message."""
        trial_id = await trial_id_of(context)

        def join(init: common_pb2.ActorInitialInput, link: Link) -> Seat:
            return self._join(trial_id, init, link)

        what = f"an actor in trial {trial_id!r}"
        await self._take_part(what, context, reply=common_pb2.ActorRunTrialOutput, join=join)

    def _join(self, trial_id: str, init: common_pb2.ActorInitialInput, link: Link) -> Seat:
        self._require_absent(trial_id, init.actor_name)
        chosen = self._implementations.actor(init.impl_name, init.actor_class)
        spec = None if self._settings is None else actor_class_of(self._settings, init.actor_class)
        observer = self._metrics.session(init.actor_name, chosen.name)
        session = ActorSession(
            trial_id,
            init,
            impl_name=chosen.name,
            spec=spec,
            link=link,
            joined_by_client=False,
            observer=observer,
        )
        return Seat(session, chosen.impl, self._enter(session, observer))
