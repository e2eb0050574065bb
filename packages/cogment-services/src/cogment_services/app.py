"""What all servers have in common from the first line of their log to the end of their process."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from cogment_core.errors import UsageError
from cogment_core.logs import logger
from cogment_services.log_output import LogOptions, start_logging
from cogment_services.status_file import ServerState, StatusFile

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["AppOptions", "Server", "run"]

LAST_MOMENTS = 0.9
"""Seconds that a server has beyond its grace before the process ends all the same."""


class Server(Protocol):
    """Something that serves until it is closed."""

    async def start(self) -> None:
        """Serve; returns once it can be reached.

        Raises:
            CogmentError: It cannot be served.
        """
        ...

    @property
    def listening(self) -> str:
        """Where it can be reached, as tooling looks for it: ``[port:9000]``, for example."""
        ...

    async def close(self, grace: float) -> None:
        """Stop. What is under way has ``grace`` seconds to end; called again, the new grace is what is left."""
        ...


@dataclass(frozen=True)
class AppOptions:
    """How a server runs in its process."""

    name: str
    """What it is called in the log."""
    log: LogOptions = field(default_factory=LogOptions)
    """Its log."""
    status_file: str | None = None
    """Where it tells how far it is; None for nowhere."""
    prometheus_host: str = "127.0.0.1"
    """Address that metrics are served on."""
    prometheus_port: int = 0
    """Port that metrics are served on; 0 for no metrics."""
    grace: float = 5.0
    """Seconds that what is under way has to end when the process is asked to."""


def run(make: Callable[[CollectorRegistry | None], Server], options: AppOptions) -> None:
    """Run a server until the process is told to end: by SIGTERM or SIGINT, a second one leaves no grace.

    Args:
        make: Makes the server, in its event loop; it gets the registry for its metrics, if there are any.
        options: How to run it.

    Raises:
        CogmentError: It cannot be started.
    """
    stop_logging = start_logging(options.log)
    try:
        _allow_many_connections()
        asyncio.run(_run(make, options))
    finally:
        stop_logging()


async def _run(make: Callable[[CollectorRegistry | None], Server], options: AppOptions) -> None:
    status = StatusFile(options.status_file)
    await status.write(ServerState.INITIALIZING)
    async with contextlib.AsyncExitStack() as stack:
        signals = stack.enter_context(_Signals())
        registry = await _serve_metrics(options, stack)
        server = make(registry)
        if await _started(server, signals):
            logger.info("%s: server listening %s", options.name, server.listening)
            await _tell_ready(server, status)
            await signals.first.wait()
        logger.info("%s: stopping, within %g s", options.name, options.grace)
        await _close(server, signals, options.grace)
    await _tell_stopped(status)
    logger.info("%s: stopped", options.name)


async def _serve_metrics(options: AppOptions, stack: contextlib.AsyncExitStack) -> CollectorRegistry | None:
    if not options.prometheus_port:
        return None
    from prometheus_client import REGISTRY

    from cogment_core.metrics_server import serve_metrics

    stack.push_async_callback(serve_metrics(REGISTRY, options.prometheus_port, options.prometheus_host).close)
    return REGISTRY


async def _started(server: Server, signals: _Signals) -> bool:
    """Start ``server``. Returns False if the process was told to end meanwhile."""
    starting = asyncio.get_running_loop().create_task(server.start())
    told = asyncio.get_running_loop().create_task(signals.first.wait())
    try:
        await asyncio.wait({starting, told}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        told.cancel()
    if not starting.done():
        starting.cancel()
        await asyncio.wait({starting})
        return False
    if starting.exception() is not None:
        await server.close(0.0)
    starting.result()
    return True


async def _tell_ready(server: Server, status: StatusFile) -> None:
    try:
        await status.write(ServerState.READY)
        print(f"server listening {server.listening}", flush=True)
    except BaseException:
        await server.close(0.0)
        raise


async def _tell_stopped(status: StatusFile) -> None:
    """The server has stopped as it should, whether anybody still reads that or not."""
    try:
        await status.write(ServerState.TERMINATED, patience=0.0)
    except UsageError as error:
        logger.warning("%s", error)


async def _close(server: Server, signals: _Signals, grace: float) -> None:
    closing = asyncio.get_running_loop().create_task(server.close(grace))
    hurry = asyncio.get_running_loop().create_task(signals.second.wait())
    try:
        await asyncio.wait({closing, hurry}, timeout=grace + LAST_MOMENTS, return_when=asyncio.FIRST_COMPLETED)
        if not closing.done():
            await asyncio.wait({asyncio.get_running_loop().create_task(server.close(0.0))}, timeout=LAST_MOMENTS)
    finally:
        hurry.cancel()
    if closing.done():
        closing.result()
    else:
        logger.error("the server does not stop in time")


class _Signals:
    """SIGTERM and SIGINT, counted."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def __enter__(self) -> _Signals:
        for number in (signal.SIGTERM, signal.SIGINT):
            if sys.platform == "win32":
                signal.signal(number, lambda *_: self._loop.call_soon_threadsafe(self._note))
            else:
                self._loop.add_signal_handler(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            if sys.platform == "win32":
                signal.signal(number, signal.SIG_DFL)
            else:
                self._loop.remove_signal_handler(number)

    def _note(self) -> None:
        (self.second if self.first.is_set() else self.first).set()


def _allow_many_connections() -> None:
    """Take all the open files that the system grants: each peer is one."""
    try:
        import resource
    except ImportError:  # not on this platform
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
