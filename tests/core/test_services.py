"""What the served components answer besides trials: version, status, health and metrics."""

from __future__ import annotations

import asyncio
import socket
import urllib.request
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import generate_latest
from scripted import SETTINGS, Hand, Recorder, World, soon

from cogment_core.api import (
    agent_pb2_grpc,
    datalog_pb2_grpc,
    environment_pb2_grpc,
    hooks_pb2,
    hooks_pb2_grpc,
)
from cogment_core.api.common_pb2 import END, StatusRequest, VersionRequest
from cogment_core.context import Context
from cogment_core.endpoints import ServedEndpoint
from cogment_core.errors import CogmentError

STUBS: dict[str, Callable[[Any], Any]] = {
    "actor": agent_pb2_grpc.ServiceActorSPStub,
    "environment": environment_pb2_grpc.EnvironmentSPStub,
    "hook": hooks_pb2_grpc.TrialHooksSPStub,
    "datalog": datalog_pb2_grpc.DatalogSPStub,
}
NAMES = {
    "actor": "cogmentAPI.ServiceActorSP",
    "environment": "cogmentAPI.EnvironmentSP",
    "hook": "cogmentAPI.TrialHooksSP",
    "datalog": "cogmentAPI.DatalogSP",
}


async def impl(session: Any) -> None:
    """A function of a user."""
    session.start()


def register(context: Context, kind: str) -> None:
    """Register ``impl`` as a component of this kind."""
    if kind == "actor":
        context.register_actor(impl, "acting")
    elif kind == "environment":
        context.register_environment(impl)
    elif kind == "hook":
        context.register_pre_trial_hook(impl)
    else:
        context.register_datalog(impl)


@pytest.fixture(params=list(STUBS))
def kind(request: pytest.FixtureRequest) -> str:
    """Which kind of component."""
    return request.param


# --- what is served ---------------------------------------------------------------------------------------------------


async def test_only_what_is_registered_is_served(world: World, kind: str):
    """The services of other kinds of components do not exist."""
    register(world.context, kind)
    channel = await world.channel()
    for other, stub in STUBS.items():
        if other == kind:
            await soon(stub(channel).Version(VersionRequest()))
            continue
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await soon(stub(channel).Version(VersionRequest()))
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(("host", "said"), [(None, "on all interfaces, port"), ("127.0.0.1", "on 127.0.0.1, port")])
async def test_the_log_says_who_can_connect(
    world: World, caplog: pytest.LogCaptureFixture, host: str | None, said: str
):
    """All interfaces are the default, and a host narrows it down."""
    register(world.context, "environment")
    serving = asyncio.create_task(world.context.serve_all_registered(ServedEndpoint(0, host)))
    port = await soon(world.context.wait_until_serving())
    assert said in caplog.text
    with socket.socket() as elsewhere:
        assert (await asyncio.to_thread(elsewhere.connect_ex, ("127.0.0.2", port)) == 0) == (host is None)
    serving.cancel()
    await asyncio.wait({serving})


async def test_the_versions(world: World, kind: str):
    """Version has those of the SDK and of gRPC."""
    register(world.context, kind)
    reply = await soon(STUBS[kind](await world.channel()).Version(VersionRequest()))
    versions = {version.name: version.version for version in reply.versions}
    assert versions.keys() == {"cogment_sdk", "grpc"}
    assert versions["grpc"] == grpc.__version__


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ([], set()),
        (["overall_load"], {"overall_load"}),
        (["unheard of", "overall_load"], {"overall_load"}),
        (["nb_sessions"], {"nb_sessions"}),
        (["*"], {"overall_load", "nb_sessions"}),
        (["*", "unheard of"], {"overall_load", "nb_sessions"}),
    ],
)
async def test_the_status(world: World, kind: str, asked: list[str], answered: set[str]):
    """Status has what is asked for; only environments and actors have a number of sessions."""
    register(world.context, kind)
    reply = await soon(STUBS[kind](await world.channel()).Status(StatusRequest(names=asked)))
    if kind in ("hook", "datalog"):
        answered = answered - {"nb_sessions"}
    assert set(reply.statuses) == answered
    assert all(value.isdecimal() for value in reply.statuses.values())


