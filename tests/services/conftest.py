"""An Orchestrator over real gRPC, and peers whose every message the test decides on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from cogment_core.api import (
    agent_pb2_grpc,
    common_pb2,
    datalog_pb2_grpc,
    environment_pb2,
    environment_pb2_grpc,
    hooks_pb2,
    hooks_pb2_grpc,
    orchestrator_pb2,
    orchestrator_pb2_grpc,
)
from cogment_core.api.common_pb2 import LAST, LAST_ACK, NORMAL

PATIENCE = 10.0
"""Seconds that a test waits for what has to come."""

TLS = Path(__file__).parents[1] / "data" / "tls"


class Line:
    """One end of a stream, played by the test: every message that comes is kept until it is asked for."""

    def __init__(self, read: Callable[[], Any], write: Callable[[Any], Any], metadata: Iterable[Any] = ()) -> None:
        self.metadata = [(key, value) for key, value in metadata if not key.startswith("user-agent")]
        self._write = write
        self._received: asyncio.Queue[Any] = asyncio.Queue()
        self.ears = asyncio.Event()
        """Cleared by the test to read nothing more."""
        self.ears.set()
        self.reading = asyncio.get_running_loop().create_task(self._read_all(read))
        self.over = asyncio.Event()
        """Set by the test to end its side."""
        self.stays = False
        """Set by the test to complete the call only then, not when there is nothing more to read."""

    async def _read_all(self, read: Callable[[], Any]) -> None:
        try:
            while (message := await read()) is not grpc.aio.EOF:
                self._received.put_nowait(message)
                await self.ears.wait()
        except grpc.aio.AioRpcError as error:
            self._received.put_nowait(error)
        self._received.put_nowait(None)

    async def next(self) -> Any:
        """The next message; None at the end of the stream. Raises the error that the stream broke with."""
        message = await asyncio.wait_for(self._received.get(), PATIENCE)
        if isinstance(message, grpc.aio.AioRpcError):
            raise message
        return message

    async def expect(self, state: int, data: str | None = None) -> Any:
        """The next message, which has to have this state and this data."""
        message = await self.next()
        assert message is not None, f"the stream ended, expected {data}"
        assert (message.state, message.WhichOneof("data")) == (state, data), message
        return getattr(message, data) if data else message

    @property
    def is_quiet(self) -> bool:
        """Whether nothing that came waits to be asked for."""
        return self._received.empty()

    async def send(self, message: Any) -> None:
        await asyncio.wait_for(self._write(message), PATIENCE)


class EnvironmentLine(Line):
    """The environment's end."""

    async def say(self, state: int = NORMAL, **data: Any) -> None:
        await self.send(environment_pb2.EnvRunTrialOutput(state=state, **data))

    async def observe(self, *contents: bytes, tick: int = -1, actors_map: Iterable[int] | None = None) -> None:
        """Send observations: one for each actor."""
        places = range(len(contents)) if actors_map is None else actors_map
        observations = environment_pb2.ObservationSet(
            tick_id=tick, timestamp=7, observations=contents, actors_map=places
        )
        await self.say(observation_set=observations)

    async def begin(self, *contents: bytes) -> environment_pb2.EnvInitialInput:
        """Answer the initial data, and send the first observations if there are any."""
        initial = await self.expect(NORMAL, "init_input")
        await self.say(init_output=environment_pb2.EnvInitialOutput())
        if contents:
            await self.observe(*contents)
        return initial

    async def end(self, *contents: bytes) -> None:
        """End the trial with these observations, and acknowledge it."""
        await self.say(LAST)
        await self.observe(*contents)
        await self.say(LAST_ACK)


class ActorLine(Line):
    """An actor's end."""

    async def say(self, state: int = NORMAL, **data: Any) -> None:
        await self.send(common_pb2.ActorRunTrialOutput(state=state, **data))

    async def begin(self) -> common_pb2.ActorInitialInput:
        """Answer the initial data of a service actor."""
        initial = await self.expect(NORMAL, "init_input")
        await self.say(init_output=common_pb2.ActorInitialOutput())
        return initial

    async def act(self, content: bytes = b"", tick: int = -1) -> None:
        await self.say(action=common_pb2.Action(tick_id=tick, content=content))

    async def finish(self) -> Any:
        """Take the last observation, acknowledge it, and take the end."""
        await self.expect(LAST)
        last = await self.expect(NORMAL, "observation")
        await self.say(LAST_ACK)
        return last

    async def status(self) -> grpc.StatusCode:
        """How the call of a client ended."""
        return await asyncio.wait_for(self.call.code(), PATIENCE)

    async def details(self) -> str:
        return await asyncio.wait_for(self.call.details(), PATIENCE)

    call: Any = None


