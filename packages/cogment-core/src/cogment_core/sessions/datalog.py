"""The samples of a trial, as they are made."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from cogment_core.api import datalog_pb2
from cogment_core.enums import TrialState
from cogment_core.logs import logger
from cogment_core.parameters import TrialParameters
from cogment_core.samples import LogSample

__all__ = ["DatalogSession"]


class DatalogSession:
    """The log of one trial; given to the function registered with ``register_datalog``.

    Samples are read from the network as the function takes them: one that is slow slows the Orchestrator's log down, and
    nothing is lost.

    Attributes:
        trial_id: Identifier of the trial.
        user_id: Identifier of the user that started it.
        trial_parameters: Its parameters.
    """

    def __init__(
        self,
        trial_id: str,
        user_id: str,
        trial_parameters: TrialParameters,
        requests: AsyncIterator[datalog_pb2.RunTrialDatalogInput],
    ) -> None:
        self.trial_id = trial_id
        self.user_id = user_id
        self.trial_parameters = trial_parameters
        self._requests = aiter(requests)
        self._started = False
        self._is_over = False

    @property
    def trial_params(self) -> TrialParameters:
        """Deprecated name of `trial_parameters`."""
        logger.deprecated("[DatalogSession.trial_params] is now [DatalogSession.trial_parameters]")
        return self.trial_parameters

    def start(self) -> None:
        """Start to receive samples."""
        self._started = True

    async def all_samples(self) -> AsyncGenerator[LogSample, bool | None]:
        """Iterate over the samples as they come, until the trial has ended or the Orchestrator is lost.

        Sending ``False`` to the generator ends it.
        """
        if not self._started:
            logger.warning("datalog of trial %r: all_samples() does nothing before start()", self.trial_id)
            return
        while not self._is_over:
            sample = await self._next()
            if sample is None:
                return
            wanted = yield sample
            if wanted is not None and not wanted:
                return

    def get_all_samples(self) -> AsyncGenerator[LogSample, bool | None]:
        """Deprecated name of `all_samples`."""
        logger.deprecated("[DatalogSession.get_all_samples] is now [DatalogSession.all_samples]")
        return self.all_samples()

    async def _next(self) -> LogSample | None:
        while (request := await anext(self._requests, None)) is not None:
            if request.WhichOneof("msg") == "sample":
                sample = LogSample.from_proto(self.trial_parameters, request.sample)
                self._is_over = sample.state is TrialState.ENDED and not sample.out_of_sync
                return sample
            logger.warning("datalog of trial %r: ignored a message that is no sample", self.trial_id)
        self._is_over = True
        logger.warning("datalog of trial %r: the Orchestrator left before the last sample", self.trial_id)
        return None
