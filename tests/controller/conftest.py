"""An Orchestrator that answers from a table, a Context that leads there, and the Controller in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import grpc
import grpc.aio
import pytest

from cogment_controller import Controller, connect
from cogment_core.api import common_pb2, orchestrator_pb2, orchestrator_pb2_grpc
from cogment_core.channels import open_channel
from cogment_core.endpoints import Endpoint, ServiceType
from cogment_core.inprocess import InProcessEndpoint, InProcessServer


class Call(NamedTuple):
    """A call that the Orchestrator received."""

    method: str
    request: Any
    metadata: list[tuple[str, str | bytes]]
    time_remaining: float | None

    @property
    def trial_ids(self) -> list[str | bytes]:
        """The trial ids in its metadata."""
        return [value for key, value in self.metadata if key == "trial-id"]


class FakeOrchestrator(orchestrator_pb2_grpc.TrialLifecycleSPServicer):
    """Keeps trials in a dictionary, and what it was asked in a list.

    Attributes:
        trials: The trials, by id.
        calls: The calls received.
        called: Set once there was one.
        failure: What all calls fail with, if set.
        hangs: Whether calls are never answered.
        watched: Set while somebody watches.
        unwatched: Set once a watcher has gone.
        entries: What watchers get, besides the trials that there are; None ends the stream.
    """

    def __init__(self) -> None:
        self.trials: dict[str, orchestrator_pb2.TrialInfo] = {}
        self.calls: list[Call] = []
        self.called = asyncio.Event()
        self.failure: tuple[grpc.StatusCode, str] | None = None
        self.hangs = False
        self.watched = asyncio.Event()
        self.unwatched = asyncio.Event()
        self.entries: asyncio.Queue[orchestrator_pb2.TrialListEntry | None] = asyncio.Queue()

    def add_trial(self, trial_id: str, state: common_pb2.TrialState.ValueType = common_pb2.RUNNING) -> None:
        """Add a trial with one actor."""
        self.trials[trial_id] = orchestrator_pb2.TrialInfo(
            trial_id=trial_id,
            state=state,
            env_name="env",
            properties={"kind": "test"},
            tick_id=3,
            trial_duration=12,
            actors_in_trial=[common_pb2.TrialActor(name="one", actor_class="player")],
        )

    async def _received(self, method: str, request: Any, context: Any) -> Call:
        metadata = [(key, value) for key, value in context.invocation_metadata()]
        call = Call(method, request, metadata, context.time_remaining())
        self.calls.append(call)
        self.called.set()
        if self.hangs:
            await asyncio.Event().wait()
        if self.failure is not None:
            await context.abort(*self.failure)
        return call

    async def StartTrial(self, request: Any, context: Any) -> orchestrator_pb2.TrialStartReply:
        trial_id = request.trial_id_requested or f"trial-{len(self.trials)}"
        if trial_id in self.trials:
            trial_id = ""
        else:
            self.add_trial(trial_id, common_pb2.PENDING)
        await self._received("StartTrial", request, context)
        return orchestrator_pb2.TrialStartReply(trial_id=trial_id)

    async def TerminateTrial(self, request: Any, context: Any) -> orchestrator_pb2.TerminateTrialReply:
        await self._received("TerminateTrial", request, context)
        return orchestrator_pb2.TerminateTrialReply()

    async def GetTrialInfo(self, request: Any, context: Any) -> orchestrator_pb2.TrialInfoReply:
        call = await self._received("GetTrialInfo", request, context)
        found = [self.trials[str(trial_id)] for trial_id in call.trial_ids or self.trials if trial_id in self.trials]
        return orchestrator_pb2.TrialInfoReply(trial=found)

    async def WatchTrials(self, request: Any, context: Any) -> AsyncIterator[orchestrator_pb2.TrialListEntry]:
        await self._received("WatchTrials", request, context)
        self.watched.set()
        try:
            for trial in self.trials.values():
                if not request.filter or trial.state in request.filter:
                    yield _entry(trial, request.full_info)
            while (entry := await self.entries.get()) is not None:
                yield entry
            if self.failure is not None:
                await context.abort(*self.failure)
        finally:
            self.unwatched.set()

    async def Version(self, request: Any, context: Any) -> common_pb2.VersionInfo:
        await self._received("Version", request, context)
        versions = [common_pb2.VersionInfo.Version(name="cogment", version="2.22.0")]
        return common_pb2.VersionInfo(versions=versions)

    async def Status(self, request: Any, context: Any) -> common_pb2.StatusReply:
        await self._received("Status", request, context)
        return common_pb2.StatusReply()


def _entry(trial: orchestrator_pb2.TrialInfo, full_info: bool) -> orchestrator_pb2.TrialListEntry:
    if full_info:
        return orchestrator_pb2.TrialListEntry(info=trial)
    return orchestrator_pb2.TrialListEntry(trial_id=trial.trial_id, state=trial.state)


class FakeContext:
    """As much of a Context as a Controller needs."""

    def __init__(self, channel: Any) -> None:
        self.user_id = "me"
        self.settings = None
        self.metadata: list[tuple[str, str | bytes]] = [("authorization", "basic xyz")]
        self.asked_for: list[tuple[Endpoint, ServiceType]] = []
        self._channel = channel

    def lead_to(self, channel: Any) -> None:
        """From now on, give this channel."""
        self._channel = channel

    def grpc_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        return list(self.metadata)

    async def channel(self, endpoint: Endpoint, service_type: ServiceType, *, stream_of: str = "") -> Any:
        self.asked_for.append((endpoint, service_type))
        return self._channel


@pytest.fixture
async def orchestrator() -> FakeOrchestrator:
    """The Orchestrator."""
    return FakeOrchestrator()


@asynccontextmanager
async def serving(
    orchestrator: FakeOrchestrator, address: str = "127.0.0.1:0"
) -> AsyncIterator[tuple[grpc.aio.Server, Endpoint]]:
    """Serve the Orchestrator over gRPC."""
    limits = [("grpc.max_metadata_size", 8192), ("grpc.absolute_max_metadata_size", 8192)]
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0), *limits])
    orchestrator_pb2_grpc.add_TrialLifecycleSPServicer_to_server(orchestrator, server)
    port = server.add_insecure_port(address)
    await server.start()
    try:
        yield server, Endpoint(f"grpc://127.0.0.1:{port}")
    finally:
        await server.stop(None)


@pytest.fixture
async def network(orchestrator: FakeOrchestrator) -> AsyncIterator[tuple[grpc.aio.Server, Endpoint]]:
    """A gRPC server of the Orchestrator, and where it is."""
    async with serving(orchestrator) as server:
        yield server


@pytest.fixture(params=["in process", "grpc"])
async def channel(request: pytest.FixtureRequest, orchestrator: FakeOrchestrator) -> AsyncIterator[Any]:
    """A channel to the Orchestrator: what holds over one transport holds over the other."""
    if request.param == "in process":
        server = InProcessServer()
        orchestrator_pb2_grpc.add_TrialLifecycleSPServicer_to_server(orchestrator, server)
        yield open_channel(InProcessEndpoint(server))
        await server.stop(None)
        return
    async with serving(orchestrator) as (_, endpoint), open_channel(endpoint) as opened:
        yield opened


@pytest.fixture
def serve() -> Any:
    """Serves an Orchestrator over gRPC; at a given address, or any."""
    return serving


@pytest.fixture
def make_context() -> Any:
    """Makes a Context whose calls go over a given channel."""
    return FakeContext


@pytest.fixture
async def fake_context(channel: Any) -> FakeContext:
    """The Context."""
    return FakeContext(channel)


@pytest.fixture
async def controller(fake_context: FakeContext) -> Controller:
    """The Controller of the Orchestrator."""
    return connect(fake_context, Endpoint("grpc://orchestrator:9000"))