class DatalogLine(Line):
    """The datalog's end."""


class Peers:
    """A gRPC server with environments, actors, datalogs and hooks that the test plays."""

    def __init__(self) -> None:
        self.environments: asyncio.Queue[EnvironmentLine] = asyncio.Queue()
        self.actors: asyncio.Queue[ActorLine] = asyncio.Queue()
        self.datalogs: asyncio.Queue[DatalogLine] = asyncio.Queue()
        self.hook: Callable[[hooks_pb2.PreTrialParams, Any], Any] | None = None
        self.address = ""
        self._server: grpc.aio.Server | None = None

    async def start(self, credentials: grpc.ServerCredentials | None = None) -> None:
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        environment_pb2_grpc.add_EnvironmentSPServicer_to_server(
            _Streaming(self.environments, EnvironmentLine), self._server
        )
        agent_pb2_grpc.add_ServiceActorSPServicer_to_server(_Streaming(self.actors, ActorLine), self._server)
        datalog_pb2_grpc.add_DatalogSPServicer_to_server(_Datalog(self.datalogs, DatalogLine), self._server)
        hooks_pb2_grpc.add_TrialHooksSPServicer_to_server(_Hook(self), self._server)
        if credentials is None:
            port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            port = self._server.add_secure_port("127.0.0.1:0", credentials)
        self.address = f"grpc://127.0.0.1:{port}"
        await self._server.start()

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(None)

    async def environment(self) -> EnvironmentLine:
        return await asyncio.wait_for(self.environments.get(), PATIENCE)

    async def actor(self) -> ActorLine:
        return await asyncio.wait_for(self.actors.get(), PATIENCE)

    async def datalog(self) -> DatalogLine:
        return await asyncio.wait_for(self.datalogs.get(), PATIENCE)

    async def running(self) -> tuple[EnvironmentLine, ActorLine]:
        """The environment and the one actor of a trial that was started, once the actor has its first observation."""
        actor = await self.actor()
        await actor.begin()
        environment = await self.environment()
        await environment.begin(b"0")
        await actor.expect(NORMAL, "observation")
        return environment, actor

    def params(self, *actors: common_pb2.ActorParams | str, **changes: Any) -> common_pb2.TrialParams:
        """Parameters whose environment, and actors given by name, are here."""
        return common_pb2.TrialParams(
            environment=common_pb2.EnvironmentParams(endpoint=self.address),
            actors=[self.service(actor) if isinstance(actor, str) else actor for actor in actors],
            **changes,
        )

    def service(self, name: str, **changes: Any) -> common_pb2.ActorParams:
        """A service actor that is here."""
        return common_pb2.ActorParams(name=name, actor_class="player", endpoint=self.address, **changes)

    def client(self, name: str, **changes: Any) -> common_pb2.ActorParams:
        """A client actor."""
        return common_pb2.ActorParams(name=name, actor_class="player", endpoint="cogment://client", **changes)


class _Streaming(environment_pb2_grpc.EnvironmentSPServicer, agent_pb2_grpc.ServiceActorSPServicer):
    def __init__(self, lines: asyncio.Queue[Any], kind: type[Line]) -> None:
        self._lines = lines
        self._kind = kind

    async def RunTrial(self, request_iterator: Any, context: Any) -> None:
        line = self._kind(context.read, context.write, context.invocation_metadata())
        self._lines.put_nowait(line)
        try:
            over = asyncio.get_running_loop().create_task(line.over.wait())
            await asyncio.wait({over, line.reading}, return_when=asyncio.FIRST_COMPLETED)
            if line.stays:
                await over
            over.cancel()
        finally:
            line.reading.cancel()

    async def Version(self, request: common_pb2.VersionRequest, context: Any) -> common_pb2.VersionInfo:
        return common_pb2.VersionInfo()


class _Datalog(datalog_pb2_grpc.DatalogSPServicer):
    def __init__(self, lines: asyncio.Queue[Any], kind: type[Line]) -> None:
        streaming = _Streaming(lines, kind)
        self.RunTrialDatalog = streaming.RunTrial
        self.Version = streaming.Version


class _Hook(hooks_pb2_grpc.TrialHooksSPServicer):
    def __init__(self, peers: Peers) -> None:
        self._peers = peers

    async def OnPreTrial(self, request: hooks_pb2.PreTrialParams, context: Any) -> hooks_pb2.PreTrialParams:
        assert self._peers.hook is not None, "the test expects no hook to be called"
        return await self._peers.hook(request, context)

    async def Version(self, request: common_pb2.VersionRequest, context: Any) -> common_pb2.VersionInfo:
        return common_pb2.VersionInfo()


