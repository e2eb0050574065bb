"""One stream to a datalog: from the parameters of the trial to whatever ends it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc

from cogment_core.api.common_pb2 import TrialParams
from cogment_core.api.datalog_pb2 import RunTrialDatalogInput
from cogment_core.call_status import GRPC_ERRORS, CallStatus
from cogment_core.errors import CogmentError, ProtocolError, UnavailableError
from cogment_core.logs import logger
from cogment_core.tasks import TaskOwner
from cogment_services.orchestrator.sample_queue import SampleQueue

__all__ = ["ACK_PATIENCE", "DatalogCall"]

ACK_PATIENCE = 5.0
"""Seconds that a datalog has to reply to the parameters before it counts as one that does not reply to anything."""


class DatalogCall:
    """Sends what is in a queue over a call, at the pace of the datalog, and takes its replies.

    Args:
        call: The call, just begun.
        queue: The samples; those that were sent on an earlier call without a reply are sent again.
        acknowledges: Whether this datalog is known to reply.
        tasks: Owner of the tasks that read and write.
        what: Whose call it is, for the log.
        on_news: Called when samples were delivered, or the stream was closed.
    """

    def __init__(
        self,
        call: Any,
        queue: SampleQueue,
        *,
        acknowledges: bool,
        tasks: TaskOwner,
        what: str,
        on_news: Callable[[], None],
    ) -> None:
        self._call = call
        self._status = CallStatus(call)
        self._queue = queue
        self._acknowledges = acknowledges
        self._tasks = tasks
        self._what = what
        self._on_news = on_news
        self._more = asyncio.Event()
        self._finishing = False
        self._patience: asyncio.TimerHandle | None = None
        self._excess = False
        self._failure: Exception | None = None
        self.replies = 0
        """How many replies have come."""
        self.is_silent = False
        """Whether the datalog had its time to reply, and did not: what is written counts as delivered."""
        self.is_closed = False
        """Whether everything was written, and the datalog was told so."""

    @property
    def has_progress(self) -> bool:
        """Whether samples were delivered."""
        return self.replies > 1 or self.is_silent

    async def run(self, params: TrialParams) -> CogmentError | None:
        """Send the parameters and then the samples, until the stream ends.

        Returns:
            What the stream ended with; None if the datalog has completed it.
        """
        self._queue.rewind()
        reader = self._tasks.spawn(self._read(), what=f"replies of {self._what}")
        writer = self._tasks.spawn(self._write(params), what=self._what)
        try:
            await asyncio.wait({reader})
            if self._failure is not None:
                return ProtocolError(f"samples cannot be sent: {self._failure}")
            if reader.cancelled():  # how gRPC says that a channel was closed
                return UnavailableError(grpc.StatusCode.UNAVAILABLE, "the connection was closed")
            return reader.result()
        finally:
            self._end(reader, writer)

    def _end(self, *tasks: asyncio.Task[Any]) -> None:
        self._call.cancel()
        for task in tasks:
            task.cancel()
        if self._patience is not None:
            self._patience.cancel()

    def wake(self) -> None:
        """There are more samples in the queue."""
        self._more.set()

    def finish(self) -> None:
        """There will be no more samples: complete the stream once all are written."""
        self._finishing = True
        self._more.set()

    async def _read(self) -> CogmentError | None:
        try:
            async for _ in self._call:
                self._replied()
        except GRPC_ERRORS as error:
            return await self._status.true_end(error)
        return None

    def _replied(self) -> None:
        self.replies += 1
        self._acknowledges = True
        self.is_silent = False
        if not self._queue.confirm() and not self._excess:
            self._excess = True
            logger.warning("%s sends more replies than it got messages: they are ignored", self._what)
        self._on_news()

    async def _write(self, params: TrialParams) -> None:
        try:
            self._queue.pass_over()
            await self._call.write(RunTrialDatalogInput(trial_params=params))
            if not self._acknowledges:
                self._patience = asyncio.get_running_loop().call_later(ACK_PATIENCE, self._lose_patience)
            await self._write_samples()
            await self._call.done_writing()
            self.is_closed = True
            self._on_news()
        except GRPC_ERRORS as error:
            logger.debug("%s: the stream is over: %s", self._what, error)  # the reader says why
        except Exception as error:
            self._failure = error
            self._call.cancel()
            raise

    async def _write_samples(self) -> None:
        queue = self._queue
        while not (self._finishing and queue.is_written):
            while (sample := queue.begin_write()) is not None:
                await self._call.write(RunTrialDatalogInput(sample=sample))
                queue.end_write()
                if self.is_silent:
                    queue.let_go()
            self._more.clear()
            if not self._finishing:
                await self._more.wait()

    def _lose_patience(self) -> None:
        if not self._acknowledges:
            logger.debug("%s does not acknowledge: what is written counts as delivered", self._what)
            self.is_silent = True
            self._queue.let_go()
            self._on_news()
