"""An Orchestrator in the user's own process and event loop."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from cogment_core.api import common_pb2, orchestrator_pb2, orchestrator_pb2_grpc
from cogment_core.api.common_pb2 import ENDED, RUNNING
from cogment_core.channels import open_channel
from cogment_core.context import Context
from cogment_core.enums import EventType
from cogment_core.errors import EndpointError, UsageError
from cogment_core.parameters import TrialParameters
from cogment_core.specs import ActorClass, ActorClassList
from cogment_services.orchestrator import Orchestrator

SPECS = SimpleNamespace(
    actor_classes=ActorClassList(
        ActorClass("player", None, StringValue, StringValue), ActorClass("judge", None, StringValue, StringValue)
    ),
    trial=SimpleNamespace(config_type=StringValue),
    environment=SimpleNamespace(config_type=None),
)
STEPS = 3


class Played:
    """What happened in the trials of a test."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.actors: list[tuple[str, str]] = []
        self.samples: list[int] = []
        self.began = asyncio.Event()


def context(played: Played, steps: int = STEPS) -> Context:
    """A Context with an environment, two actors, a hook and a datalog."""

    async def environment(session) -> None:
        session.start([("*", StringValue(value="look"))])
        played.began.set()
        async for event in session.all_events():
            if event.type == EventType.ENDING:
                session.end([("*", StringValue(value="end"))])
            elif event.actions:
                if session.get_tick_id() + 1 < steps:
                    session.produce_observations([("*", StringValue(value="look"))])
                else:
                    session.end([("*", StringValue(value="end"))])
        played.ended.append(session.get_trial_id())

    async def actor(session) -> None:
        played.actors.append((session.name, session.impl_name))
        session.start()
        async for event in session.all_events():
            if event.observation and event.type == EventType.ACTIVE:
                session.do_action(StringValue(value="act"))

    async def hook(session) -> None:
        session.trial_parameters = params(endpoint="cogment://discover")

    async def datalog(session) -> None:
        session.start()
        async for sample in session.all_samples():
            played.samples.append(sample.tick_id)

    result = Context("me", SPECS, prometheus_registry=None)
    result.register_environment(environment, "world", properties={"size": "small"})
    result.register_actor(actor, "human", ["player"])
    result.register_actor(actor, "robot")
    result.register_pre_trial_hook(hook)
    result.register_datalog(datalog)
    return result


def params(*, endpoint: str = "", implementation: str = "") -> TrialParameters:
    result = TrialParameters(SPECS)
    result.environment_endpoint = endpoint
    result.datalog_endpoint = "cogment://discover"
    for name in ("alice", "bob"):
        actor = result.new_actor("player", name=name, endpoint=endpoint, implementation=implementation)
        result.actors.append(actor)
    return result


def proto(parameters: TrialParameters) -> common_pb2.TrialParams:
    return common_pb2.TrialParams.FromString(parameters.serialize())


async def play(orchestrator: Orchestrator, parameters: TrialParameters | None = None) -> list[int]:
    """Start a trial and watch it to its end. Returns its states."""
    stub = orchestrator_pb2_grpc.TrialLifecycleSPStub(open_channel(orchestrator.endpoint))
    watch = stub.WatchTrials(orchestrator_pb2.TrialListRequest())
    await watch.initial_metadata()
    request = orchestrator_pb2.TrialStartRequest(params=None if parameters is None else proto(parameters))
    trial_id = (await stub.StartTrial(request, timeout=5)).trial_id
    states: list[int] = []
    while not states or states[-1] != ENDED:
        entry = await asyncio.wait_for(watch.read(), 5)
        if entry.trial_id == trial_id:
            states.append(entry.state)
    watch.cancel()
    return states


async def test_a_trial_within_one_process_needs_no_endpoints_and_no_port() -> None:
    """What is attached is found by what it is."""
    played = Played()
    async with Orchestrator() as orchestrator, context(played) as attached:
        orchestrator.attach(attached)
        assert orchestrator.port == 0
        assert await play(orchestrator, params()) == [1, 2, 3, 4, 5]
    assert len(played.ended) == 1
    assert sorted(played.actors) == [("alice", "human"), ("bob", "human")]
    assert played.samples == list(range(STEPS + 1))


