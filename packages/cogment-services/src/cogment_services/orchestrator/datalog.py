"""The stream of one trial's samples to its datalog.

The trial never waits for it: samples that the datalog does not take in time are kept up to a limit, then dropped and
counted. A lost datalog costs the samples from there on, and nothing else.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import grpc.aio

from cogment_core.api.common_pb2 import TrialParams
from cogment_core.api.datalog_pb2 import DatalogSample, RunTrialDatalogInput
from cogment_core.api.datalog_pb2_grpc import DatalogSPStub
from cogment_core.errors import from_grpc
from cogment_core.logs import logger
from cogment_core.tasks import TaskOwner
from cogment_services.orchestrator.channels import Route

__all__ = ["BUFFER_BYTES", "BUFFER_SAMPLES", "DatalogStream", "excluded_fields"]

BUFFER_SAMPLES = 10_000
"""How many samples of a trial may wait for its datalog."""

BUFFER_BYTES = 64 * 1024 * 1024
"""How many bytes of samples of a trial may wait for its datalog."""

LINGER = 3600.0
"""Seconds that a datalog has to take the last samples and to complete its call: it may work on what it got."""


def excluded_fields(names: Iterable[str], trial_id: str) -> tuple[str, ...]:
    """The fields of samples among ``names``; what is not a field is warned about."""
    known = set(DatalogSample.DESCRIPTOR.fields_by_name)
    excluded = tuple(dict.fromkeys(names))
    for name in excluded:
        if name not in known:
            text = "trial [%s]: samples have no field %r to exclude (there are: %s)"
            logger.warning(text, trial_id, name, ", ".join(sorted(known)))
    return tuple(name for name in excluded if name in known)


class DatalogStream:
    """Sends the parameters of a trial and then its samples, in order.

    Args:
        trial_id: The trial.
        params: Its parameters, sent first.
        route: How the datalog is reached.
        user_id: Who started the trial.
        pumps: Owner of the task that sends: it is done once everything was sent, or cannot be.
        listeners: Owner of the task that listens: it is done once the datalog has completed the call.
        on_drop: Called for each sample that is dropped.
    """

    def __init__(
        self,
        trial_id: str,
        params: TrialParams,
        route: Route,
        user_id: str,
        *,
        pumps: TaskOwner,
        listeners: TaskOwner,
        on_drop: Callable[[], None],
    ) -> None:
        self._trial_id = trial_id
        self._excluded = excluded_fields(params.datalog.exclude_fields, trial_id)
        self._metadata = (("trial-id", trial_id), ("user-id", user_id))
        self._pumps = pumps
        self._call: Any = None
        self._limit: asyncio.TimerHandle | None = None
        self._on_drop = on_drop
        self._samples: deque[tuple[DatalogSample, int]] = deque()
        self._bytes = 0
        self._news = asyncio.Event()
        self._finishing = False
        self._lost = False
        self._over = False
        self.acknowledged = 0
        """How many messages the datalog has replied to; many datalogs never do."""
        self.dropped = 0
        """How many samples were not sent."""
        self._what = f"the datalog of trial [{trial_id}]"
        listeners.spawn(self._run(params, route), what=f"replies of {self._what}")

    def log(self, sample: DatalogSample) -> None:
        """Send ``sample``, which is ours from now on, as soon as the datalog takes it."""
        for field in self._excluded:
            sample.ClearField(field)  # type: ignore[arg-type]
        size = sample.ByteSize()
        if self._lost or len(self._samples) >= BUFFER_SAMPLES or self._bytes + size > BUFFER_BYTES:
            self._drop()
            return
        self._bytes += size
        self._samples.append((sample, size))
        self._news.set()

    def finish(self) -> None:
        """There are no more samples: complete the stream once all are sent."""
        self._finishing = True
        self._news.set()
        if not self._over:
            self._limit = asyncio.get_running_loop().call_later(LINGER, self._give_up)
        if self.dropped:
            logger.error("trial [%s]: %d samples were not sent to the datalog", self._trial_id, self.dropped)

    def _give_up(self) -> None:
        if self._call is not None:
            self._call.cancel()

    def _drop(self) -> None:
        self.dropped += 1
        self._on_drop()
        if self.dropped == 1 and not self._lost:
            text = "trial [%s]: the datalog does not take samples as fast as they are made: dropping some"
            logger.error(text, self._trial_id)

    async def _run(self, params: TrialParams, route: Route) -> None:
        """Hold the stream open, and count the replies on it."""
        try:
            async with route.channel("cogmentAPI.DatalogSP") as channel:
                stub: Any = DatalogSPStub(channel)
                await self._converse(stub.RunTrialDatalog(metadata=self._metadata), params)
            self._lose("it has ended the stream")
        except grpc.aio.AioRpcError as error:
            self._lose(str(from_grpc(error)))
        except Exception as error:
            self._lose(str(error))
        finally:
            self._over = True
            if self._limit is not None:
                self._limit.cancel()

    async def _converse(self, call: Any, params: TrialParams) -> None:
        self._call = call
        pump = self._pumps.spawn(self._pump(call, params), what=self._what)
        try:
            while await call.read() is not grpc.aio.EOF:
                self.acknowledged += 1
        finally:
            call.cancel()
            pump.cancel()

    async def _pump(self, call: Any, params: TrialParams) -> None:
        """Send everything, at the pace of the datalog: it may take its time, the trial does not wait for it."""
        try:
            await call.write(RunTrialDatalogInput(trial_params=params))
            while not self._lost:
                while self._samples:
                    sample, size = self._samples.popleft()
                    await call.write(RunTrialDatalogInput(sample=sample))
                    self._bytes -= size
                if self._finishing:
                    await call.done_writing()
                    return
                self._news.clear()
                await self._news.wait()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            logger.debug("%s: the stream is over: %s", self._what, error)  # the reader says why

    def _lose(self, reason: str) -> None:
        if self._lost or (self._finishing and not self._samples):
            return
        self._lost = True
        logger.error("trial [%s]: the datalog is lost: %s", self._trial_id, reason)
        for _ in range(len(self._samples)):
            self._drop()
        self._samples.clear()
        self._news.set()