class Wire:
    """The clients of an Orchestrator's services, on a channel to it."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.lifecycle = orchestrator_pb2_grpc.TrialLifecycleSPStub(channel)
        self.client_actors = orchestrator_pb2_grpc.ClientActorSPStub(channel)
        self._calls: list[Any] = []

    async def start(self, params: common_pb2.TrialParams | None = None, **request: Any) -> str:
        """Start a trial. Returns its id."""
        message = orchestrator_pb2.TrialStartRequest(params=params, **request)
        return (await self.lifecycle.StartTrial(message, timeout=PATIENCE)).trial_id

    async def terminate(self, *trial_ids: str, hard: bool = False) -> None:
        request = orchestrator_pb2.TerminateTrialRequest(hard_termination=hard)
        await self.lifecycle.TerminateTrial(request, metadata=ids(trial_ids), timeout=PATIENCE)

    async def info(self, *trial_ids: str, **request: Any) -> list[orchestrator_pb2.TrialInfo]:
        message = orchestrator_pb2.TrialInfoRequest(**request)
        reply = await self.lifecycle.GetTrialInfo(message, metadata=ids(trial_ids), timeout=PATIENCE)
        return list(reply.trial)

    async def watch(self, *states: int, full_info: bool = False) -> Line:
        """Watch the trials."""
        call = self.lifecycle.WatchTrials(orchestrator_pb2.TrialListRequest(filter=states, full_info=full_info))
        self._calls.append(call)
        await asyncio.wait_for(call.initial_metadata(), PATIENCE)
        line = Line(call.read, lambda _: None)
        line.cancel = call.cancel
        return line

    def join(self, *trial_ids: str) -> ActorLine:
        """Call the Orchestrator as a client actor."""
        call = self.client_actors.RunTrial(metadata=ids(trial_ids))
        self._calls.append(call)
        line = ActorLine(call.read, call.write)
        line.call = call
        return line

    async def join_as(self, trial_id: str, name: str) -> ActorLine:
        """Join a trial as the actor ``name``."""
        line = self.join(trial_id)
        await line.say(init_output=common_pb2.ActorInitialOutput(actor_name=name))
        await line.expect(NORMAL, "init_input")
        return line

    async def close(self) -> None:
        for call in self._calls:
            call.cancel()
        await self.channel.close()


@pytest.fixture
def wait_until_not_serving() -> Callable[[grpc.aio.Channel], Any]:
    """Waits until the server that a channel leads to says that it stops."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    async def wait(channel: grpc.aio.Channel) -> None:
        call = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        while (await asyncio.wait_for(call.read(), PATIENCE)).status == health_pb2.HealthCheckResponse.SERVING:
            pass
        call.cancel()

    return wait


def ids(trial_ids: Iterable[str]) -> list[tuple[str, str]]:
    return [("trial-id", trial_id) for trial_id in trial_ids]


@pytest.fixture
async def peers() -> AsyncIterator[Peers]:
    """Environments, actors, datalogs and hooks that the test plays."""
    result = Peers()
    await result.start()
    yield result
    await result.stop()


@pytest.fixture
async def tls_peers() -> AsyncIterator[Peers]:
    """The same, for callers with a certificate only."""
    key, chain, root = [(TLS / name).read_bytes() for name in ("server.key", "server.pem", "ca.pem")]
    result = Peers()
    await result.start(grpc.ssl_server_credentials([(key, chain)], root, require_client_auth=True))
    yield result
    await result.stop()


@pytest.fixture
async def run_orchestrator() -> AsyncIterator[Callable[..., Any]]:
    """Starts Orchestrators that listen, and gives their `Wire`, with the ``orchestrator`` in it."""
    from cogment_services.orchestrator import Orchestrator

    wires: list[Any] = []

    async def run(*args: Any, **settings: Any) -> Wire:
        orchestrator = Orchestrator(*args, **{"port": 0, **settings})
        await orchestrator.start()
        wire = Wire(grpc.aio.insecure_channel(f"127.0.0.1:{orchestrator.port}"))
        wire.orchestrator = orchestrator
        wires.append(wire)
        return wire

    yield run
    for wire in wires:
        await wire.orchestrator.close(0.0)
        await wire.close()


@pytest.fixture
async def wire(run_orchestrator: Any) -> Wire:
    """An Orchestrator with the usual settings, over gRPC."""
    return await run_orchestrator()
