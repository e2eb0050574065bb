"""Serves the environments of a Context."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from cogment_core.api import environment_pb2, environment_pb2_grpc
from cogment_core.errors import ProtocolError
from cogment_core.implementations import Implementations
from cogment_core.metrics import EnvironmentMetrics
from cogment_core.participation import Seat
from cogment_core.services.base import ParticipantService, trial_id_of
from cogment_core.sessions.environment import EnvironmentSession
from cogment_core.sessions.link import Link
from cogment_core.specs import CogSettings, actor_class_of

__all__ = ["EnvironmentService"]


class EnvironmentService(ParticipantService, environment_pb2_grpc.EnvironmentSPServicer):
    """``EnvironmentSP``: the Orchestrator brings the trials to the environments.

    Args:
        implementations: What is registered with the Context.
        settings: The specs, if known.
        metrics: Where sessions are counted.
    """

    name = "cogmentAPI.EnvironmentSP"

    def __init__(
        self, implementations: Implementations, settings: CogSettings | None, metrics: EnvironmentMetrics
    ) -> None:
        super().__init__()
        self._implementations = implementations
        self._settings = settings
        self._metrics = metrics

    async def RunTrial(  # type: ignore[override]  # it writes by itself
        self, request_iterator: AsyncIterator[environment_pb2.EnvRunTrialInput], context: Any
    ) -> None:
        """Run the environment of a trial, from the first to the last message."""
        trial_id = await trial_id_of(context)

        def join(init: environment_pb2.EnvInitialInput, link: Link) -> Seat:
            return self._join(trial_id, init, link)

        what = f"the environment of trial {trial_id!r}"
        await self._take_part(what, context, reply=environment_pb2.EnvRunTrialOutput, join=join)

    def _join(self, trial_id: str, init: environment_pb2.EnvInitialInput, link: Link) -> Seat:
        if not init.name:
            raise ProtocolError(f"the environment of trial {trial_id!r} has no name")
        self._require_absent(trial_id, init.name)
        chosen = self._implementations.environment(init.impl_name)
        settings = self._settings
        classes = [actor.actor_class for actor in init.actors_in_trial]
        specs = [None if settings is None else actor_class_of(settings, name) for name in classes]
        observer = self._metrics.session(chosen.name)
        session = EnvironmentSession(
            trial_id,
            init,
            impl_name=chosen.name,
            config_type=settings.environment.config_type if settings is not None else None,
            actor_specs=specs,
            link=link,
            observer=observer,
        )
        return Seat(session, chosen.impl, self._enter(session, observer))
