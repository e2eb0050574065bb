"""The Context of `cogment` and the clients that it makes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

import cogment
from cogment.api import common_pb2, orchestrator_pb2, orchestrator_pb2_grpc
from cogment.errors import UnavailableError, UsageError
from cogment_core.inprocess import InProcessEndpoint, InProcessServer


class Orchestrator(orchestrator_pb2_grpc.TrialLifecycleSPServicer):
    """Starts trials, and notes on whose behalf."""

    def __init__(self) -> None:
        self.started: list[tuple[str, dict[str, Any]]] = []
        self.unwatched = asyncio.Event()

    async def StartTrial(self, request: Any, context: Any) -> orchestrator_pb2.TrialStartReply:
        self.started.append((request.user_id, dict(context.invocation_metadata())))
        return orchestrator_pb2.TrialStartReply(trial_id="t")

    async def WatchTrials(self, request: Any, context: Any) -> AsyncIterator[orchestrator_pb2.TrialListEntry]:
        try:
            yield orchestrator_pb2.TrialListEntry(trial_id="t", state=common_pb2.RUNNING)
            await asyncio.Event().wait()
        finally:
            self.unwatched.set()


@pytest.fixture
async def orchestrator() -> Orchestrator:
    return Orchestrator()


@pytest.fixture
async def endpoint(orchestrator: Orchestrator) -> AsyncIterator[cogment.Endpoint]:
    """Where the Orchestrator is."""
    server = InProcessServer()
    servicer: Any = orchestrator
    orchestrator_pb2_grpc.add_TrialLifecycleSPServicer_to_server(servicer, server)
    yield InProcessEndpoint(server)
    await server.stop(None)


async def test_controller_calls_for_its_context(orchestrator: Orchestrator, endpoint: cogment.Endpoint) -> None:
    """A Controller calls as the Context's user and with the Context's metadata."""
    metadata = cogment.GrpcMetadata()
    metadata.add("x-project", "demo")
    async with cogment.Context("me", None, metadata=metadata) as context:
        assert await context.get_controller(endpoint).start_trial() == "t"
    ((user_id, sent),) = orchestrator.started
    assert user_id == "me"
    assert sent["x-project"] == "demo"


async def test_controllers_share_the_context_and_end_with_it(
    orchestrator: Orchestrator, endpoint: cogment.Endpoint
) -> None:
    """Closing the Context ends the calls of its Controllers, and no more can be made."""
    async with cogment.Context("me", None) as context:
        controller = context.get_controller(endpoint)
        watcher = controller.watch_trials()
        await anext(watcher)
    with pytest.raises((UnavailableError, asyncio.CancelledError)):  # the latter on Python 3.10, see `rpc.call_unary`
        await asyncio.wait_for(anext(watcher), 5)
    await asyncio.wait_for(orchestrator.unwatched.wait(), 5)
    with pytest.raises(UsageError, match="closed"):
        await controller.start_trial()


async def test_contexts_are_independent(orchestrator: Orchestrator, endpoint: cogment.Endpoint) -> None:
    """Closing one Context leaves the Controllers of another alone."""
    async with cogment.Context("one", None) as one, cogment.Context("two", None) as two:
        first, second = one.get_controller(endpoint), two.get_controller(endpoint)
        await one.close()
        assert await second.start_trial() == "t"
        with pytest.raises(UsageError):
            await first.start_trial()


def test_controller_of_another_event_loop_says_so(tmp_path: Any) -> None:
    """A Controller that is used in another event loop than before raises an error that says what to do."""
    context = cogment.Context("me", None)
    controller = context.get_controller(cogment.Endpoint("grpc://127.0.0.1:1"))

    async def call() -> None:
        with pytest.raises(UnavailableError):
            await controller.start_trial(timeout=5)

    asyncio.run(call())
    with pytest.raises(UsageError, match="one Context for each event loop"):
        asyncio.run(controller.start_trial())