async def test_components_are_found_by_implementation_class_and_properties() -> None:
    """An endpoint leads to the first component that fits in all that it says."""
    played = Played()
    async with Orchestrator() as orchestrator, context(played) as attached:
        orchestrator.attach(attached)
        parameters = params(implementation="robot")
        parameters.environment_endpoint = "cogment://discover/environment?size=small&__implementation=world"
        await play(orchestrator, parameters)
        assert {implementation for _, implementation in played.actors} == {"robot"}
        for wrong in ("cogment://discover?size=large", "cogment://discover/actor?__implementation=nobody"):
            parameters.environment_endpoint = wrong
            with pytest.raises(grpc.aio.AioRpcError, match="finds nothing"):
                await play(orchestrator, parameters)
        with pytest.raises(grpc.aio.AioRpcError, match="attached to this Orchestrator: human for player, robot"):
            await play(orchestrator, params(implementation="nobody"))


async def test_hooks_and_default_parameters_work_within_one_process() -> None:
    """A hook that is attached after the Orchestrator was made is found when a trial starts."""
    played = Played()
    orchestrator = Orchestrator(TrialParameters(SPECS), ["cogment://discover"])
    async with orchestrator, context(played) as attached:
        with pytest.raises(grpc.aio.AioRpcError, match="a pre-trial hook"):
            await play(orchestrator)
        orchestrator.attach(attached)
        assert (await play(orchestrator))[-1] == ENDED
    assert len(played.actors) == 2


async def test_several_contexts_can_be_attached() -> None:
    """The first that has what is needed gets it."""
    one, two = Played(), Played()
    async with Orchestrator() as orchestrator, context(one) as first, context(two) as second:
        orchestrator.attach(first)
        orchestrator.attach(second)
        await play(orchestrator, params())
        assert (len(one.ended), len(two.ended)) == (1, 0)
        with pytest.raises(UsageError):
            orchestrator.attach(first)


async def test_a_context_that_was_closed_is_found_no_more() -> None:
    """Another one can be attached in its place."""
    one, two = Played(), Played()
    async with Orchestrator() as orchestrator, context(two) as second:
        async with context(one) as first:
            orchestrator.attach(first)
            await play(orchestrator, params())
        with pytest.raises(grpc.aio.AioRpcError, match="attached to this Orchestrator: none"):
            await play(orchestrator, params())
        orchestrator.attach(second)
        await play(orchestrator, params())
    assert (len(one.ended), len(two.ended)) == (1, 1)