async def test_the_number_of_sessions(world: World):
    """nb_sessions counts the functions that run."""
    hands = [Hand() for _ in range(3)]
    waiting = list(hands)

    async def hand_out(session: Any) -> None:
        await waiting.pop(0)(session)

    lines = [await world.actor(hand_out)] + [await world.actor(trial=f"trial {index}") for index in range(2)]
    stub: Any = agent_pb2_grpc.ServiceActorSPStub(await world.channel())

    async def count() -> str:
        return (await soon(stub.Status(StatusRequest(names=["nb_sessions"])))).statuses["nb_sessions"]

    assert await count() == "0"
    for index, line in enumerate(lines):
        await line.join()
        await hands[index].session()
        assert await count() == str(index + 1)
    for index, line in enumerate(lines):
        hands[index].release()
        await line.code()
        assert await count() == str(2 - index)


# --- health -----------------------------------------------------------------------------------------------------------


async def test_health(make_world: Any):
    """The server and each of its services say that they are serving, over the standard health service."""
    world = make_world("grpc")
    for kind in STUBS:
        register(world.context, kind)
    stub: Any = health_pb2_grpc.HealthStub(await world.channel())
    for service in ("", *NAMES.values()):
        reply = await soon(stub.Check(health_pb2.HealthCheckRequest(service=service)))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await soon(stub.Check(health_pb2.HealthCheckRequest(service="unheard of")))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_health_before_the_end(make_world: Any):
    """Who watches is told that the server stops serving, before it does."""
    world = make_world("grpc")
    register(world.context, "environment")
    stub: Any = health_pb2_grpc.HealthStub(await world.channel())
    watching = stub.Watch(health_pb2.HealthCheckRequest(service=""))
    assert (await soon(watching.read())).status == health_pb2.HealthCheckResponse.SERVING
    closing = asyncio.create_task(world.context.close())
    assert (await soon(watching.read())).status == health_pb2.HealthCheckResponse.NOT_SERVING
    watching.cancel()
    await soon(closing)


# --- metrics ----------------------------------------------------------------------------------------------------------


