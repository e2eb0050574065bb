"""The trials that an Orchestrator runs, and those that it remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator

import grpc

from cogment_core.api.common_pb2 import ENDED, RUNNING, UNKNOWN, TrialParams, TrialState
from cogment_core.api.orchestrator_pb2 import TrialStartRequest
from cogment_core.logs import logger
from cogment_services.orchestrator.hooks import Hooks
from cogment_services.orchestrator.hosted import HostedTrial
from cogment_services.orchestrator.resolve import Resolver
from cogment_services.orchestrator.shared import Shared
from cogment_services.orchestrator.validation import ParametersError, complete_parameters
from cogment_services.orchestrator.watchers import Watchers
from cogment_services.refusals import Refusal
from cogment_services.trial_ids import checked_trial_id, checked_user_id, new_trial_id

__all__ = ["Trials"]

STOPPED = "The Orchestrator stops"
"""What participants are told when their trial ends because the Orchestrator does."""


class Trials:
    """The trials of an Orchestrator.

    Args:
        default_params: What trials are made of that are started without parameters.
        hooks: Complete these.
        resolver: Finds the components of trials.
        shared: What the trials share.
        gc_frequency: How many trials are started before those that have ended are forgotten.
        max_trials: How many trials may run at the same time.
    """

    def __init__(
        self,
        default_params: TrialParams,
        hooks: Hooks,
        resolver: Resolver,
        shared: Shared,
        *,
        gc_frequency: int,
        max_trials: int,
    ) -> None:
        self._default_params = default_params
        self._hooks = hooks
        self._resolver = resolver
        self._shared = shared
        self._gc_frequency = max(1, gc_frequency)
        self._starts_until_gc = self._gc_frequency
        self._max_trials = max_trials
        self._trials: dict[str, HostedTrial] = {}
        self._running: set[HostedTrial] = set()
        self._stopping = False
        self._idle = asyncio.Event()
        self.watchers = Watchers()
        """Those who watch the trials."""

    def __len__(self) -> int:
        return len(self._trials)

    def __iter__(self) -> Iterator[HostedTrial]:
        return iter(self._trials.values())

    def find(self, trial_id: str) -> HostedTrial | None:
        """The trial with this id, None if there is none, or none any more."""
        return self._trials.get(trial_id)

    async def start(self, request: TrialStartRequest) -> str:
        """Start a trial.

        Returns:
            Its id, as soon as it waits for its actors; empty if the id that was asked for is taken.

        Raises:
            CogmentError: The trial cannot be started, and is not.
        """
        trial_id = checked_trial_id(request.trial_id_requested) if request.trial_id_requested else new_trial_id()
        user_id = checked_user_id(request.user_id)
        if trial_id in self._trials:
            return ""
        self._check_capacity()
        self._count_start()
        trial = HostedTrial(trial_id, user_id, self._shared, self._state_changed)
        self._trials[trial_id] = trial
        try:
            await trial.prepare(self._prepare(trial, request))
        except BaseException as error:
            logger.info("trial [%s] does not start: %s", trial_id, error or type(error).__name__)
            trial.abandon()
            self._forget(trial)
            raise
        return trial_id

    def _check_capacity(self) -> None:
        if self._stopping:
            raise Refusal(grpc.StatusCode.UNAVAILABLE, "the Orchestrator stops and starts no trials")
        if len(self._running) >= self._max_trials:
            text = f"{self._max_trials} trials run already, which is the limit: try again when one has ended"
            raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, text)

    async def _prepare(self, trial: HostedTrial, request: TrialStartRequest) -> None:
        params = await self._params(trial, request)
        # All that can fail comes first, so that nobody hears of a trial that does not start.
        try:
            complete_parameters(params, self._shared.limits)
        except ParametersError as error:
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        trial.run(params, await self._resolver.routes(params))

    async def _params(self, trial: HostedTrial, request: TrialStartRequest) -> TrialParams:
        params = TrialParams()  # of our own: a request of this process is the sender's
        if request.HasField("params"):
            params.CopyFrom(request.params)
            return params
        params.CopyFrom(self._default_params)
        if request.HasField("config"):
            params.trial_config.CopyFrom(request.config)
        return await self._hooks.run(params, trial.trial_id, trial.user_id)

    def _state_changed(self, trial: HostedTrial, before: TrialState.ValueType) -> None:
        self._shared.metrics.state_changed(before, trial.state)
        if trial.state == ENDED:
            self._running.discard(trial)
            self._shared.metrics.trial_ended(trial.duration / 1e9)
            if not self._running:
                self._idle.set()
        else:
            self._running.add(trial)
            self._idle.clear()
        self.watchers.tell(trial)

    def _count_start(self) -> None:
        self._starts_until_gc -= 1
        if self._starts_until_gc <= 0:
            self._starts_until_gc = self._gc_frequency
            with self._shared.metrics.collecting_garbage():
                for trial in [trial for trial in self._trials.values() if trial.state == ENDED]:
                    self._forget(trial)

    def _forget(self, trial: HostedTrial) -> None:
        if self._trials.get(trial.trial_id) is trial:  # else it was forgotten, and its id may be another one's by now
            del self._trials[trial.trial_id]
            self._shared.metrics.state_changed(trial.state, UNKNOWN)

    def terminate(self, trial_ids: Iterable[str], *, hard: bool) -> None:
        """End these trials; those that are not known are passed over."""
        for trial_id in trial_ids:
            if (trial := self._trials.get(trial_id)) is not None:
                trial.terminate(hard=hard)

    def stop(self) -> None:
        """Start no more trials, and end those that run: at once what has not begun yet, the others with their tick."""
        self._stopping = True
        for trial in list(self._running):
            hard = trial.state < RUNNING
            trial.terminate(hard=hard, details=STOPPED if hard else None)

    def kill(self) -> None:
        """End all trials at once."""
        for trial in list(self._running):
            trial.terminate(hard=True, details=STOPPED)

    async def wait_idle(self) -> None:
        """Wait until no trial runs."""
        if self._running:
            await self._idle.wait()
