"""When services are looked at: soon after they are registered, and then once a minute."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

from cogment_core.logs import logger
from cogment_core.tasks import TaskOwner
from cogment_services.addresses import Resolver
from cogment_services.directory.probes import Verdict, is_probed_by_tcp, probe
from cogment_services.directory.records import Records, Target

__all__ = ["HealthChecks", "Schedule", "Slots"]


@dataclass(frozen=True)
class Schedule:
    """How often services are looked at, and how patiently. All in seconds."""

    period: float = 60.0
    """From one check of a service to the next."""
    scan: float = 5.0
    """From one search for services that are to be checked to the next."""
    grpc_rounds: tuple[float, ...] = (3.0, 6.0, 12.0)
    """A check fails if the service does not answer in any of its rounds; a third of each is for older services."""
    tcp_rounds: tuple[float, ...] = (5.0, 10.0, 20.0)
    """The same, for services that are only connected to."""
    registration: float = 3.0
    """How long a registration waits for its first check before it is answered."""
    inquiry: float = 3.0
    """How long an inquiry waits for checks, if it makes any."""
    start: float = 3.0
    """How long the start waits for the checks of what was on disk."""


_MOST_STARTED = 1_000
"""Checks that one search starts; the others are found by the next ones."""


class HealthChecks:
    """Looks whether services are there.

    At most so many are looked at at the same time, and fewer of each owner, so that nobody's frozen services are in the
    way of other people's.

    Args:
        records: The entries.
        conclude: Is told what a check has found.
        schedule: When to look.
        clock: Tells seconds.
    """

    def __init__(
        self,
        records: Records,
        conclude: Callable[[Target, Verdict], Awaitable[None]],
        schedule: Schedule,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._records = records
        self._conclude = conclude
        self._schedule = schedule
        self._clock = clock
        self._tasks = TaskOwner("Directory")
        self._running: dict[Target, asyncio.Task[Verdict]] = {}
        self._resolver = Resolver()
        self._slots = Slots(256, 32)

    def start(self) -> None:
        """Look regularly."""
        self._tasks.spawn(self._look_regularly(), what="health checks")

    async def close(self) -> None:
        """Look no more."""
        await self._tasks.close()

    def check(self, target: Target, most_rounds: int = 3) -> asyncio.Task[Verdict]:
        """Look at ``target`` now, unless that is done already. The task is not the caller's to cancel."""
        task = self._running.get(target)
        if task is None:
            task = self._running[target] = self._tasks.spawn(self._check(target, most_rounds), what="health check")
            task.add_done_callback(lambda _: self._running.pop(target, None))
        return task

    def is_running(self, target: Target) -> bool:
        """Whether ``target`` is being looked at."""
        return target in self._running

    def age(self, target: Target) -> float:
        """Seconds since the last check of ``target``; infinite if there was none."""
        state = self._records.state_of(target)
        return float("inf") if state is None else self._clock() - state.checked

    def check_due(self, period: float) -> list[asyncio.Task[Verdict]]:
        """Look at what was not looked at for ``period`` seconds."""
        due = [target for target in self._records.due(self._clock() - period) if target not in self._running]
        return [self.check(target) for target in due[:_MOST_STARTED]]

    async def _look_regularly(self) -> None:
        while True:
            await asyncio.sleep(self._schedule.scan)
            self.check_due(self._schedule.period)

    async def _check(self, target: Target, most_rounds: int) -> Verdict:
        verdict = await self._look(target, most_rounds)
        state = self._records.state_of(target)
        if state is not None:
            if state.healthy and not verdict.healthy:
                logger.info("the service at %s:%d does not answer: it is hidden", target.host, target.port)
            state.note(verdict.healthy, verdict.load, self._clock())
        await self._conclude(target, verdict)
        return verdict

    async def _look(self, target: Target, most_rounds: int) -> Verdict:
        verdict = Verdict(healthy=False)
        rounds = self._schedule.tcp_rounds if is_probed_by_tcp(target) else self._schedule.grpc_rounds
        for number, seconds in enumerate(rounds[:most_rounds], start=1):
            owners = [record.owner for record in self._records.at(target)]
            if not owners:
                break
            began = self._clock()
            async with self._slots.taken(owners[0]):
                verdict = await probe(target, seconds, self._resolver)
            if verdict.healthy or verdict.forbidden:
                break
            if number < min(len(rounds), most_rounds):
                # Who refuses at once may only be about to start. The pause is outside of the slot.
                await asyncio.sleep(max(0.0, seconds - (self._clock() - began)))
        return verdict


class Slots:
    """So many checks at the same time, and so many of each owner.

    Args:
        most: Of all owners.
        each: Of one owner.
    """

    def __init__(self, most: int, each: int) -> None:
        self._all = asyncio.Semaphore(most)
        self._each = each
        self._owners: WeakValueDictionary[bytes, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def taken(self, owner: bytes) -> AsyncGenerator[None, None]:
        """Wait for a slot, and have it for the time of the block."""
        mine = self._owners.get(owner)
        if mine is None:
            mine = self._owners[owner] = asyncio.Semaphore(self._each)
        async with mine, self._all:
            yield
