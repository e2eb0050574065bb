"""The metrics of all servers and of the SDK, as they are scraped."""

from __future__ import annotations

import asyncio
import re
import time
import urllib.request
from collections import Counter
from types import SimpleNamespace
from typing import Any

import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest

from cogment_core.api import common_pb2, model_registry_pb2, orchestrator_pb2
from cogment_core.api.common_pb2 import ENDED
from cogment_core.api.datalog_pb2 import DatalogSample
from cogment_core.api.model_registry_pb2_grpc import ModelRegistrySPStub
from cogment_core.api.orchestrator_pb2_grpc import TrialLifecycleSPStub
from cogment_core.channels import open_channel
from cogment_core.context import Context
from cogment_core.directory import Directory
from cogment_core.endpoints import ServiceType
from cogment_core.enums import EventType
from cogment_core.metrics import ActorMetrics, EnvironmentMetrics, RegistrationMetrics
from cogment_core.metrics_server import serve_metrics
from cogment_core.parameters import TrialParameters
from cogment_core.specs import ActorClass, ActorClassList
from cogment_services.datastore import TrialDatastore
from cogment_services.datastore.metrics import DatastoreMetrics
from cogment_services.directory import DirectoryServer
from cogment_services.directory.health import Schedule
from cogment_services.model_registry import ModelRegistryServer
from cogment_services.orchestrator import Orchestrator
from cogment_services.orchestrator.metrics import OrchestratorMetrics
from cogment_services.orchestrator.observer import Loss
from cogment_services.orchestrator.sample_queue import ByteBudget, SampleQueue
from cogment_services.orchestrator.traffic import Durations, Traffic, TrialMeter

PATIENCE = 30.0
SECRET = "planted-secret"
SPECS = SimpleNamespace(
    actor_classes=ActorClassList(ActorClass("player", None, StringValue, StringValue)),
    trial=SimpleNamespace(config_type=StringValue),
    environment=SimpleNamespace(config_type=None),
)

ORCHESTRATOR = {
    "orchestrator_trial_duration_seconds",
    "orchestrator_tick_duration_seconds",
    "orchestrator_garbage_collection_duration_seconds",
    "orchestrator_trials",
    "orchestrator_ticks",
    "orchestrator_step_latency_seconds",
    "orchestrator_actor_response_seconds",
    "orchestrator_observation_bytes",
    "orchestrator_action_bytes",
    "orchestrator_rewards",
    "orchestrator_messages",
    "orchestrator_lost_participants",
    "orchestrator_datalog_sent_samples",
    "orchestrator_datalog_acknowledged_samples",
    "orchestrator_datalog_dropped_samples",
    "orchestrator_datalog_waiting_samples",
    "orchestrator_datalog_waiting_bytes",
    "orchestrator_datalog_reconnects",
}
DATASTORE = {
    "trial_datastore_samples",
    "trial_datastore_sample_bytes",
    "trial_datastore_sent_samples",
    "trial_datastore_waiting_changes",
    "trial_datastore_size_bytes",
    "trial_datastore_open_trials",
    "trial_datastore_commit_duration_seconds",
}
MODEL_REGISTRY = {
    "model_registry_versions",
    "model_registry_received_bytes",
    "model_registry_sent_bytes",
    "model_registry_damaged_reads",
    "model_registry_subscribers",
}
DIRECTORY = {"directory_entries", "directory_registrations", "directory_inquiries", "directory_health_checks"}


def numbers(registry: CollectorRegistry) -> dict[str, float]:
    """What is exposed as numbers by name and labels, without the times of creation."""
    lines = generate_latest(registry).decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs if "_created" not in name}


async def scrape(registry: CollectorRegistry) -> str:
    """What an HTTP client gets."""
    server = serve_metrics(registry, 0, "127.0.0.1")
    try:
        return await asyncio.to_thread(_read, f"http://127.0.0.1:{server.port}/metrics")
    finally:
        await server.close()


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE) as reply:
        return str(reply.read(), "utf-8")


def families(text: str) -> set[str]:
    """Names of the metrics in an exposition, without what is added to them there."""
    names = re.findall(r"^# TYPE (\w+) (?!gauge)\w+|^# TYPE (\w+) gauge", text, re.M)
    counted = {(other or gauge).removesuffix("_total") for other, gauge in names}
    return {name for name in counted if not name.endswith("_created")}


