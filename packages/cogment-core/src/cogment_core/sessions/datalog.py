"""The samples of a trial, as they are made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

from cogment_core.api import datalog_pb2
from cogment_core.enums import TrialState
from cogment_core.logs import logger
from cogment_core.parameters import TrialParameters
from cogment_core.samples import LogSample

__all__ = ["DatalogSession", "MessageReader", "Receipts"]


class MessageReader:
    """Reads messages, for readers that may give up.

    A read that is cancelled goes on, and the next one gets its message: gRPC would lose it (measured).

    Args:
        messages: The messages.
    """

    def __init__(self, messages: AsyncIterator[Any]) -> None:
        self._messages = messages
        self._reading: asyncio.Future[Any] | None = None
        self._stopped = False
        self.end = ""
        """Why there are no more messages, in words."""

    async def read(self) -> Any:
        """The next message, None if there is none."""
        while not self._stopped:
            reading = self._reading = self._reading or self._begin()
            await asyncio.wait({reading})
            if self._reading is not reading:
                continue  # of several who wait, the first has taken it
            self._reading = None
            message = None if reading.cancelled() or reading.exception() is not None else reading.result()
            if message is None:
                self.stop("the Orchestrator left")
            return message
        return None

    def stop(self, reason: str) -> None:
        """Read no more; those who wait get None."""
        if self._stopped:
            return
        self._stopped = True
        self.end = reason
        if self._reading is not None:
            self._reading.cancel()

    def _begin(self) -> asyncio.Future[Any]:
        reading = asyncio.ensure_future(anext(self._messages, None))
        # Marks its failure as retrieved: who waited for it may have given up.
        reading.add_done_callback(lambda done: done.cancelled() or done.exception())
        return reading


class Receipts:
    """Which messages the Orchestrator need not send again: it is told of each, in order.

    Args:
        acknowledge: Tells it of one message more.
    """

    def __init__(self, acknowledge: Callable[[], None]) -> None:
        self._acknowledge = acknowledge
        self._given = 0

    def give(self) -> None:
        """A message is in the hands of the user's function."""
        self._given += 1

    def settle(self) -> None:
        """The function has done with all that was given to it."""
        given, self._given = self._given, 0
        for _ in range(given):
            self._acknowledge()


class DatalogSession:
    """The log of one trial; given to the function registered with ``register_datalog``.

    Samples are read from the network as the function takes them: one that is slow slows the Orchestrator's log down,
    and nothing is lost. The Orchestrator is told that a sample is safe when the function asks for the next one, or
    returns. If the function raises, or the connection breaks, it is called anew with the samples that are not safe yet.

    Attributes:
        trial_id: Identifier of the trial.
        user_id: Identifier of the user that started the trial.
        trial_parameters: Its parameters.
    """

    def __init__(
        self,
        trial_id: str,
        user_id: str,
        trial_parameters: TrialParameters,
        reader: MessageReader,
        receipts: Receipts,
    ) -> None:
        self.trial_id = trial_id
        self.user_id = user_id
        self.trial_parameters = trial_parameters
        self._reader = reader
        self._receipts = receipts
        self._started = False
        self._is_over = False
        self._tells_state = True

    @property
    def trial_params(self) -> TrialParameters:
        """Deprecated name of `trial_parameters`."""
        logger.deprecated("[DatalogSession.trial_params] is now [DatalogSession.trial_parameters]")
        return self.trial_parameters

    def start(self) -> None:
        """Start to receive samples."""
        if not self._started:
            self._started = True
            self._receipts.give()  # the parameters, that is
            self._receipts.settle()

    async def all_samples(self) -> AsyncGenerator[LogSample, bool | None]:
        """Iterate over the samples as they come, until the trial has ended or the Orchestrator is lost.

        Sending ``False`` to the generator ends it.
        """
        if not self._started:
            logger.warning("datalog of trial %r: all_samples() does nothing before start()", self.trial_id)
            return
        while (sample := await self._next()) is not None:
            wanted = yield sample
            if wanted is not None and not wanted:
                return

    def get_all_samples(self) -> AsyncGenerator[LogSample, bool | None]:
        """Deprecated name of `all_samples`."""
        logger.deprecated("[DatalogSession.get_all_samples] is now [DatalogSession.all_samples]")
        return self.all_samples()

    async def _next(self) -> LogSample | None:
        self._receipts.settle()
        while not self._is_over:
            request: datalog_pb2.RunTrialDatalogInput | None = await self._reader.read()
            if request is None:
                self._end_early()
                return None
            self._receipts.give()
            if request.WhichOneof("msg") == "sample":
                sample = LogSample.from_proto(self.trial_parameters, request.sample)
                self._tells_state = sample.state is not None
                if sample.state is TrialState.ENDED:
                    self._is_over = True
                    self._reader.stop("the trial has ended")
                return sample
            logger.warning("datalog of trial %r: ignored a message that is no sample", self.trial_id)
            self._receipts.settle()
        return None

    def _end_early(self) -> None:
        if not self._is_over and self._tells_state:
            logger.warning("datalog of trial %r: %s before the last sample", self.trial_id, self._reader.end)
        self._is_over = True
