"""A Trial Datastore that answers from a table, a Context that leads there, and the client in between."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from cogment_core.api import common_pb2, trial_datastore_pb2, trial_datastore_pb2_grpc
from cogment_core.channels import open_channel
from cogment_core.endpoints import Endpoint, ServiceType
from cogment_core.inprocess import InProcessEndpoint, InProcessServer
from cogment_datastore import Datastore, connect

# Makes the helpers importable: test folders are no packages.
sys.path.insert(0, str(Path(__file__).parent))


class FakeDatastore(trial_datastore_pb2_grpc.TrialDatastoreSPServicer):
    """Answers as the existing server does, and notes what it was asked.

    Attributes:
        trials: What is known of each trial, by id.
        samples: The samples of each trial, by id.
        pages: Replies to ``RetrieveTrials``, in order, instead of those that the existing server would give.
        calls: The requests received, by name of the method.
        metadata: The metadata of each.
        page_limit: Most trials in a page, whatever is asked for; 0 for no limit.
        failure: What calls fail with, if set; ``RetrieveSamples`` after its samples.
        follows: Whether ``RetrieveSamples`` goes on waiting after its samples.
        sent: Number of samples taken from the server so far.
        left: Set when nobody reads samples any more.
        added: Set when a trial is added.
    """

    def __init__(self) -> None:
        self.trials: dict[str, trial_datastore_pb2.StoredTrialInfo] = {}
        self.samples: dict[str, list[trial_datastore_pb2.StoredTrialSample]] = {}
        self.pages: list[trial_datastore_pb2.RetrieveTrialsReply] = []
        self.calls: list[tuple[str, Any]] = []
        self.metadata: list[dict[str, Any]] = []
        self.page_limit = 0
        self.failure: tuple[grpc.StatusCode, str] | None = None
        self.follows = False
        self.sent = 0
        self.left = asyncio.Event()
        self.added = asyncio.Event()

    def add_trial(
        self, trial_id: str, params: common_pb2.TrialParams, samples: Sequence[trial_datastore_pb2.StoredTrialSample]
    ) -> None:
        """Add a trial; the samples get its id."""
        self.samples[trial_id] = list(samples)
        for sample in samples:
            sample.trial_id = trial_id
        self.trials[trial_id] = trial_datastore_pb2.StoredTrialInfo(
            trial_id=trial_id,
            user_id="log exporter server",
            last_state=samples[-1].state if samples else common_pb2.UNKNOWN,
            samples_count=len(samples),
            params=params,
        )
        self.added.set()

    def requests(self, method: str) -> list[Any]:
        """The requests that ``method`` was called with."""
        return [request for name, request in self.calls if name == method]

    def _note(self, method: str, request: Any, context: Any) -> None:
        self.calls.append((method, request))
        self.metadata.append(dict(context.invocation_metadata()))

    async def _fail(self, context: Any) -> None:
        if self.failure is not None:
            await context.abort(*self.failure)

    async def RetrieveTrials(self, request: Any, context: Any) -> trial_datastore_pb2.RetrieveTrialsReply:
        self._note("RetrieveTrials", request, context)
        await self._fail(context)
        if self.pages:
            return self.pages.pop(0)
        page = self._page(request)
        wanted = min(request.trials_count or 10**9, len(request.trial_ids) or 10**9)
        if request.timeout and len(page.trial_infos) < wanted:
            self.added.clear()
            try:
                await asyncio.wait_for(self.added.wait(), request.timeout / 1000)
            except asyncio.TimeoutError:
                return page
            return self._page(request)
        return page

    def _page(self, request: Any) -> trial_datastore_pb2.RetrieveTrialsReply:
        # A handle is a position among all trials, which counts those that do not match, too.
        position = int(request.trial_handle or 0)
        limit = min(request.trials_count or 10**9, self.page_limit or 10**9)
        reply = trial_datastore_pb2.RetrieveTrialsReply()
        for index, (trial_id, info) in enumerate(self.trials.items()):
            if index < position or len(reply.trial_infos) == limit:
                continue
            if request.trial_ids and trial_id not in request.trial_ids:
                continue
            if any(info.params.properties.get(key) != value for key, value in request.properties.items()):
                continue
            reply.trial_infos.append(info)
            reply.next_trial_handle = str(index + 1)
        reply.next_trial_handle = reply.next_trial_handle or "0"
        return reply

    async def RetrieveSamples(
        self, request: Any, context: Any
    ) -> AsyncIterator[trial_datastore_pb2.RetrieveSampleReply]:
        self._note("RetrieveSamples", request, context)
        try:
            for trial_id in request.trial_ids:
                if trial_id not in self.samples:
                    await context.abort(grpc.StatusCode.UNKNOWN, f"no trial {trial_id!r}")
                for sample in self.samples[trial_id]:
                    yield trial_datastore_pb2.RetrieveSampleReply(trial_sample=sample)
                    self.sent += 1
            if self.follows:
                await asyncio.Event().wait()
            await self._fail(context)
        finally:
            self.left.set()

    async def DeleteTrials(self, request: Any, context: Any) -> trial_datastore_pb2.DeleteTrialsReply:
        self._note("DeleteTrials", request, context)
        await self._fail(context)
        for trial_id in request.trial_ids:
            self.trials.pop(trial_id, None)
        return trial_datastore_pb2.DeleteTrialsReply()

    async def Version(self, request: Any, context: Any) -> common_pb2.VersionInfo:
        self._note("Version", request, context)
        await self._fail(context)
        versions = [common_pb2.VersionInfo.Version(name="cogment", version="2.22.0")]
        return common_pb2.VersionInfo(versions=versions)


class FakeContext:
    """As much of a Context as a Datastore needs."""

    def __init__(self, channel: Any, settings: Any = None) -> None:
        self.user_id = "me"
        self.settings = settings
        self.asked_for: list[tuple[Endpoint, ServiceType]] = []
        self._channel = channel

    def grpc_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        return [("authorization", "basic xyz")]

    async def channel(self, endpoint: Endpoint, service_type: ServiceType, *, stream_of: str = "") -> Any:
        self.asked_for.append((endpoint, service_type))
        return self._channel


@pytest.fixture
async def server() -> FakeDatastore:
    """The Trial Datastore."""
    return FakeDatastore()


@asynccontextmanager
async def serving(server: FakeDatastore) -> AsyncIterator[tuple[grpc.aio.Server, Endpoint]]:
    """Serve the datastore over gRPC."""
    grpc_server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    trial_datastore_pb2_grpc.add_TrialDatastoreSPServicer_to_server(server, grpc_server)
    port = grpc_server.add_insecure_port("127.0.0.1:0")
    await grpc_server.start()
    try:
        yield grpc_server, Endpoint(f"grpc://127.0.0.1:{port}")
    finally:
        await grpc_server.stop(None)


@pytest.fixture
async def network(server: FakeDatastore) -> AsyncIterator[tuple[grpc.aio.Server, Endpoint]]:
    """A gRPC server of the datastore, and where it is."""
    async with serving(server) as served:
        yield served


@pytest.fixture(params=["in process", "grpc"])
async def channel(request: pytest.FixtureRequest, server: FakeDatastore) -> AsyncIterator[Any]:
    """A channel to the datastore: what holds over one transport holds over the other."""
    if request.param == "in process":
        in_process = InProcessServer()
        trial_datastore_pb2_grpc.add_TrialDatastoreSPServicer_to_server(server, in_process)
        yield open_channel(InProcessEndpoint(in_process))
        await in_process.stop(None)
        return
    async with serving(server) as (_, endpoint), open_channel(endpoint) as opened:
        yield opened


@pytest.fixture
async def local_channel(server: FakeDatastore) -> AsyncIterator[Any]:
    """A channel to the datastore in process."""
    in_process = InProcessServer()
    trial_datastore_pb2_grpc.add_TrialDatastoreSPServicer_to_server(server, in_process)
    yield open_channel(InProcessEndpoint(in_process))
    await in_process.stop(None)


@pytest.fixture
def make_datastore(local_channel: Any) -> Callable[[Any], Datastore]:
    """Makes an in-process client with given specs."""
    return lambda settings: connect(FakeContext(local_channel, settings), Endpoint("grpc://datastore:9003"))


@pytest.fixture
async def fake_context(channel: Any) -> FakeContext:
    """The Context."""
    return FakeContext(channel)


@pytest.fixture
async def datastore(fake_context: FakeContext) -> Datastore:
    """The client, without specs."""
    return connect(fake_context, Endpoint("grpc://datastore:9003"))
