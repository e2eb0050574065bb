"""Serves the pre-trial hook of a Context."""

from __future__ import annotations

from typing import Any

from cogment_core.api import common_pb2, hooks_pb2, hooks_pb2_grpc
from cogment_core.implementations import Implementation
from cogment_core.parameters import TrialParameters
from cogment_core.services.base import ComponentService, required_metadata, trial_id_of
from cogment_core.sessions.prehook import PrehookSession
from cogment_core.specs import CogSettings

__all__ = ["PrehookService"]


class PrehookService(ComponentService, hooks_pb2_grpc.TrialHooksSPServicer):
    """``TrialHooksSP``: the Orchestrator asks for the parameters of a new trial.

    Args:
        hook: The user's function.
        settings: The specs, if known.
    """

    name = "cogmentAPI.TrialHooksSP"

    def __init__(self, hook: Implementation, settings: CogSettings | None) -> None:
        super().__init__()
        self._hook = hook
        self._settings = settings

    async def OnPreTrial(self, request: hooks_pb2.PreTrialParams, context: Any) -> hooks_pb2.PreTrialParams:
        """Let the user's function change the parameters."""
        trial_id = await trial_id_of(context)
        user_id = await required_metadata(context, "user-id")
        params = common_pb2.TrialParams()
        params.CopyFrom(request.params)  # in process the request is the caller's own
        session = PrehookSession(TrialParameters.from_proto(self._settings, params), trial_id, user_id)
        await self._hook.impl(session)
        session.validate()
        return hooks_pb2.PreTrialParams(params=session.trial_parameters.to_proto())