def played(registry: CollectorRegistry | None, steps: int) -> Context:
    """A Context whose trials have so many steps, a reward and a message."""

    async def environment(session: Any) -> None:
        session.start([("*", StringValue(value=SECRET))])
        async for event in session.all_events():
            if event.actions and event.type != EventType.ENDING:
                if session.get_tick_id() + 1 < steps:
                    session.produce_observations([("*", StringValue(value=SECRET))])
                else:
                    session.add_reward(1.0, 1.0, ["*"], user_data=StringValue(value=SECRET))
                    session.send_message(StringValue(value=SECRET), ["*"])
                    session.end([("*", StringValue(value=SECRET))])

    async def actor(session: Any) -> None:
        session.start()
        async for event in session.all_events():
            if event.observation and event.type == EventType.ACTIVE:
                session.do_action(StringValue(value=SECRET))

    context = Context(SECRET, SPECS, prometheus_registry=registry)
    context.register_environment(environment, "world")
    context.register_actor(actor, "robot", ["player"])
    return context


async def play(orchestrator: Orchestrator, *names: str, logged: bool = False) -> None:
    """A trial with these actors, from its start to its end."""
    parameters = TrialParameters(SPECS)
    parameters.properties = {"password": SECRET}
    parameters.config = StringValue(value=SECRET)
    parameters.datalog_endpoint = "cogment://discover" if logged else ""
    parameters.actors.extend(parameters.new_actor("player", name=name) for name in names)
    params = common_pb2.TrialParams.FromString(parameters.serialize())
    stub: Any = TrialLifecycleSPStub(open_channel(orchestrator.endpoint))
    watch = stub.WatchTrials(orchestrator_pb2.TrialListRequest())
    await watch.initial_metadata()
    request = orchestrator_pb2.TrialStartRequest(params=params, user_id=SECRET)
    trial_id = (await stub.StartTrial(request, timeout=PATIENCE)).trial_id
    while (entry := await asyncio.wait_for(watch.read(), PATIENCE)).trial_id != trial_id or entry.state != ENDED:
        pass
    watch.cancel()


async def until(condition: Any) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_a_trial_is_counted() -> None:
    """Steps, responses, bytes, rewards, messages and samples are those of the trial, in one registry for all."""
    registry = CollectorRegistry()
    async with (
        Orchestrator(prometheus_registry=registry) as orchestrator,
        TrialDatastore(prometheus_registry=registry) as datastore,
        played(registry, steps=3) as context,
    ):
        orchestrator.attach(context)
        orchestrator.attach(datastore)
        await play(orchestrator, "ann", "bob", logged=True)
        await until(lambda: numbers(registry)["orchestrator_datalog_waiting_samples"] == 0)
        shown = numbers(registry)
        text = await scrape(registry)
    size = len(StringValue(value=SECRET).SerializeToString())
    expected = {
        "ticks_total": 4,
        "step_latency_seconds_count": 3,
        'step_latency_seconds_bucket{le="+Inf"}': 3,
        "actor_response_seconds_count": 6,
        "observation_bytes_total": 4 * 2 * size,
        "action_bytes_total": 3 * 2 * size,
        "rewards_total": 1,
        "messages_total": 1,
        "trial_duration_seconds_count": 1,
        "tick_duration_seconds_count": 2,
        'trials{state="ENDED"}': 1,
        'trials{state="RUNNING"}': 0,
        "datalog_sent_samples_total": 4,
        "datalog_acknowledged_samples_total": 4,
        "datalog_dropped_samples_total": 0,
        "datalog_waiting_bytes": 0,
        "datalog_reconnects_total": 0,
        'lost_participants_total{cause="disconnected",participant="actor"}': 0,
    }
    assert {name: shown.get(f"orchestrator_{name}") for name in expected} == expected
    assert 0 < shown["orchestrator_step_latency_seconds_sum"] <= PATIENCE
    assert shown["trial_datastore_samples_total"] == 4
    assert families(text) >= ORCHESTRATOR | DATASTORE
    assert SECRET not in text


