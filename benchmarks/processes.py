"""The parts of a benchmark that run in processes of their own."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import resource
import time
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import cogment
from baseline import serve_echo
from cogment_services.orchestrator import Orchestrator
from cogment_services.polling import VARIABLE
from workload import SETTINGS, Workload

_SPAWN = multiprocessing.get_context("spawn")


@dataclass
class Usage:
    """What a process has used since it started."""

    cpu: float
    """Seconds of processor time."""
    peak_rss: int
    """Bytes."""


def usage() -> Usage:
    """The usage of this process."""
    return Usage(time.process_time(), _peak_rss())


def _peak_rss() -> int:
    """Peak of the memory of this process: ``getrusage`` tells that of its parent if it is higher."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except FileNotFoundError:  # not Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


class Child:
    """A process that serves something until it is stopped.

    Args:
        serve: Coroutine function that listens, then calls its argument with the port, and serves until cancelled.
        polling: What the process finds in ``GRPC_EXPERIMENTS``.
    """

    def __init__(self, serve: Callable[..., Coroutine[Any, Any, None]], *args: Any, polling: str = "") -> None:
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=_run, args=(serve, args, theirs), daemon=True)
        with _environment(polling):
            self._process.start()
        theirs.close()
        self.port: int = self._receive()

    def ask(self, question: str) -> Any:
        """``usage``, or ``result`` for what the process has to tell."""
        self._pipe.send(question)
        return self._receive()

    def stop(self) -> None:
        """End the process."""
        with contextlib.suppress(OSError):
            self._pipe.send("stop")
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()

    def _receive(self) -> Any:
        if not self._pipe.poll(60):
            raise TimeoutError(f"{self._process.name} does not answer")
        return self._pipe.recv()


@contextlib.contextmanager
def _environment(polling: str) -> Generator[None, None, None]:
    """The environment that a process is started in."""
    before = os.environ.get(VARIABLE)
    if polling:
        os.environ[VARIABLE] = polling
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before


def _run(serve: Callable[..., Coroutine[Any, Any, None]], args: tuple[Any, ...], pipe: Connection) -> None:
    asyncio.run(_serve(serve, args, pipe))


async def _serve(serve: Callable[..., Coroutine[Any, Any, None]], args: tuple[Any, ...], pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    results: list[Any] = []
    serving = loop.create_task(serve(pipe.send, results, *args))
    stop = asyncio.Event()

    def on_question() -> None:
        try:
            question = pipe.recv()
        except EOFError:
            question = "stop"
        if question == "stop":
            stop.set()
        else:
            pipe.send(usage() if question == "usage" else results)

    loop.add_reader(pipe.fileno(), on_question)
    stopped = loop.create_task(stop.wait())
    await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    loop.remove_reader(pipe.fileno())
    serving.cancel()
    await asyncio.wait({serving, stopped}, timeout=5)
    os._exit(0)


async def orchestrator(tell: Callable[[int], None], results: list[Any]) -> None:
    """An Orchestrator on a free port."""
    async with Orchestrator(port=0) as server:
        tell(server.port)
        await asyncio.Event().wait()


async def components(tell: Callable[[int], None], results: list[Any], kind: str, keep_latencies: bool = False) -> None:
    """The environment, the actors, ``both``, or an ``idle`` environment and actors, on a free port."""
    workload = Workload(keep_latencies)
    workload.spans = results
    context = cogment.Context(user_id="benchmark", cog_settings=SETTINGS, prometheus_registry=None)
    register(context, workload, kind)
    await serve(context, tell)


async def orchestrator_with_environment(tell: Callable[[Any], None], results: list[Any]) -> None:
    """An Orchestrator on a free port, and the environment in the same process."""
    workload = Workload()
    workload.spans = results
    context = cogment.Context(user_id="benchmark", cog_settings=SETTINGS, prometheus_registry=None)
    register(context, workload, "environment")
    async with Orchestrator(port=0) as server:
        server.attach(context)
        tell(server.port)
        await asyncio.Event().wait()


async def echo(tell: Callable[[int], None], results: list[Any]) -> None:
    """A raw grpc.aio echo server."""
    server, port = await serve_echo()
    tell(port)
    await server.wait_for_termination()


def register(context: cogment.Context, workload: Workload, kind: str) -> None:
    """Register the environment, the actors, ``both``, or an ``idle`` environment and actors."""
    if kind in ("environment", "both"):
        context.register_environment(impl=workload.environment, impl_name="echo")
    if kind in ("actors", "both", "idle"):
        context.register_actor(impl=workload.actor, impl_name="echo", actor_classes=["echo"])
    if kind == "idle":
        context.register_environment(impl=workload.idle_environment, impl_name="echo")


async def serve(context: cogment.Context, tell: Callable[[int], None]) -> None:
    """Serve ``context`` on a free port of the loopback interface."""
    endpoint = cogment.ServedEndpoint(port=0)
    endpoint.host = "127.0.0.1"
    serving = asyncio.get_running_loop().create_task(context.serve_all_registered(endpoint))
    tell(await context.wait_until_serving())
    await serving
