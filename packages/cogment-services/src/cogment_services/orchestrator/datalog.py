"""The stream of one trial's samples to its datalog.

A datalog that replies to each message says with its n-th reply that it has stored the n-th message. Samples are kept
until then, up to a limit. When the connection breaks it is made again, and what was not confirmed is sent again. The
trial never waits for any of that; when there is no room for more samples, a policy says what happens.

Datalogs that never reply have what was written to them. One that completes its stream before the trial has ended wants
no more samples, and one that never replied and fails is not called again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Any

import grpc
import grpc.aio

from cogment_core.api.common_pb2 import ENDED, TrialParams
from cogment_core.api.datalog_pb2 import DatalogSample
from cogment_core.api.datalog_pb2_grpc import DatalogSPStub
from cogment_core.errors import CogmentError, RpcError, from_grpc
from cogment_core.logs import logger
from cogment_core.tasks import TaskOwner
from cogment_services.orchestrator import texts
from cogment_services.orchestrator.channels import Route
from cogment_services.orchestrator.datalog_call import DatalogCall
from cogment_services.orchestrator.limits import DatalogPolicy
from cogment_services.orchestrator.sample_queue import SampleQueue

__all__ = ["DatalogStream", "excluded_fields"]

LINGER = 3600.0
"""Seconds after the end of a trial that its datalog has to take the last samples and to complete its call: it may work
on what it got, or be out of reach."""

FIRST_PAUSE = 0.2
"""Seconds until a connection that broke is made again; twice as long after each attempt that leads to nothing."""

LONGEST_PAUSE = 2.0
"""Seconds between two attempts to connect, at most."""

MAX_REFUSALS = 5
"""How often in a row a datalog may fail, without having stored any sample, before it is given up."""

_LOST = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)
"""How streams end whose datalog may come back; otherwise the datalog itself has failed."""


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
    """Sends the parameters of a trial and then its samples, in order, until all are stored.

    Args:
        trial_id: The trial.
        params: Its parameters, sent first on each connection.
        route: How the datalog is reached.
        user_id: Who started the trial.
        queue: Where samples wait until they are delivered.
        policy: What to do when there is no room for a sample.
        pumps: Owner of a task that is done once everything was delivered, or cannot be.
        listeners: Owner of the tasks that send and listen: they are done once the datalog has completed the call.
        on_dropped: Called with how many samples more are lost.
        on_reconnect: Called before each attempt to connect again.
        on_lost: Called, once at most, with the reason why the trial has to end.
    """

    def __init__(
        self,
        trial_id: str,
        params: TrialParams,
        route: Route,
        user_id: str,
        *,
        queue: SampleQueue,
        policy: DatalogPolicy,
        pumps: TaskOwner,
        listeners: TaskOwner,
        on_dropped: Callable[[int], None],
        on_reconnect: Callable[[], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._trial_id = trial_id
        self._params = params
        self._route = route
        self._excluded = excluded_fields(params.datalog.exclude_fields, trial_id)
        self._metadata = (("trial-id", trial_id), ("user-id", user_id))
        self._what = f"the datalog of trial [{trial_id}]"
        self._queue = queue
        self._policy = policy
        self._tasks = listeners
        self._on_dropped = on_dropped
        self._on_reconnect = on_reconnect
        self._on_lost: Callable[[str], None] | None = on_lost
        self._call: DatalogCall | None = None
        self._acknowledges = False
        self._refusals = 0
        self._pause = FIRST_PAUSE
        self._is_away = False
        self._gap = 0
        self._finishing = False
        self._over = False
        self._limit: asyncio.TimerHandle | None = None
        self._delivered = asyncio.Event()
        self._unacknowledged = 0
        self.dropped = 0
        """How many samples were given up without having been sent."""
        pumps.spawn(self._delivered.wait(), what=self._what)
        self._task = listeners.spawn(self._run(), what=self._what)

    # --- from the trial -----------------------------------------------------------------------------------------

    def log(self, sample: DatalogSample) -> None:
        """Send ``sample``, which is ours from now on, as soon as the datalog takes it."""
        is_last = sample.info.state == ENDED  # without it nobody would know that there are no more
        for field in self._excluded:
            sample.ClearField(field)  # type: ignore[arg-type]
        size = sample.ByteSize()
        if self._over or not (is_last or self._has_room(size) or self._keeps_all()):
            self._drop()
            return
        if self._gap and not sample.info.out_of_sync:
            size = self._note_gap(sample)
        self._queue.push(sample, size)
        if self._call is not None:
            self._call.wake()

    def finish(self) -> None:
        """There are no more samples: complete the stream once all are sent."""
        self._finishing = True
        self._on_lost = None
        if self._over:
            self._report()
            return
        self._limit = asyncio.get_running_loop().call_later(LINGER, self._task.cancel)
        if self._call is not None:
            self._call.finish()

    # --- when there is no room ----------------------------------------------------------------------------------

    def _has_room(self, size: int) -> bool:
        if not self._queue.has_room(size) and not self._acknowledges:
            self._queue.let_go()  # one that has not replied so far may never do so
        return self._queue.has_room(size)

    def _keeps_all(self) -> bool:
        """Do what the policy says. Returns whether samples are kept all the same: the few of a trial that ends now."""
        if self._policy is DatalogPolicy.DROP:
            return False
        self._end_trial(f"{len(self._queue)} samples wait for the datalog, there is no room for more")
        return True

    def _end_trial(self, reason: str) -> None:
        on_lost, self._on_lost = self._on_lost, None
        if on_lost is not None:  # neither done already, nor too late
            logger.error("trial [%s] is ended: %s", self._trial_id, reason)
            on_lost(reason)

    def _drop(self) -> None:
        if not self._gap and not self._over:
            text = "trial [%s]: the datalog does not take samples as fast as they are made: dropping some"
            logger.error(text, self._trial_id)
        self._gap += 1
        self.dropped += 1
        self._on_dropped(1)

    def _note_gap(self, sample: DatalogSample) -> int:
        """Let ``sample`` tell how many are missing before it. Returns its size."""
        gap, self._gap = self._gap, 0
        logger.error("trial [%s]: %d samples were dropped before tick %d", self._trial_id, gap, sample.info.tick_id)
        if "info" not in self._excluded:
            sample.info.special_events.append(texts.samples_lost(gap))
        return sample.ByteSize()

    # --- connections --------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Connect to the datalog, again and again, until it has everything or will not."""
        try:
            while self._goes_on(await self._connect()):
                await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))
                self._pause = min(2 * self._pause, LONGEST_PAUSE)
                self._on_reconnect()
        finally:
            self._end()

    async def _connect(self) -> CogmentError | None:
        """Send over one connection. Returns what it ended with, None if the datalog has completed its call."""
        try:
            async with self._route.channel("cogmentAPI.DatalogSP") as channel:
                stub: Any = DatalogSPStub(channel)
                return await self._converse(stub.RunTrialDatalog(metadata=self._metadata))
        except CogmentError as error:
            return error
        except grpc.aio.AioRpcError as error:
            return from_grpc(error)

    async def _converse(self, call: Any) -> CogmentError | None:
        self._call = DatalogCall(
            call,
            self._queue,
            acknowledges=self._acknowledges,
            tasks=self._tasks,
            what=self._what,
            on_news=self._note_news,
        )
        if self._finishing:
            self._call.finish()
        try:
            return await self._call.run(self._params)
        finally:
            self._call = None

    def _note_news(self) -> None:
        """The datalog has replied, or has everything."""
        call = self._call
        if call is None:
            return
        self._acknowledges = self._acknowledges or call.replies > 0
        if call.has_progress:
            self._refusals = 0
            self._pause = FIRST_PAUSE
            if self._is_away:
                self._is_away = False
                logger.info("trial [%s]: the datalog takes samples again", self._trial_id)
        if self._finishing and call.is_closed and not len(self._queue):
            self._delivered.set()

    def _goes_on(self, error: CogmentError | None) -> bool:
        """Whether to connect again after a connection has ended with ``error``."""
        if error is None and not self._acknowledges:
            self._queue.let_go()
        self._queue.rewind()
        if self._finishing and not len(self._queue):
            return False
        if error is None:
            return self._give_up("it has ended the stream", wanted=True)
        if self._route.is_gone:
            return self._give_up("it was stopped")
        if not (isinstance(error, RpcError) and error.code() in _LOST):
            if not self._acknowledges:
                return self._give_up(str(error), wanted=True)
            self._refusals += 1
            if self._refusals >= MAX_REFUSALS:
                return self._give_up(f"it failed {MAX_REFUSALS} times in a row: {error}")
        self._note_absence(error)
        return True

    def _note_absence(self, error: CogmentError) -> None:
        if not self._is_away:
            self._is_away = True
            text = "trial [%s]: the connection to the datalog is lost, its samples wait: %s"
            logger.error(text, self._trial_id, error)

    def _give_up(self, reason: str, *, wanted: bool = False) -> bool:
        """The datalog takes no more; unless that is ``wanted``, by the datalog, it is for the policy. Returns False."""
        self._over = True
        logger.error("trial [%s]: the datalog is lost: %s", self._trial_id, reason)
        if not wanted and not self._finishing and self._policy is DatalogPolicy.STOP:
            self._end_trial(reason)
        return False

    def _end(self) -> None:
        """There are no connections any more."""
        self._over = True
        self._delivered.set()
        if self._limit is not None:
            self._limit.cancel()
        self._unacknowledged = self._queue.clear()
        self._on_dropped(self._unacknowledged)
        if self._finishing:
            self._report()

    def _report(self) -> None:
        if self.dropped:
            logger.error("trial [%s]: %d samples were not sent to the datalog", self._trial_id, self.dropped)
        if self._unacknowledged:
            text = "trial [%s]: %d samples were not acknowledged by the datalog: they may be lost"
            logger.error(text, self._trial_id, self._unacknowledged)