async def test_a_thousand_names_make_no_thousand_series() -> None:
    """The Orchestrator labels nothing with names; the SDK, whose label it is, counts later names together."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    async with Orchestrator(prometheus_registry=ours) as orchestrator, played(theirs, steps=1) as context:
        orchestrator.attach(context)
        await play(orchestrator, "first")
        before = numbers(ours).keys()
        for trial in range(10):
            await play(orchestrator, *(f"actor{trial}x{index}" for index in range(100)))
        await until(lambda: numbers(theirs)['actor_ended_total{impl_name="robot"}'] == 1001)
    assert numbers(ours).keys() == before
    assert not re.search("actor[0-9]x|first|robot", generate_latest(ours).decode())
    names = Counter(re.findall(r'name="([^"]*)"', "\n".join(n for n in numbers(theirs) if "rewards_count" in n)))
    names.pop("robot")  # the implementation
    assert len(names) == 101
    other = 'actor_rewards_count_total{impl_name="robot",name="(other)"}'
    assert numbers(theirs)[other] == 1001 - 100


async def test_losses_are_counted_by_who_and_why() -> None:
    """The labels are there from the start, and have few values."""
    registry = CollectorRegistry()
    metrics = OrchestratorMetrics(registry)
    meter = metrics.trial()
    assert meter is not None
    meter.lost(3, Loss.UNRESPONSIVE)
    meter.lost(None, Loss.DISCONNECTED)
    lost = {name: value for name, value in numbers(registry).items() if "lost_participants" in name}
    assert len(lost) == 2 * len(Loss)
    assert {name for name, value in lost.items() if value} == {
        'orchestrator_lost_participants_total{cause="unresponsive",participant="actor"}',
        'orchestrator_lost_participants_total{cause="disconnected",participant="environment"}',
    }


def test_ticks_are_measured_between_action_sets() -> None:
    """One figure per action set but the first and those that end the trial."""
    now, ticks = [0.0], list[float]()
    traffic = Traffic()
    meter = TrialMeter(traffic, on_tick=ticks.append, on_loss=lambda *_: None, clock=lambda: now[0])
    for tick in range(4):
        now[0] += tick
        meter.observed(tick, [b"abc"])
        now[0] += 0.25
        meter.acted(0)
        now[0] += 0.25
        meter.answered([b"ab"], last=tick == 3)
    assert ticks == [1.5, 2.5]
    assert (traffic.ticks, traffic.observation_bytes, traffic.action_bytes) == (4, 12, 8)
    assert traffic.steps.shown("x", "").samples[-1].value == 4 * 0.5
    assert traffic.responses.shown("x", "").samples[-1].value == 4 * 0.25


def test_durations_are_in_the_bucket_that_prometheus_means() -> None:
    """A bound is in its bucket, buckets include those below them, and what is longer than all is in the last."""
    durations = Durations()
    for seconds in (0.0, 0.0001, 0.00011, 10.0, 11.0):
        durations.add(seconds)
    family = durations.shown("x", "")
    shown = {sample.labels["le"]: sample.value for sample in family.samples if sample.name.endswith("_bucket")}
    assert (shown["0.0001"], shown["0.0002"], shown["5.0"], shown["10.0"], shown["+Inf"]) == (2, 3, 3, 4, 5)
    assert list(shown) == sorted(shown, key=float)


def test_samples_are_counted_from_the_queue_to_the_reply() -> None:
    """What waits is counted with its bytes, what had to be sent again is sent twice, and let go is not acknowledged."""
    registry, budget = CollectorRegistry(), ByteBudget(10**6)
    OrchestratorMetrics(registry).watch_samples(budget)
    queue = SampleQueue(10, 1000, budget)

    def shown() -> list[float]:
        kinds = ("waiting_samples", "waiting_bytes", "sent_samples_total", "acknowledged_samples_total")
        return [numbers(registry)[f"orchestrator_datalog_{kind}"] for kind in kinds]

    def write() -> None:
        assert queue.begin_write() is not None
        queue.end_write()

    for size in (10, 20, 30):
        queue.push(DatalogSample(), size)
    assert shown() == [3, 60, 0, 0]
    write()
    queue.rewind()
    write()
    write()
    assert shown() == [3, 60, 3, 0]
    assert queue.confirm()
    assert shown() == [2, 50, 3, 1]
    queue.let_go()
    assert shown() == [1, 30, 3, 1]
    assert queue.clear() == 1
    assert shown() == [0, 0, 3, 1]


async def test_orchestrators_share_a_registry() -> None:
    """One that is made anew in the same process goes on counting."""
    registry = CollectorRegistry()
    for _ in range(2):
        async with Orchestrator(prometheus_registry=registry) as orchestrator, played(None, steps=2) as context:
            orchestrator.attach(context)
            await play(orchestrator, "ann")
    assert numbers(registry)["orchestrator_trial_duration_seconds_count"] == 2
    assert numbers(registry)["orchestrator_ticks_total"] == 6


async def test_the_existing_summaries_keep_their_names_and_kind() -> None:
    """Dashboards read them as summaries without labels."""
    registry = CollectorRegistry()
    async with Orchestrator(prometheus_registry=registry):
        text = await scrape(registry)
    assert set(re.findall(r"^# TYPE (\w+) summary$", text, re.M)) == {
        "orchestrator_trial_duration_seconds",
        "orchestrator_tick_duration_seconds",
        "orchestrator_garbage_collection_duration_seconds",
    }
    assert families(text) == ORCHESTRATOR


async def test_a_model_registry_is_scraped() -> None:
    """Versions, bytes and subscribers; the name of a model is no label."""
    registry = CollectorRegistry()
    async with ModelRegistryServer(port=0, prometheus_registry=registry) as server:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub: Any = ModelRegistrySPStub(channel)
            model = model_registry_pb2.ModelInfo(model_id=SECRET, user_data={"token": SECRET})
            request = model_registry_pb2.CreateOrUpdateModelRequest(model_info=model)
            await stub.CreateOrUpdateModel(request, timeout=PATIENCE)
            chunk = model_registry_pb2.CreateVersionRequestChunk
            version = model_registry_pb2.ModelVersionInfo(model_id=SECRET, data_size=3, archived=True)
            upload = [chunk(header=chunk.Header(version_info=version)), chunk(body=chunk.Body(data_chunk=b"abc"))]
            await stub.CreateVersion(iter(upload), timeout=PATIENCE)
        text = await scrape(registry)
    assert families(text) == MODEL_REGISTRY
    assert 'model_registry_versions_total{stored="true"} 1.0' in text
    assert "model_registry_received_bytes_total 3.0" in text
    assert SECRET not in text


async def test_a_directory_is_scraped() -> None:
    """Entries by type, requests by result; nothing that callers choose, no token."""
    registry = CollectorRegistry()
    schedule = Schedule(period=3600.0, grpc_rounds=(0.05,), tcp_rounds=(0.05,))
    async with DirectoryServer(port=0, schedule=schedule, prometheus_registry=registry) as server:
        client = Directory(f"grpc://127.0.0.1:{server.port}", SECRET)
        try:
            for number in range(5):
                properties = {"__implementation": f"robot{number}", "__actor_class": SECRET, "secret": SECRET}
                await client.register_host(ServiceType.ACTOR, "127.0.0.1", 9000 + number, False, properties)
            await client.entries(ServiceType.ACTOR)
        finally:
            await client.close()
        text = await scrape(registry)
    assert families(text) == DIRECTORY
    assert 'directory_registrations_total{result="ok"} 5.0' in text
    assert re.findall(r"^directory_entries\{(.*)\} 5.0$", text, re.M) == ['type="ACTOR_SERVICE"']
    assert not re.search(f"{SECRET}|robot", text)


async def test_a_datastore_is_scraped() -> None:
    """All its metrics are there before there are trials."""
    registry = CollectorRegistry()
    async with TrialDatastore(prometheus_registry=registry):
        text = await scrape(registry)
    assert families(text) == DATASTORE


@pytest.mark.parametrize("make", [Orchestrator, TrialDatastore, ModelRegistryServer, DirectoryServer])
async def test_servers_of_one_kind_share_a_registry(make: Any) -> None:
    """Several of one process, one after the other or at once, are counted together, and not when they are closed."""
    registry = CollectorRegistry()
    async with make(prometheus_registry=registry), make(prometheus_registry=registry):
        pass
    async with make(prometheus_registry=registry):
        pass
    assert {name: value for name, value in gauges(registry).items() if value} == {}


async def test_what_servers_tell_together() -> None:
    """A gauge is the sum of those who are there."""
    registry = CollectorRegistry()
    first = DatastoreMetrics(registry, lambda: 1000)
    second = DatastoreMetrics(registry, lambda: 500)
    first.open_trials(2)
    second.open_trials(3)
    first.open_trials(1)
    second.waiting(7)
    prefix = "trial_datastore_"
    wanted = {f"{prefix}size_bytes": 1500.0, f"{prefix}open_trials": 4.0, f"{prefix}waiting_changes": 7.0}
    assert gauges(registry) == wanted
    second.close()
    second.close()
    wanted = {f"{prefix}size_bytes": 1000.0, f"{prefix}open_trials": 1.0, f"{prefix}waiting_changes": 0.0}
    assert gauges(registry) == wanted


def gauges(registry: CollectorRegistry) -> dict[str, float]:
    """The values of all gauges, by name; those with labels are added."""
    values: dict[str, float] = {}
    for metric in registry.collect():
        if metric.type == "gauge":
            values[metric.name] = sum(sample.value for sample in metric.samples)
    return values


def test_metrics_of_different_kinds_fit_into_one_registry() -> None:
    """A process that runs everything can use one registry for all; no two metrics have the same name."""
    registry = CollectorRegistry()
    for kind in (ActorMetrics, EnvironmentMetrics, RegistrationMetrics, OrchestratorMetrics):
        kind(registry)
    ModelRegistryServer(prometheus_registry=registry)
    DirectoryServer(prometheus_registry=registry)
    TrialDatastore(prometheus_registry=registry)
    found = Counter(metric.name for metric in registry.collect())
    assert found.keys() >= ORCHESTRATOR | DATASTORE | MODEL_REGISTRY | DIRECTORY
    assert set(found.values()) == {1}


@pytest.mark.parametrize("server", [Orchestrator, TrialDatastore, ModelRegistryServer, DirectoryServer])
async def test_without_a_registry_nothing_is_published(server: Any) -> None:
    """Servers of one process are not in each other's way, and none uses the global registry by itself."""
    from prometheus_client import REGISTRY

    before = {metric.name for metric in REGISTRY.collect()}
    async with server(), server():
        assert {metric.name for metric in REGISTRY.collect()} == before
