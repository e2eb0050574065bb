"""Keeps services registered in a Directory, for as long as they are served."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Sequence

from cogment_core.directory import Directory
from cogment_core.errors import CogmentError, RefusedError, RpcError
from cogment_core.logs import logger
from cogment_core.metrics import RegistrationMetrics
from cogment_core.offers import Offer
from cogment_core.own_host import is_here, is_loopback, own_host
from cogment_core.tasks import TaskOwner

__all__ = ["Registrar"]

PERIOD = 2.0
"""Seconds after which a Directory is asked whether it still knows one of the services."""

RETRY = 1.0
"""Seconds after which a Directory that could not be reached is tried again."""

LONGEST_RETRY = 60.0
"""Most seconds between attempts to register what the Directory refuses, or does not show."""

PROBE_TIMEOUT = 10.0
"""Seconds that a Directory has to say whether it knows a service."""

FIRST_PATIENCE = 5.0
"""Seconds that serving waits for the first registration. It goes on in the background after that."""

LAST_PATIENCE = 2.0
"""Seconds that deregistering may take."""


class _Entry:
    """One service, and what the Directory said of it."""

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self.registered: tuple[int, str] | None = None
        self.was_registered = False


class Registrar:
    """Registers services in a Directory, again whenever that has forgotten them, until it is closed.

    A Directory that cannot be reached is waited for: services work without one, for those who know their address.

    Args:
        directory: The Directory.
        offers: The services, all on this machine.
        host: Name or address of this machine, as others reach it; None to find out.
        ssl: Whether the services take TLS connections.
        metrics: Counts the services that were registered again; None for nobody.
    """

    def __init__(
        self,
        directory: Directory,
        offers: Sequence[Offer],
        *,
        host: str | None = None,
        ssl: bool = False,
        metrics: RegistrationMetrics | None = None,
    ) -> None:
        self._directory = directory
        self._entries = [_Entry(offer) for offer in offers]
        self._probes = itertools.cycle(self._entries)
        self._host = host
        self._ssl = ssl
        self._metrics = metrics or RegistrationMetrics(None)
        self._tasks = TaskOwner("registration in the Directory")
        self._running: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._tried = asyncio.Event()
        self._refusal: RefusedError | None = None
        self._starting = False
        self._in_trouble = False
        self._delay = PERIOD

    async def start(self) -> None:
        """Register; if that takes longer than `FIRST_PATIENCE` seconds, it goes on in the background.

        Raises:
            RefusedError: The Directory does not want one of the services. None is registered then.
        """
        if not self._entries:
            return
        self._running = self._tasks.spawn(self._run(), what=f"at {self._directory.target}")
        self._starting = True
        tried = asyncio.get_running_loop().create_task(self._tried.wait())
        try:
            await asyncio.wait({tried, self._running}, timeout=FIRST_PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._starting = False
            tried.cancel()
        if self._refusal is not None:
            await self.close()
            raise self._refusal
        if not self._tried.is_set() and not self._closing.is_set():
            logger.warning("the Directory at %s takes long: serving begins before it has answered", self._where)

    async def close(self, patience: float | None = None) -> None:
        """Deregister, within ``patience`` seconds: the Directory finds out by itself what it is not told.

        Args:
            patience: Seconds; None for `LAST_PATIENCE`.
        """
        patience = LAST_PATIENCE if patience is None else patience
        until = asyncio.get_running_loop().time() + patience
        self._closing.set()
        running, self._running = self._running, None
        if running is not None:
            # A registration in progress is waited for: its number would not be known to anybody.
            await asyncio.wait({running}, timeout=patience / 4)
            await self._tasks.close(patience / 4)
        left = until - asyncio.get_running_loop().time()
        known = [entry for entry in self._entries if entry.registered is not None]
        await asyncio.gather(*(self._forget(entry, left) for entry in known))

    @property
    def _where(self) -> str:
        return self._directory.target

    # --- keeping registered -------------------------------------------------------------------------------------

    async def _run(self) -> None:
        if self._host is None:
            self._host = await own_host(self._directory.endpoint)
        if self._host is None:
            logger.warning(
                "nothing is registered in the Directory at %s: this machine has no address that others could reach; "
                "give the host to register",
                self._where,
            )
            self._tried.set()
            return
        await self._check_host(self._host)
        while not self._closing.is_set():
            await self._attempt(self._host)
            await self._pause()

    async def _check_host(self, host: str) -> None:
        if is_loopback(host) and not await is_here(self._directory.endpoint):
            logger.warning(
                "what is registered in the Directory at %s cannot be reached from there: %s is this machine alone. "
                "Listen on another address, or give the host to register",
                self._where,
                host,
            )

    async def _attempt(self, host: str) -> None:
        """Check, and register what is missing; sets how long to wait until the next time."""
        try:
            await self._keep_registered(host)
            self._settled()
        except RefusedError as error:
            self._refused(error)
        except RpcError as error:
            self._delay = RETRY
            self._complain(f"the Directory at {self._where} does not know of the services here: {error}")
        except CogmentError as error:
            self._back_off()
            self._complain(f"the services here cannot be registered: {error}")
        self._tried.set()

    async def _keep_registered(self, host: str) -> None:
        if all(entry.registered is not None for entry in self._entries) and await self._is_known(next(self._probes)):
            self._delay = PERIOD
            return
        again = False
        for entry in self._entries:
            if self._closing.is_set():
                return
            if entry.registered is not None:
                if await self._is_known(entry):
                    continue
                # Perhaps it is only hidden, because it could not be reached for a while.
                await self._forget(entry, PROBE_TIMEOUT)
                again = True
            await self._register(entry, host)
        if again:
            # A Directory that has lost an entry knows it from now on. One that cannot reach it will hide it again.
            self._back_off()
        else:
            self._delay = PERIOD

    async def _is_known(self, entry: _Entry) -> bool:
        assert entry.registered is not None
        return bool(await self._directory.entries(service_id=entry.registered[0], timeout=PROBE_TIMEOUT))

    async def _register(self, entry: _Entry, host: str) -> None:
        offer = entry.offer
        entry.registered = await self._directory.register_host(
            offer.type, host, offer.port, self._ssl, offer.properties
        )
        logger.info("registered in the Directory at %s: %s at %s:%d", self._where, offer.type.name, host, offer.port)
        if entry.was_registered:
            self._metrics.registered_again()
        entry.was_registered = True

    async def _forget(self, entry: _Entry, timeout: float) -> None:
        assert entry.registered is not None
        (service_id, secret), entry.registered = entry.registered, None
        try:
            await self._directory.deregister_service(service_id, secret, timeout=timeout)
        except CogmentError as error:
            logger.debug("service %d is not deregistered: %s", service_id, error)

    # --- how it goes --------------------------------------------------------------------------------------------

    def _settled(self) -> None:
        if self._in_trouble and not self._closing.is_set():
            logger.info("the Directory at %s knows of the services here again", self._where)
        self._in_trouble = False

    def _refused(self, error: RefusedError) -> None:
        self._back_off()
        if self._starting:
            self._refusal = error
        else:
            self._complain(f"the Directory does not want a service: {error}")

    def _complain(self, text: str) -> None:
        """Log ``text``, if it is news."""
        if self._in_trouble:
            logger.debug("%s", text)
        else:
            logger.warning("%s; trying again", text)
        self._in_trouble = True

    def _back_off(self) -> None:
        self._delay = min(2 * max(self._delay, PERIOD), LONGEST_RETRY)

    async def _pause(self) -> None:
        # Not all at the same time, when many services have lost the same Directory.
        delay = self._delay * random.uniform(0.8, 1.0)
        try:
            await asyncio.wait_for(self._closing.wait(), delay)
        except asyncio.TimeoutError:
            return
