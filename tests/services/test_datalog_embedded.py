"""Datalogs within the Orchestrator's process: functions of users, and an embedded Trial Datastore."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from cogment_core.api.common_pb2 import ENDED, TrialParams
from cogment_core.api.orchestrator_pb2 import TrialListRequest, TrialStartRequest
from cogment_core.api.orchestrator_pb2_grpc import TrialLifecycleSPStub
from cogment_core.api.trial_datastore_pb2 import RetrieveSamplesRequest
from cogment_core.api.trial_datastore_pb2_grpc import TrialDatastoreSPStub
from cogment_core.channels import open_channel
from cogment_core.context import Context
from cogment_core.enums import EventType, TrialState
from cogment_core.parameters import TrialParameters
from cogment_core.specs import ActorClass, ActorClassList
from cogment_services.datastore import TrialDatastore
from cogment_services.orchestrator import Orchestrator
from cogment_services.orchestrator import datalog as stream_module

SPECS = SimpleNamespace(
    actor_classes=ActorClassList(ActorClass("player", None, StringValue, StringValue)),
    trial=SimpleNamespace(config_type=StringValue),
    environment=SimpleNamespace(config_type=None),
)
STEPS = 30
LOOK = [("*", StringValue(value="look"))]


async def environment(session: Any) -> None:
    session.start(LOOK)
    async for event in session.all_events():
        if event.type == EventType.ENDING:
            session.end(LOOK)
        elif event.actions and session.get_tick_id() + 1 < STEPS:
            session.produce_observations(LOOK)
        elif event.actions:
            session.end(LOOK)


async def actor(session: Any) -> None:
    session.start()
    async for event in session.all_events():
        if event.observation and event.type == EventType.ACTIVE:
            session.do_action(StringValue(value="act"))


@pytest.fixture
async def make_context() -> AsyncIterator[Callable[..., Context]]:
    contexts: list[Context] = []

    def make(datalog: Callable[[Any], Awaitable[None]] | None = None) -> Context:
        context = Context("me", SPECS, prometheus_registry=None)
        context.register_environment(environment, "world")
        context.register_actor(actor, "player")
        if datalog is not None:
            context.register_datalog(datalog)
        contexts.append(context)
        return context

    yield make
    for context in contexts:
        await context.close()


async def run_trial(orchestrator: Orchestrator) -> str:
    """Run a trial to its end. Returns its id."""
    params = TrialParameters(SPECS)
    params.datalog_endpoint = "cogment://discover"
    params.actors.append(params.new_actor("player", name="alice"))
    stub: Any = TrialLifecycleSPStub(open_channel(orchestrator.endpoint))
    watch = stub.WatchTrials(TrialListRequest(filter=[ENDED]))
    await watch.initial_metadata()
    request = TrialStartRequest(params=TrialParams.FromString(params.serialize()))
    trial_id: str = (await stub.StartTrial(request, timeout=10)).trial_id
    await asyncio.wait_for(watch.read(), 20)
    watch.cancel()
    return trial_id


async def test_a_function_that_raises_is_called_again_with_what_it_had_not_done(
    make_context: Callable[..., Context],
) -> None:
    """No sample is lost by a datalog that fails now and then: it gets the sample that it failed at once more."""
    taken: list[list[int]] = []

    async def datalog(session: Any) -> None:
        session.start()
        taken.append([])
        async for sample in session.all_samples():
            taken[-1].append(sample.tick_id)
            if sample.tick_id in (7, 21) and len(taken[-1]) > 1:
                raise ValueError("not stored")
            if sample.state is TrialState.ENDED:
                ended.set()

    ended = asyncio.Event()
    async with Orchestrator() as orchestrator:
        orchestrator.attach(make_context(datalog))
        await run_trial(orchestrator)
        await asyncio.wait_for(ended.wait(), 20)
    assert taken == [list(range(8)), list(range(7, 22)), list(range(21, STEPS + 1))]


@pytest.mark.parametrize("policy", ["stop", "drop"])
async def test_a_function_that_always_raises_is_given_up(
    make_context: Callable[..., Context], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, policy: str
) -> None:
    """It is not called for ever; what it did not store is counted."""
    monkeypatch.setattr(stream_module, "FIRST_PAUSE", 0.01)
    calls: list[str] = []

    async def datalog(session: Any) -> None:
        session.start()
        calls.append(session.trial_id)
        async for _ in session.all_samples():
            raise ValueError("not stored")

    async with Orchestrator(datalog_policy=policy, grace=20.0) as orchestrator:
        orchestrator.attach(make_context(datalog))
        await run_trial(orchestrator)
    assert len(calls) == stream_module.MAX_REFUSALS
    assert f"{STEPS + 1} samples were not acknowledged by the datalog" in caplog.text


async def test_an_embedded_datastore_has_all_samples_when_the_orchestrator_is_closed(
    make_context: Callable[..., Context], tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """An attached Trial Datastore is the datalog that trials discover; closing waits until it has stored everything."""
    async with TrialDatastore(tmp_path / "trials.db") as datastore:
        async with Orchestrator() as orchestrator:
            orchestrator.attach(make_context())
            orchestrator.attach(datastore)
            trial_id = await run_trial(orchestrator)
        stub: Any = TrialDatastoreSPStub(open_channel(datastore.endpoint))
        call = stub.RetrieveSamples(RetrieveSamplesRequest(trial_ids=[trial_id]), timeout=20)
        ticks = [reply.trial_sample.tick_id async for reply in call]
    assert ticks == list(range(STEPS + 1))
    assert "samples were not" not in caplog.text