async def test_a_step_within_one_process_leaves_the_event_loop_alone() -> None:
    """Between what the environment sends and what the actor gets there is no turn of the event loop."""
    from cogment_core.api import agent_pb2_grpc, environment_pb2, environment_pb2_grpc
    from cogment_core.duplex import of_context
    from cogment_core.endpoints import ServiceType
    from cogment_core.implementations import Component
    from cogment_core.inprocess import InProcessServer

    ends = {}
    heard = []
    began = asyncio.Event()

    def scripted(name: str, answer):
        class Servicer(environment_pb2_grpc.EnvironmentSPServicer, agent_pb2_grpc.ServiceActorSPServicer):
            async def RunTrial(self, _, context) -> None:
                ends[name] = of_context(context)
                ends[name].send(answer)
                await ends[name].receive(hear)

        def hear(message) -> None:
            heard.append((name, message.WhichOneof("data")))
            if heard[-1] == ("environment", "init_input"):
                began.set()

        return Servicer()

    server = InProcessServer("scripted")
    environment_pb2_grpc.add_EnvironmentSPServicer_to_server(
        scripted(
            "environment",
            environment_pb2.EnvRunTrialOutput(state=1, init_output=environment_pb2.EnvInitialOutput()),
        ),
        server,
    )
    agent_pb2_grpc.add_ServiceActorSPServicer_to_server(
        scripted("actor", common_pb2.ActorRunTrialOutput(state=1, init_output=common_pb2.ActorInitialOutput())), server
    )
    scripted_context = SimpleNamespace(
        components=(Component(ServiceType.ENVIRONMENT), Component(ServiceType.ACTOR)),
        serve_in_process=lambda: server,
    )
    async with Orchestrator(grace=0) as orchestrator:
        orchestrator.attach(scripted_context)
        stub = orchestrator_pb2_grpc.TrialLifecycleSPStub(open_channel(orchestrator.endpoint))
        actor = common_pb2.ActorParams(name="alice", actor_class="player")
        await stub.StartTrial(orchestrator_pb2.TrialStartRequest(params=common_pb2.TrialParams(actors=[actor])))
        await asyncio.wait_for(began.wait(), 5)
        heard.clear()
        observations = environment_pb2.ObservationSet(tick_id=-1, observations=[b""], actors_map=[0])
        for _ in range(3):
            ends["environment"].send(environment_pb2.EnvRunTrialOutput(state=1, observation_set=observations))
            ends["actor"].send(common_pb2.ActorRunTrialOutput(state=1, action=common_pb2.Action(tick_id=-1)))
        assert heard == [("actor", "observation"), ("environment", "action_set")] * 3
    await server.stop()


async def test_it_can_be_reached_over_grpc_as_well(peers) -> None:
    """With a port, services elsewhere and Controllers elsewhere take part too."""
    played = Played()
    async with Orchestrator(port=0) as orchestrator, context(played) as attached:
        orchestrator.attach(attached)
        assert orchestrator.port == orchestrator.actor_port != 0
        assert orchestrator.listening == f"[port:{orchestrator.port}]"
        async with grpc.aio.insecure_channel(f"127.0.0.1:{orchestrator.port}") as channel:
            parameters = proto(params())
            del parameters.actors[1:]
            parameters.actors.append(peers.service("carol"))
            stub = orchestrator_pb2_grpc.TrialLifecycleSPStub(channel)
            await stub.StartTrial(orchestrator_pb2.TrialStartRequest(params=parameters))
            carol = await peers.actor()
            await carol.begin()
            for _ in range(STEPS):
                await carol.expect(1, "observation")
                await carol.act(StringValue(value="x").SerializeToString())
            await carol.finish()
            await carol.expect(common_pb2.END)


async def test_client_actors_may_have_a_port_of_their_own() -> None:
    """Two different ports are two servers, each with its own service."""
    async with Orchestrator(port=0) as other:
        free = other.port
    async with Orchestrator(port=0, actor_port=free) as orchestrator:
        assert orchestrator.actor_port == free != orchestrator.port
        assert orchestrator.listening == f"[port:{orchestrator.port}] [actor_port:{free}]"
        async with grpc.aio.insecure_channel(f"127.0.0.1:{free}") as channel:
            await orchestrator_pb2_grpc.ClientActorSPStub(channel).Version(common_pb2.VersionRequest())
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await orchestrator_pb2_grpc.TrialLifecycleSPStub(channel).Version(common_pb2.VersionRequest())
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_port_that_is_taken_is_an_error_that_says_so() -> None:
    """Nobody shares a port with another Orchestrator unknowingly; what was started is stopped."""
    async with Orchestrator(port=0) as orchestrator:
        with pytest.raises(EndpointError, match=f"port {orchestrator.port} is in use"):
            async with Orchestrator(port=orchestrator.port):
                pytest.fail("two servers listen on one port")


def test_hooks_that_cannot_be_understood_are_refused_when_the_orchestrator_is_made() -> None:
    """Nobody has to start a trial to learn that."""
    with pytest.raises(EndpointError):
        Orchestrator(hooks=["nonsense"])