def free_port() -> int:
    """A port that nobody uses."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        return holder.getsockname()[1]


async def read_metrics(port: int) -> str:
    """What is served at ``port``."""

    def get() -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
            return reply.read().decode()

    return await asyncio.to_thread(get)


async def play(world: World) -> None:
    """One session of an environment and one of an actor."""
    recorder = Recorder(react=lambda session, event: session.produce_observations([("*", StringValue())]))
    environment = await world.environment(recorder)
    await environment.begin()
    await environment.act(1, 2)
    await environment.message("hello")
    await recorder.wait_for(2)
    await environment.send(END)
    await environment.code()
    actor = await world.actor()
    await actor.begin()
    await actor.reward(0.5)
    await actor.reward(1.5)
    await actor.message("hello")
    await actor.finish()


EXPECTED = [
    'actor_started_total{impl_name="acting"} N.0',
    'actor_ended_total{impl_name="acting"} N.0',
    'actor_decide_processing_seconds_count{impl_name="acting",name="ann"} N.0',
    'actor_received_messages_total{impl_name="acting",name="ann"} N.0',
    'environment_trials_started_total{impl_name="envying"} N.0',
    'environment_trials_ended_total{impl_name="envying"} N.0',
    'environment_trial_duration_in_second_count{trial_actor="envying"} N.0',
    'environment_update_count_per_trial_count{impl_name="envying"} N.0',
    'environment_received_messages_total{impl_name="envying"} N.0',
]


async def test_two_contexts_share_a_registry(make_world: Any):
    """Two Contexts of one process serve actors and environments with the same registry, over HTTP."""
    registry = CollectorRegistry()
    port = free_port()
    worlds = [make_world("grpc", prometheus_registry=registry) for _ in range(2)]
    for index, world in enumerate(worlds):
        world.context.register_actor(Recorder(), "acting", ["player"])
        world.prometheus_port = port if index == 0 else None
        await play(world)
    text = await read_metrics(port)
    for line in EXPECTED:
        assert line.replace("N", "2") in text
    assert 'actor_rewards_count_total{impl_name="acting",name="ann"} 4.0' in text
    assert 'actor_reward_summation{impl_name="acting",name="ann"} 4.0' in text


async def test_the_default_registry_is_the_global_one(make_world: Any):
    """Without a registry of their own, Contexts use that of prometheus_client, any number of them."""
    labels = {"impl_name": "acting"}
    before = REGISTRY.get_sample_value("actor_started_total", labels) or 0
    for _ in range(2):
        context = Context("user", SETTINGS)
        world = make_world("inprocess")
        world.context = context
        context.register_actor(Recorder(), "acting", ["player"])
        await play(world)
    assert REGISTRY.get_sample_value("actor_started_total", labels) == before + 2


async def test_the_port_of_the_metrics_is_given_back(make_world: Any):
    """Closing the Context stops the metrics, too."""
    port = free_port()
    world = make_world("grpc", prometheus_registry=CollectorRegistry())
    register(world.context, "environment")
    world.prometheus_port = port
    await world.channel()
    await read_metrics(port)
    await soon(world.context.close())
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("0.0.0.0", port))


async def test_a_port_in_use_for_metrics_leaves_nothing(make_world: Any):
    """If the metrics cannot be served nothing is, and another port can be tried."""
    async with Context("user", SETTINGS, prometheus_registry=CollectorRegistry()) as context:
        context.register_environment(impl)
        grpc_port = free_port()
        with socket.socket() as holder:
            holder.bind(("0.0.0.0", 0))
            holder.listen()
            taken = holder.getsockname()[1]
            with pytest.raises(CogmentError, match=str(taken)):
                await soon(context.serve_all_registered(ServedEndpoint(grpc_port), taken))
        serving = asyncio.create_task(context.serve_all_registered(ServedEndpoint(grpc_port), 0))
        assert await soon(context.wait_until_serving()) == grpc_port
    await soon(serving)


async def test_without_registry_there_are_no_metrics(make_world: Any):
    """prometheus_registry=None turns metrics off, whatever the port."""
    port = free_port()
    world = make_world("grpc")
    register(world.context, "environment")
    world.prometheus_port = port
    await world.channel()
    with pytest.raises(OSError, match="refused"):
        await read_metrics(port)


async def test_a_session_that_is_refused_is_not_counted(make_world: Any, transport: str):
    """Only sessions whose function is called are counted as started, and all of them as ended."""
    registry = CollectorRegistry()
    world = make_world(transport, prometheus_registry=registry)
    line = await world.actor(Recorder())
    await line.begin()
    for init in ({"actor_name": "ann"}, {"actor_class": "judge", "actor_name": "jim"}):
        refused = await world.actor(**init)
        await refused.join()
        assert await refused.code() is grpc.StatusCode.FAILED_PRECONDITION
    await line.finish()
    text = generate_latest(registry).decode()
    assert 'actor_started_total{impl_name="acting"} 1.0' in text
    assert 'actor_ended_total{impl_name="acting"} 1.0' in text


async def test_a_session_that_fails_is_counted_as_ended(make_world: Any, transport: str):
    """A function that raises has ended, too."""

    async def failing(session: Any) -> None:
        raise ValueError("a mistake of the user")

    registry = CollectorRegistry()
    world = make_world(transport, prometheus_registry=registry)
    line = await world.environment(failing)
    await line.join()
    assert await line.code() is grpc.StatusCode.INTERNAL
    text = generate_latest(registry).decode()
    assert 'environment_trials_started_total{impl_name="envying"} 1.0' in text
    assert 'environment_trials_ended_total{impl_name="envying"} 1.0' in text


# --- limits -----------------------------------------------------------------------------------------------------------


async def test_long_reasons_are_cut(world: World):
    """What the Orchestrator is told fits into what can travel."""
    name = "x" * 100_000
    line = await world.environment(Recorder(), impl_name=name)
    await line.join()
    assert await line.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "is not registered here" in await line.details() or "xxx" in await line.details()
    assert len(await line.details()) <= 1024


@pytest.mark.parametrize("kind", ["hook", "datalog"])
async def test_hooks_and_datalogs_need_a_user(world: World, kind: str):
    """Their calls say who started the trial."""
    register(world.context, kind)
    stub = STUBS[kind](await world.channel())
    metadata = (("trial-id", "trial"),)
    if kind == "hook":
        call = stub.OnPreTrial(hooks_pb2.PreTrialParams(), metadata=metadata)
    else:
        call = stub.RunTrialDatalog(metadata=metadata)
    assert await soon(call.code()) is grpc.StatusCode.INVALID_ARGUMENT
    assert "user-id" in await soon(call.details())
