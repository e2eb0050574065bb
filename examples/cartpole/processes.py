"""The same training with each component in a process of its own, over gRPC.

They could as well be on machines of their own: a component is a program that serves what it registered.
"""

import asyncio
import math
import multiprocessing
import signal
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import cogment
from cogment_services.datastore import TrialDatastore
from cogment_services.orchestrator import Orchestrator
from environment import cartpole
from policy import linear_policy
from specs import cog_settings
from training import Observer, Settings, train
from trials import Endpoints

__all__ = ["train_in_processes"]

START_TIMEOUT = 60.0
"""Seconds that a process has to serve."""

STOP_TIMEOUT = 10.0
"""Seconds that a process has to end."""

Server = Callable[[], AbstractAsyncContextManager[str]]
"""Serves a component within an ``async with`` block, which gets its endpoint."""


async def train_in_processes(settings: Settings, trials: Path, observer: Observer) -> None:
    """Train with each component in another process. This one starts the trials, and reads what was logged."""
    servers: dict[str, Server] = {
        "orchestrator": serve_orchestrator,
        "environment": serve_environment,
        "player": serve_player,
        "datastore": partial(serve_datastore, trials),
    }
    async with cogment.Context(user_id="cartpole", cog_settings=cog_settings) as context, processes(servers) as urls:
        endpoints = Endpoints(urls["environment"], urls["player"], datalog=urls["datastore"])
        controller = context.get_controller(cogment.Endpoint(urls["orchestrator"]))
        datastore = context.get_datastore(cogment.Endpoint(urls["datastore"]))
        await train(controller, datastore, endpoints, settings, observer)


# --- what runs in the other processes ---------------------------------------------------------------------------------


@asynccontextmanager
async def serve_orchestrator() -> AsyncGenerator[str, None]:
    async with Orchestrator(port=0) as orchestrator:
        yield local_url(orchestrator.port)


@asynccontextmanager
async def serve_environment() -> AsyncGenerator[str, None]:
    async with cogment.Context(user_id="cartpole", cog_settings=cog_settings) as context:
        context.register_environment(cartpole, "CartPole-v1")
        async with serving(context) as url:
            yield url


@asynccontextmanager
async def serve_player() -> AsyncGenerator[str, None]:
    async with cogment.Context(user_id="cartpole", cog_settings=cog_settings) as context:
        context.register_actor(linear_policy, "linear", ["player"])
        async with serving(context) as url:
            yield url


@asynccontextmanager
async def serve_datastore(trials: Path) -> AsyncGenerator[str, None]:
    async with TrialDatastore(trials, port=0) as datastore:
        yield local_url(datastore.port)


@asynccontextmanager
async def serving(context: cogment.Context) -> AsyncGenerator[str, None]:
    """Serve what is registered with ``context``, for this machine only, on a port that the system chooses."""
    served = asyncio.create_task(context.serve_all_registered(cogment.ServedEndpoint(host="127.0.0.1")))
    try:
        yield local_url(await context.wait_until_serving())
    finally:
        await context.close()
        await served


def local_url(port: int) -> str:
    return f"grpc://127.0.0.1:{port}"


# --- processes --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def processes(servers: Mapping[str, Server]) -> AsyncGenerator[dict[str, str], None]:
    """Run each of ``servers`` in a process for the time of the block, which gets their endpoints by name.

    They are stopped in the given order: the Orchestrator first, as it still has to tell the others.
    """
    started: dict[str, tuple[BaseProcess, Connection]] = {}
    urls: dict[str, str] = {}
    try:
        for name, server in servers.items():
            started[name] = start(name, server)
        for name, (process, pipe) in started.items():
            urls[name] = await endpoint_of(process, pipe)
        yield urls
    finally:
        for name, (process, pipe) in started.items():
            if name not in urls:
                process.kill()  # it does not serve yet: there is nothing to end in good order
            pipe.close()
            await stop(process)


def start(name: str, server: Server) -> tuple[BaseProcess, Connection]:
    """Start a process. It ends when our end of the pipe is closed, be it because this process dies."""
    spawn = multiprocessing.get_context("spawn")  # gRPC does not survive a fork
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=run, args=(server, theirs), name=name, daemon=True)
    with interrupts_withheld():  # inherited: Ctrl-C is for this process, which then stops the others in good order
        process.start()
    theirs.close()
    return process, ours


@contextmanager
def interrupts_withheld() -> Generator[None, None, None]:
    """Ctrl-C in the block comes after it; processes that are started in the block never get it."""
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()  # otherwise it is started in the block, and lets Ctrl-C through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def endpoint_of(process: BaseProcess, pipe: Connection) -> str:
    """The endpoint that a started process tells."""
    if not await becomes_true(pipe.poll, START_TIMEOUT):
        raise cogment.CogmentError(f"the process {process.name!r} does not serve within {START_TIMEOUT:g} s")
    try:
        endpoint: str = pipe.recv()
    except EOFError:
        raise cogment.CogmentError(f"the process {process.name!r} died before it served") from None
    return endpoint


async def stop(process: BaseProcess) -> None:
    if not await becomes_true(lambda: not process.is_alive(), STOP_TIMEOUT):
        process.kill()
    process.join()


def run(server: Server, pipe: Connection) -> None:
    """Serve, in the new process, until the other end of the pipe is closed."""

    async def serve() -> None:
        async with server() as endpoint:
            pipe.send(endpoint)
            await becomes_true(pipe.poll, math.inf)

    asyncio.run(serve())


async def becomes_true(condition: Callable[[], bool], timeout: float) -> bool:
    """Wait for a condition of another process, while the event loop goes on. Returns whether it came true in time."""
    deadline = time.monotonic() + timeout
    while not (is_true := condition()) and time.monotonic() < deadline:  # noqa: ASYNC110 - processes share no Event
        await asyncio.sleep(0.05)
    return is_true
