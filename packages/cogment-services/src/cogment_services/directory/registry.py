"""The Directory itself: who may change which entries, and who gets to see them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from cogment_core.api.directory_pb2 import RegisterRequest
from cogment_core.logs import logger
from cogment_core.tasks import TaskOwner
from cogment_services.directory.choice import balanced
from cogment_services.directory.health import HealthChecks, Schedule
from cogment_services.directory.limits import Budget, DirectoryLimits
from cogment_services.directory.metrics import DirectoryMetrics
from cogment_services.directory.probes import Verdict
from cogment_services.directory.records import Record, Records, Target
from cogment_services.directory.requests import Caller, Denied, checked_properties, checked_target
from cogment_services.directory.store import Store, StoreError
from cogment_services.directory.tokens import NOBODY
from cogment_services.directory.waiters import Waiters

__all__ = ["Policy", "ServiceRegistry"]

T = TypeVar("T")

FRESH_AT_REGISTRATION = 1.0
"""Seconds for which the result of a check counts for further entries of the same target."""

FRESH_AT_INQUIRY = 0.1
"""The same, if inquiries check."""


@dataclass(frozen=True)
class Policy:
    """What a Directory does beyond what it has to."""

    registration_lag: float = 0.0
    """Seconds that an inquiry waits for what it does not find."""
    load_balancing: bool = False
    """Whether the least busy services are handed out, in random order, rather than all, the newest first."""
    check_on_inquire: bool = False
    """Whether services are checked before they are handed out."""
    force_permanent: bool = False
    """Whether all entries are permanent."""
    tokens: frozenset[bytes] | None = field(default=None, repr=False)
    """Digests of the tokens that callers need one of; None to let everybody in."""


class ServiceRegistry:
    """The entries of a Directory, in memory and on disk.

    Args:
        store: The disk.
        policy: See `Policy`.
        limits: See `DirectoryLimits`.
        schedule: See `Schedule`.
        metrics: What counts.
    """

    def __init__(
        self, store: Store, policy: Policy, limits: DirectoryLimits, schedule: Schedule, metrics: DirectoryMetrics
    ) -> None:
        self._store = store
        self._policy = policy
        self._limits = limits
        self._schedule = schedule
        self._metrics = metrics
        self._records = Records()
        self._checks = HealthChecks(self._records, self._conclude, schedule)
        self._budget = Budget(limits.burst, limits.rate)
        self._waiters = Waiters(limits.waiting)
        self._changes = TaskOwner("Directory")
        self._changing = asyncio.Lock()
        self._latest = 0

    @property
    def policy(self) -> Policy:
        """What it does."""
        return self._policy

    def __len__(self) -> int:
        return len(self._records)

    def admits(self, caller: Caller) -> bool:
        """Whether the caller has a token that counts here."""
        return self._policy.tokens is None or caller.token in self._policy.tokens

    async def open(self) -> None:
        """Load what is on disk, and look which of it is still there.

        Raises:
            UsageError: The file cannot be used.
        """
        for record in await self._store.open():
            self._add(record)
            self._latest = max(self._latest, record.registered)
        checks = self._checks.check_due(0.0)
        if checks:  # so that who asks soon after a restart finds what is there
            await asyncio.wait(checks, timeout=self._schedule.start)
        self._checks.start()

    def stop_waiting(self) -> None:
        """Let inquiries wait no more: nothing will be registered."""
        self._waiters.close()

    async def close(self) -> None:
        """Let go of everything."""
        self.stop_waiting()
        await self._checks.close()
        self._metrics.close()
        if not await self._changes.wait(5.0):
            logger.error("the Directory's file does not take the last changes")
        await self._store.close()

    # --- registration -------------------------------------------------------------------------------------------

    async def register(self, caller: Caller, request: RegisterRequest) -> Record:
        """Add an entry, or change the permanent one that there is.

        It is on disk when this returns. It waits for the first health check, for a few seconds at most; until that
        has succeeded the entry is hidden.

        Raises:
            Denied: Says why not.
        """
        try:
            record = await self._register(caller, request)
        except Denied:
            self._metrics.registration(False)
            raise
        self._metrics.registration(True)
        return record

    async def _register(self, caller: Caller, request: RegisterRequest) -> Record:
        self._check_token(caller)
        target = checked_target(request, caller)
        properties = checked_properties(request.details, self._limits)
        self._check_budget(caller)
        permanent = request.permanent or self._policy.force_permanent
        record = await self._carry_through(self._write(caller, target, properties, permanent))
        if record.is_checked:
            await self._wait_for_first_check(record)
        return record

    async def _write(self, caller: Caller, target: Target, properties: Mapping[str, str], permanent: bool) -> Record:
        async with self._changing:
            before = self._permanent(caller.token, target, properties) if permanent else []
            record = (
                replace(before[0], target=target, properties=properties)
                if before
                else Record(
                    service_id=self._new_id(),
                    secret=secrets.token_urlsafe(16),
                    owner=caller.token,
                    registered=self._now(),
                    permanent=permanent,
                    target=target,
                    properties=properties,
                )
            )
            self._check_name(record)
            if not before:
                self._check_quotas(caller)
            await self._change(put=[record], remove=[other.service_id for other in before[1:]])
        logger.info("registered: %s", _described(record))
        return record

    def _permanent(self, owner: bytes, target: Target, properties: Mapping[str, str]) -> list[Record]:
        """The entries that a permanent one replaces."""
        return [record for record in self._records.find(owner, target.type, properties) if record.permanent]

    def _check_token(self, caller: Caller) -> None:
        if not self.admits(caller):
            raise Denied("authentication failed: this Directory needs a token that it knows")

    def _check_budget(self, caller: Caller) -> None:
        # The address first: who has nothing left cannot use up what a token has. To have no token is no common purse.
        spenders = (caller.address,) if caller.token == NOBODY else (caller.address, caller.token)
        now = time.monotonic()
        if not all(self._budget.spend(spender, now) for spender in spenders):
            raise Denied("too many registrations: wait, and try again")

    def _check_name(self, record: Record) -> None:
        """A name belongs to the token that it was first registered with, as long as there are entries of it."""
        if record.name is not None and self._records.owners_of(record.name) - {record.owner, NOBODY}:
            raise Denied("permission denied: a service of this type and name is registered with another token")

    def _check_quotas(self, caller: Caller) -> None:
        if self._records.count_of(caller.token) >= self._limits.entries_per_token:
            raise Denied(f"there are {self._limits.entries_per_token} entries of this token, which is the limit")
        if len(self._records) >= self._limits.entries:
            raise Denied(f"there are {self._limits.entries} entries in this Directory, which is the limit")

    def _now(self) -> int:
        """The time; later than that of any other entry, so that the newest is the one that came last."""
        self._latest = max(time.time_ns(), self._latest + 1)
        return self._latest

    def _new_id(self) -> int:
        while True:
            service_id = secrets.randbits(63)
            if service_id and self._records.get(service_id) is None:
                return service_id

    async def _wait_for_first_check(self, record: Record) -> None:
        state = self._records.state_of(record.target)
        if state is not None and state.healthy and self._checks.age(record.target) < FRESH_AT_REGISTRATION:
            return
        check = self._checks.check(record.target)
        await asyncio.wait({check}, timeout=self._schedule.registration)
        if check.done() and not check.cancelled() and (reason := check.result().forbidden):
            raise Denied(reason)

    # --- deregistration -----------------------------------------------------------------------------------------

    async def deregister(self, caller: Caller, service_id: int, secret: str) -> None:
        """Remove an entry.

        Raises:
            Denied: There is none, or it is somebody else's.
        """
        self._check_token(caller)
        record = self._records.get(service_id)
        if record is None:
            raise Denied(f"service {service_id} is unknown")
        owned = secrets.compare_digest(record.owner, caller.token)
        known = secrets.compare_digest(record.secret.encode(), secret.encode())
        if not (owned and known):
            raise Denied("authentication failed")
        await self._carry_through(self._remove([record]))
        logger.info("deregistered: %s", _described(record))

    async def _remove(self, records: list[Record]) -> None:
        async with self._changing:
            await self._change(remove=[record.service_id for record in records])

    # --- inquiry ------------------------------------------------------------------------------------------------

    async def inquire_id(self, caller: Caller, service_id: int) -> list[Record]:
        """The entry of this number, if the caller may see it."""

        def find() -> list[Record]:
            record = self._records.get(service_id)
            return [record] if record is not None and record.owner == caller.token else []

        # Numbers are given by chance: one that nobody has is not waited for. Whoever asks whether it is still
        # registered, as services do, has to know soon.
        lag = self._policy.registration_lag if find() else 0.0
        return await self._inquire(find, lambda record: record.service_id == service_id and _owns(caller, record), lag)

    async def inquire(self, caller: Caller, service_type: int, properties: Mapping[str, str]) -> list[Record]:
        """The entries of the caller's token that are of this type and have these properties."""

        def find() -> list[Record]:
            return self._records.find(caller.token, service_type, properties)

        def wanted(record: Record) -> bool:
            return _owns(caller, record) and record.fits(service_type, properties)

        return await self._inquire(find, wanted, self._policy.registration_lag)

    async def _inquire(
        self, find: Callable[[], list[Record]], wanted: Callable[[Record], bool], lag: float
    ) -> list[Record]:
        until = time.monotonic() + lag
        while not (found := await self._usable(find())):
            left = until - time.monotonic()
            if left <= 0 or not await self._waiters.wait(wanted, left):
                break
        if self._policy.load_balancing:
            found = balanced(found, self._records.load_of, random.shuffle)
        self._metrics.inquiry(len(found))
        return found

    async def _usable(self, records: list[Record]) -> list[Record]:
        visible = [record for record in records if self._records.is_visible(record)]
        if not self._policy.check_on_inquire:
            return visible
        targets = {record.target for record in visible if record.is_checked}
        checks = [self._checks.check(target, 1) for target in targets if self._checks.age(target) >= FRESH_AT_INQUIRY]
        if not checks:
            return visible
        _, pending = await asyncio.wait(checks, timeout=self._schedule.inquiry)
        late = {target for target in targets if self._checks.is_running(target)} if pending else set[Target]()
        return [
            record
            for record in visible
            if self._records.get(record.service_id) is record
            and self._records.is_visible(record)
            and record.target not in late
        ]

    # --- health -------------------------------------------------------------------------------------------------

    async def _conclude(self, target: Target, verdict: Verdict) -> None:
        """A check ended, and its result was noted."""
        self._metrics.check(verdict.healthy)
        state = self._records.state_of(target)
        if state is None:
            return
        if verdict.healthy:
            for record in self._records.at(target):
                self._waiters.tell(record)
        elif verdict.forbidden or state.is_lost:
            lost = self._records.at(target)
            for record in lost:
                logger.info("removed, because %s: %s", verdict.forbidden or "it does not answer", _described(record))
            with contextlib.suppress(Denied):  # the log says so; they are hidden, and the next check tries again
                await self._carry_through(self._remove(lost))

    # --- changes ------------------------------------------------------------------------------------------------

    async def _carry_through(self, change: Coroutine[Any, Any, T]) -> T:
        """Make a change, to its end even if the caller goes away: memory and disk say the same."""
        outcome = await asyncio.shield(self._changes.spawn(_outcome(change), what="change"))
        if isinstance(outcome, Denied):
            raise outcome
        return outcome

    async def _change(self, put: list[Record] | None = None, remove: list[int] | None = None) -> None:
        """Change the disk, and then memory."""
        try:
            await self._store.change(put or (), remove or ())
        except StoreError as error:
            logger.error("%s", error)
            raise Denied("the Directory cannot write its file") from error
        for service_id in remove or ():
            self._drop(service_id)
        for record in put or ():
            self._drop(record.service_id)
            self._add(record)

    def _add(self, record: Record) -> None:
        self._records.add(record)
        self._metrics.added(record)
        if self._records.is_visible(record):
            self._waiters.tell(record)

    def _drop(self, service_id: int) -> None:
        removed = self._records.remove(service_id)
        if removed is not None:
            self._metrics.removed(removed)


async def _outcome(change: Coroutine[Any, Any, T]) -> T | Denied:
    """What became of a change; that it was denied is no failure of the task."""
    try:
        return await change
    except Denied as denied:
        return denied


def _owns(caller: Caller, record: Record) -> bool:
    return record.owner == caller.token


def _described(record: Record) -> str:
    """An entry, for the log: nothing that only its owner may know."""
    target = record.target
    return f"service {record.service_id} of type {target.type} at {target.host}:{target.port}"
