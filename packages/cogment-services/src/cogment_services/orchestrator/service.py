"""``TrialLifecycleSP``: trials are started, ended, asked for and watched."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from cogment_core.api import orchestrator_pb2
from cogment_core.api.common_pb2 import TrialState
from cogment_core.api.orchestrator_pb2_grpc import TrialLifecycleSPServicer
from cogment_core.errors import CogmentError
from cogment_services.orchestrator.trials import Trials
from cogment_services.orchestrator.watchers import Watcher
from cogment_services.refusals import Refusal, refuse
from cogment_services.status import StatusReporter
from cogment_services.trial_ids import trial_ids

__all__ = ["LifecycleService"]


class LifecycleService(StatusReporter, TrialLifecycleSPServicer):
    """What Controllers use.

    Args:
        trials: The trials.
    """

    def __init__(self, trials: Trials) -> None:
        self._trials = trials

    async def StartTrial(
        self, request: orchestrator_pb2.TrialStartRequest, context: Any
    ) -> orchestrator_pb2.TrialStartReply:
        """Start a trial; the reply has no id if the requested one is taken."""
        try:
            return orchestrator_pb2.TrialStartReply(trial_id=await self._trials.start(request))
        except CogmentError as error:
            await refuse(context, error)

    async def TerminateTrial(
        self, request: orchestrator_pb2.TerminateTrialRequest, context: Any
    ) -> orchestrator_pb2.TerminateTrialReply:
        """End the trials whose ids are in the metadata."""
        try:
            ids = trial_ids(context)
            if not ids:
                raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "no 'trial-id' in the metadata: nothing to terminate")
            self._trials.terminate(ids, hard=request.hard_termination)
        except CogmentError as error:
            await refuse(context, error)
        return orchestrator_pb2.TerminateTrialReply()

    async def GetTrialInfo(
        self, request: orchestrator_pb2.TrialInfoRequest, context: Any
    ) -> orchestrator_pb2.TrialInfoReply:
        """Tell of the trials whose ids are in the metadata, as far as they are known; of all without an id."""
        try:
            ids = trial_ids(context)
        except CogmentError as error:
            await refuse(context, error)
        found = [self._trials.find(trial_id) for trial_id in ids] if ids else self._trials
        infos = [
            trial.info(actors=request.get_actor_list, observation=request.get_latest_observation)
            for trial in found
            if trial is not None
        ]
        return orchestrator_pb2.TrialInfoReply(trial=infos)

    async def WatchTrials(
        self, request: orchestrator_pb2.TrialListRequest, context: Any
    ) -> AsyncIterator[orchestrator_pb2.TrialListEntry]:
        """Tell of the trials that are there, and then of each change of their states."""
        wrong = [state for state in request.filter if state not in TrialState.values()]
        if wrong:
            text = f"there is no trial state {wrong[0]}"
            await refuse(context, Refusal(grpc.StatusCode.INVALID_ARGUMENT, text))
        watcher = Watcher(request.filter, request.full_info)
        watchers = self._trials.watchers
        try:
            watchers.add(watcher, self._trials)
            await context.send_initial_metadata(())  # tells the watcher that from here on it misses nothing
            async for entry in watcher:
                yield entry
        except CogmentError as error:
            await refuse(context, error)
        finally:
            watchers.remove(watcher)