async def test_default_parameters_come_from_a_file_too(tmp_path) -> None:
    """A path is a file of parameters."""
    file = tmp_path / "params.yaml"
    file.write_text("trial_params: {actors: [{name: alice, actor_class: player}, {name: bob, actor_class: judge}]}")
    played = Played()
    async with Orchestrator(file) as orchestrator, context(played) as attached:
        orchestrator.attach(attached)
        await play(orchestrator)
    assert sorted(played.actors) == [("alice", "human"), ("bob", "robot")]


# --- Stopping


async def test_leaving_the_block_ends_trials_with_their_step() -> None:
    """A running trial gets to its own end within the grace, samples included."""
    played = Played()
    async with context(played, steps=10**9) as attached:
        async with Orchestrator() as orchestrator:
            orchestrator.attach(attached)
            playing = asyncio.create_task(play(orchestrator, params()))
            await asyncio.wait_for(played.began.wait(), 5)
        assert (await asyncio.wait_for(playing, 5))[-2:] == [4, ENDED]
    assert len(played.ended) == 1
    assert played.samples == list(range(len(played.samples)))
    assert len(asyncio.all_tasks()) == 1


async def test_a_trial_that_does_not_end_within_the_grace_is_ended(run_orchestrator, peers) -> None:
    """Participants that are alive are told, whatever the others do; one that waits to begin is ended at once."""
    wire = await run_orchestrator()
    trial_id = await wire.start(peers.params("alice"))
    alice = await peers.actor()
    await alice.begin()
    environment = await peers.environment()
    await environment.begin(b"")
    pending = await wire.start(peers.params(peers.client("bob")))
    bob = await wire.join_as(pending, "bob")
    watch = await wire.watch(ENDED)
    closing = asyncio.create_task(wire.orchestrator.close(grace=0.3))
    assert await bob.expect(common_pb2.END, "details") == "The Orchestrator stops"
    assert (await watch.next()).trial_id == pending
    await alice.expect(1, "observation")
    assert await alice.expect(common_pb2.END, "details") == "The Orchestrator stops"
    assert await environment.expect(common_pb2.END, "details") == "The Orchestrator stops"
    assert (await watch.next()).trial_id == trial_id
    assert await watch.next() is None
    await asyncio.wait_for(closing, 2)


async def test_no_trial_starts_while_it_stops(run_orchestrator, peers, wait_until_not_serving) -> None:
    """New trials are refused with UNAVAILABLE, and the health says NOT_SERVING, while others end."""
    wire = await run_orchestrator()
    await wire.start(peers.params("alice"))
    alice = await peers.actor()
    await alice.begin()
    environment = await peers.environment()
    await environment.begin(b"")
    await alice.expect(RUNNING - 2, "observation")
    closing = asyncio.create_task(wire.orchestrator.close(grace=30))
    await wait_until_not_serving(wire.channel)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await wire.start(peers.params("alice"))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await wire.orchestrator.close(grace=0)  # no more patience
    await closing
    assert await alice.expect(common_pb2.END, "details") == "The Orchestrator stops"


async def test_a_thousand_trials_at_the_same_time(caplog) -> None:
    """They all run to their end, and nothing is left of them."""
    caplog.set_level(logging.WARNING)
    played = Played()
    async with Orchestrator(gc_frequency=1) as orchestrator, context(played) as attached:
        orchestrator.attach(attached)
        stub = orchestrator_pb2_grpc.TrialLifecycleSPStub(open_channel(orchestrator.endpoint))
        watch = stub.WatchTrials(orchestrator_pb2.TrialListRequest(filter=[ENDED]))
        await watch.initial_metadata()
        parameters = proto(params())
        parameters.ClearField("datalog")
        del parameters.actors[1:]
        request = orchestrator_pb2.TrialStartRequest(params=parameters)
        await asyncio.gather(*[stub.StartTrial(request) for _ in range(1000)])
        for _ in range(1000):
            await asyncio.wait_for(watch.read(), 30)
        watch.cancel()
    assert len(played.ended) == 1000
    assert len(asyncio.all_tasks()) == 1
    assert not caplog.records
