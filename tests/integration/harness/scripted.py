"""Peers whose every message the test decides on, in a gRPC server with stock options, as other SDKs have it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import grpc
import grpc.aio

from cogment_core.api import agent_pb2_grpc, common_pb2, environment_pb2, environment_pb2_grpc, orchestrator_pb2_grpc
from cogment_core.api.common_pb2 import LAST, LAST_ACK, NORMAL
from harness.stage import PATIENCE


class Stream:
    """One end of a ``RunTrial`` call."""

    def __init__(self, trial: str, read: Callable[[], Awaitable[Any]], write: Callable[[Any], Awaitable[None]]) -> None:
        self.trial = trial
        self._read = read
        self._write = write

    async def read(self) -> Any:
        """The next message; EOF at the end."""
        return await self._read()

    async def until(self, state: int, data: str | None = None) -> Any:
        """Read up to the message with this state and data, and return it."""
        while (message := await self.read()) is not grpc.aio.EOF:
            if (message.state, message.WhichOneof("data")) == (state, data):
                return message
        raise AssertionError(f"trial {self.trial}: the stream ended before {state} {data}")

    async def say(self, state: int = NORMAL, **data: Any) -> None:
        await self._write(self.message(state=state, **data))

    message: Callable[..., Any]


class EnvironmentStream(Stream):
    """An environment's end."""

    message = environment_pb2.EnvRunTrialOutput

    async def begin(self) -> None:
        await self.until(NORMAL, "init_input")
        await self.say(init_output=environment_pb2.EnvInitialOutput())

    async def observe(self, *contents: bytes, tick: int = -1, actors_map: Iterable[int] | None = None) -> None:
        """Send observations: one for each actor, unless ``actors_map`` says otherwise."""
        places = range(len(contents)) if actors_map is None else actors_map
        await self.say(
            observation_set=environment_pb2.ObservationSet(
                tick_id=tick, timestamp=1, observations=contents, actors_map=places
            )
        )

    async def actions(self) -> environment_pb2.ActionSet:
        return (await self.until(NORMAL, "action_set")).action_set

    async def end(self, *contents: bytes) -> None:
        """End the trial with these observations, and read up to its END."""
        await self.say(LAST)
        await self.observe(*contents)
        await self.say(LAST_ACK)
        await self.until(common_pb2.END, None)


class ActorStream(Stream):
    """An actor's end."""

    message = common_pb2.ActorRunTrialOutput

    async def begin(self) -> None:
        await self.until(NORMAL, "init_input")
        await self.say(init_output=common_pb2.ActorInitialOutput())

    async def observation(self) -> common_pb2.Observation:
        return (await self.until(NORMAL, "observation")).observation

    async def act(self, content: bytes = b"", tick: int = -1) -> None:
        await self.say(action=common_pb2.Action(tick_id=tick, content=content))

    async def follow(self) -> Any:
        """Act on each observation, acknowledge the end. Returns the END."""
        last = False
        while (message := await self.read()) is not grpc.aio.EOF:
            kind = message.WhichOneof("data")
            if message.state == common_pb2.END:
                return message
            last = last or message.state == LAST
            if kind == "observation":
                await (self.say(LAST_ACK) if last else self.act(b"\x0a\x08followed"))
        raise AssertionError(f"trial {self.trial}: the stream ended without END")


class _Servicer(environment_pb2_grpc.EnvironmentSPServicer, agent_pb2_grpc.ServiceActorSPServicer):
    def __init__(self, play: Callable[..., Awaitable[None]], kind: Callable[..., Stream]) -> None:
        self._play = play
        self._kind = kind

    async def RunTrial(self, request_iterator: Any, context: Any) -> None:
        trial = dict(context.invocation_metadata())["trial-id"]
        await self._play(self._kind(trial, context.read, context.write), context)

    async def Version(self, request: Any, context: Any) -> common_pb2.VersionInfo:
        return common_pb2.VersionInfo(versions=[common_pb2.VersionInfo.Version(name="cogment_sdk", version="2.10.1")])


class ScriptedServer:
    """Serves environments and actors that are functions: they are called with their stream, and the gRPC context."""

    def __init__(
        self,
        environment: Callable[..., Awaitable[None]] | None = None,
        actor: Callable[..., Awaitable[None]] | None = None,
    ) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)])
        if environment is not None:
            servicer = _Servicer(environment, EnvironmentStream)
            environment_pb2_grpc.add_EnvironmentSPServicer_to_server(servicer, self._server)
        if actor is not None:
            agent_pb2_grpc.add_ServiceActorSPServicer_to_server(_Servicer(actor, ActorStream), self._server)
        self.endpoint = f"grpc://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    async def __aenter__(self) -> ScriptedServer:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop(None)


class ScriptedClient:
    """Joins trials as client actors, with a channel of stock options."""

    def __init__(self, endpoint: str) -> None:
        self.channel = grpc.aio.insecure_channel(endpoint.removeprefix("grpc://"))
        self._stub = orchestrator_pb2_grpc.ClientActorSPStub(self.channel)
        self._calls: list[Any] = []

    async def join(self, trial: str, name: str) -> ActorStream:
        call = self._stub.RunTrial(metadata=(("trial-id", trial),))
        self._calls.append(call)  # gRPC cancels a call that nobody holds
        stream = ActorStream(trial, call.read, call.write)
        await stream.say(init_output=common_pb2.ActorInitialOutput(actor_name=name))
        await asyncio.wait_for(stream.until(NORMAL, "init_input"), PATIENCE)
        return stream

    async def __aenter__(self) -> ScriptedClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.channel.close()
