"""What steps cost at the least: bare coroutines in one process, bare grpc.aio streams between processes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import grpc.aio

from cogment.api import common_pb2, environment_pb2

METHOD = "/benchmark.Echo/Echo"


class _Mailbox:
    """A deque that can be waited for."""

    def __init__(self) -> None:
        self._messages: deque[Any] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, message: Any) -> None:
        self._messages.append(message)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def get(self) -> Any:
        while not self._messages:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._messages.popleft()


async def coroutine_steps(steps: int, payload: int) -> float:
    """Seconds for ``steps`` steps of two coroutines that hand each other the envelopes of the protocol."""
    to_actor, to_environment = _Mailbox(), _Mailbox()
    content = b"o" * payload

    async def environment() -> None:
        for tick in range(steps):
            produced = environment_pb2.EnvRunTrialOutput(
                state=common_pb2.NORMAL,
                observation_set=environment_pb2.ObservationSet(
                    tick_id=-1, timestamp=time.time_ns(), observations=[content], actors_map=[0]
                ),
            )
            observations = produced.observation_set
            to_actor.put(
                common_pb2.ActorRunTrialInput(
                    state=common_pb2.NORMAL,
                    observation=common_pb2.Observation(
                        tick_id=tick, timestamp=observations.timestamp, content=observations.observations[0]
                    ),
                )
            )
            await to_environment.get()

    async def actor() -> None:
        for _ in range(steps):
            observation = (await to_actor.get()).observation
            action = common_pb2.ActorRunTrialOutput(
                state=common_pb2.NORMAL,
                action=common_pb2.Action(tick_id=observation.tick_id, timestamp=time.time_ns(), content=b"a" * 64),
            ).action
            to_environment.put(
                environment_pb2.EnvRunTrialInput(
                    state=common_pb2.NORMAL,
                    action_set=environment_pb2.ActionSet(
                        tick_id=action.tick_id, timestamp=time.time_ns(), actions=[action.content]
                    ),
                )
            )

    begin = time.perf_counter()
    await asyncio.gather(environment(), actor())
    return time.perf_counter() - begin


async def _echo(requests: AsyncIterator[bytes], context: Any) -> None:
    while (message := await context.read()) is not grpc.aio.EOF:
        await context.write(message)


async def serve_echo() -> tuple[Any, int]:
    """A raw grpc.aio echo server on a free port of the loopback interface."""
    server = grpc.aio.server()
    handlers: dict[str, Any] = {"Echo": grpc.stream_stream_rpc_method_handler(_echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("benchmark.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


async def echo_round_trips(ports: Sequence[int], rounds: int, payload: int, streams: int = 1) -> float:
    """Seconds for ``rounds`` on each stream: round trips to all ``ports`` in a row, as a step makes to its peers."""
    content = b"o" * payload

    async def one_stream(channels: list[grpc.aio.Channel]) -> None:
        calls: list[Any] = [channel.stream_stream(METHOD)() for channel in channels]
        for _ in range(rounds):
            for call in calls:
                await call.write(content)
                await call.read()
        for call in calls:
            await call.done_writing()

    async with contextlib.AsyncExitStack() as stack:
        opened = {port: grpc.aio.insecure_channel(f"127.0.0.1:{port}") for port in ports}
        for channel in opened.values():
            await stack.enter_async_context(channel)
            await channel.channel_ready()
        begin = time.perf_counter()
        await asyncio.gather(*(one_stream([opened[port] for port in ports]) for _ in range(streams)))
        return time.perf_counter() - begin
