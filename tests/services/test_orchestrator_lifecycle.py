"""``TrialLifecycleSP`` over real gRPC: starting, ending, asking and watching."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from cogment_core.api import common_pb2, hooks_pb2, orchestrator_pb2
from cogment_core.api.common_pb2 import (
    END,
    ENDED,
    INITIALIZING,
    NORMAL,
    PENDING,
    RUNNING,
    TERMINATING,
    SerializedMessage,
)
from cogment_services.orchestrator.limits import Limits

CODE = grpc.StatusCode


async def refused(call) -> tuple[grpc.StatusCode, str]:
    """The status that ``call`` fails with."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), caught.value.details()


async def play(peers, *, actors: int = 1):
    """A trial that has begun: its environment and one of its actors."""
    lines = [await peers.actor() for _ in range(actors)]
    for line in lines:
        await line.begin()
    environment = await peers.environment()
    await environment.begin(*[b""] * actors)
    for line in lines:
        await line.expect(NORMAL, "observation")
    return environment, lines[0]


# --- StartTrial


async def test_a_requested_id_is_used_and_taken_once(wire, peers) -> None:
    """The second trial that asks for an id gets none, even after the first has ended."""
    params = peers.params(peers.client("alice"))
    assert await wire.start(params, trial_id_requested="my trial") == "my trial"
    assert await wire.start(params, trial_id_requested="my trial") == ""
    await wire.terminate("my trial", hard=True)
    assert await wire.start(params, trial_id_requested="my trial") == ""
    assert len(await wire.info()) == 1


async def test_ids_are_made_that_nobody_can_guess(wire, peers) -> None:
    """Without a request the id is a random UUID, in lower case."""
    first, second = [await wire.start(peers.params(peers.client("alice"))) for _ in range(2)]
    assert first != second
    assert len(first) == 36
    assert first == first.lower()


@pytest.mark.parametrize("trial_id", ["x" * 257, "tab\t", " space", "space ", "é", "nul\0", "line\n"])
async def test_an_id_that_cannot_travel_is_refused(wire, peers, trial_id) -> None:
    """Ids go into metadata: only printable ASCII does, unchanged."""
    code, details = await refused(wire.start(peers.params("alice"), trial_id_requested=trial_id))
    assert code is CODE.INVALID_ARGUMENT
    assert "trial id" in details


async def test_a_user_id_that_cannot_travel_is_refused(wire, peers) -> None:
    """The user's id goes into metadata too."""
    code, details = await refused(wire.start(peers.params("alice"), user_id="línea"))
    assert (code, "user id" in details) == (CODE.INVALID_ARGUMENT, True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda params: params.ClearField("actors"), "no actors"),
        (lambda params: params.actors.add(name="", actor_class="player"), "name"),
        (lambda params: params.actors.add(name="alice", actor_class="player"), "alice"),
        (lambda params: params.actors.add(name="env", actor_class="player"), "env"),
        (lambda params: params.actors.add(name="bob"), "actor_class"),
        (lambda params: params.actors.add(name="bob", actor_class="x", endpoint="http://x"), "bob"),
        (lambda params: setattr(params.environment, "endpoint", "nonsense"), "environment"),
    ],
)
async def test_parameters_that_cannot_be_run_are_refused(wire, peers, change, said) -> None:
    """The refusal says what is wrong, and leaves nothing behind: the id can be used, and nobody is called."""
    params = peers.params("alice")
    change(params)
    code, details = await refused(wire.start(params, trial_id_requested="id"))
    assert (code, said in details) == (CODE.INVALID_ARGUMENT, True), details
    assert await wire.info() == []
    assert await wire.start(peers.params("alice"), trial_id_requested="id") == "id"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda params: setattr(params.environment, "endpoint", ""), "finds nothing (ENVIRONMENT with anything)"),
        (lambda params: setattr(params.environment, "endpoint", "cogment://client"), "only actors"),
        (lambda params: setattr(params.actors[0], "endpoint", "cogment://discover?a=b"), "a=b"),
        (lambda params: setattr(params.datalog, "endpoint", "cogment://discover"), "the datalog"),
        (lambda params: setattr(params.actors[0], "endpoint", "cogment://discover/service?__id=1"), "Directory"),
        (lambda params: setattr(params.actors[0], "endpoint", "grpc://169.254.169.254:80"), "link-local"),
        (lambda params: setattr(params.actors[0], "endpoint", "grpc://[fe80::1]:80"), "link-local"),
        (lambda params: setattr(params.actors[0], "endpoint", "grpc://[::ffff:169.254.0.1]:80"), "link-local"),
        (lambda params: setattr(params.actors[0], "endpoint", "grpc://unix:/tmp/x"), "host:port"),
    ],
)
async def test_endpoints_that_lead_nowhere_are_refused(wire, peers, change, said) -> None:
    """Without a Directory there is nothing to discover; some addresses are nobody's business."""
    params = peers.params("alice")
    change(params)
    code, details = await refused(wire.start(params))
    assert (code, said in details) == (CODE.FAILED_PRECONDITION, True), details
    assert await wire.info() == []


async def test_a_failed_start_is_seen_to_end_by_those_who_watch(wire) -> None:
    """Who saw the trial begin sees that it has ended."""
    watch = await wire.watch()
    await refused(wire.start(common_pb2.TrialParams(), trial_id_requested="id"))
    assert [((entry := await watch.next()).trial_id, entry.state) for _ in range(2)] == [
        ("id", INITIALIZING),
        ("id", ENDED),
    ]


async def test_params_replace_the_defaults_and_the_hooks(run_orchestrator, peers) -> None:
    """A trial that is started with parameters uses just these."""
    wire = await run_orchestrator(common_pb2.TrialParams(properties={"from": "defaults"}), [peers.address])
    trial_id = await wire.start(peers.params("alice", properties={"mine": "1"}))
    (info,) = await wire.info(trial_id)
    assert dict(info.properties) == {"mine": "1"}


async def test_a_config_goes_into_the_default_parameters(run_orchestrator, peers) -> None:
    """A trial that is started with a config uses the defaults, with this config; they stay as they are."""
    defaults = peers.params("alice", properties={"a": "b"}, datalog=common_pb2.DatalogParams(endpoint=peers.address))
    defaults.trial_config.content = b"default"
    wire = await run_orchestrator(defaults)
    for config, expected in ((b"mine", b"mine"), (None, b"default")):
        request = {} if config is None else {"config": SerializedMessage(content=config)}
        trial_id = await wire.start(**request)
        assert dict((await wire.info(trial_id))[0].properties) == {"a": "b"}
        params = (await (await peers.datalog()).next()).trial_params
        assert params.trial_config.content == expected


async def test_no_default_parameters_are_no_trial(wire) -> None:
    """Without parameters and without defaults there are no actors."""
    assert (await refused(wire.start()))[0] is CODE.INVALID_ARGUMENT


async def test_the_number_of_running_trials_is_limited(run_orchestrator, peers) -> None:
    """One too many is refused with RESOURCE_EXHAUSTED, until one has ended."""
    wire = await run_orchestrator(max_trials=1)
    params = peers.params(peers.client("alice"))
    trial_id = await wire.start(params)
    assert (await refused(wire.start(params)))[0] is CODE.RESOURCE_EXHAUSTED
    await wire.terminate(trial_id, hard=True)
    assert await wire.start(params)


# --- Hooks


async def test_hooks_complete_the_default_parameters_one_after_the_other(run_orchestrator, peers) -> None:
    """Each hook gets what the one before has made; who starts which trial is in the metadata."""
    calls = []

    async def hook(request, context):
        calls.append([(key, value) for key, value in context.invocation_metadata() if key in ("trial-id", "user-id")])
        request.params.properties[str(len(calls))] = "here"
        if len(calls) == 2:
            request.params.CopyFrom(peers.params(peers.client("alice"), properties=request.params.properties))
        return request

    peers.hook = hook
    wire = await run_orchestrator(common_pb2.TrialParams(properties={"0": "default"}), [peers.address] * 2)
    trial_id = await wire.start(user_id="me")
    assert calls == [[("trial-id", trial_id), ("user-id", "me")]] * 2
    assert dict((await wire.info(trial_id))[0].properties) == {"0": "default", "1": "here", "2": "here"}


async def test_a_user_without_an_id_has_an_empty_one(run_orchestrator, peers) -> None:
    """Hooks look for the user's id, whether there is one or not."""
    users = []

    async def hook(request, context):
        users.append(dict(context.invocation_metadata()).get("user-id"))
        return hooks_pb2.PreTrialParams(params=peers.params(peers.client("alice")))

    peers.hook = hook
    wire = await run_orchestrator(hooks=[peers.address])
    assert await wire.start()
    assert users == [""]


async def test_a_hook_that_fails_refuses_the_trial(run_orchestrator, peers) -> None:
    """The caller gets to know what the hook says, the next hook is not called, and nothing is left."""
    calls = []

    async def hook(request, context):
        calls.append(request)
        await context.abort(CODE.UNKNOWN, "not today")

    peers.hook = hook
    wire = await run_orchestrator(hooks=[peers.address] * 2)
    code, details = await refused(wire.start())
    assert (code, "not today" in details, len(calls)) == (CODE.FAILED_PRECONDITION, True, 1)
    assert await wire.info() == []


async def test_a_hook_that_is_not_there_may_come_back(run_orchestrator) -> None:
    """An unreachable hook is UNAVAILABLE: trying again may help."""
    wire = await run_orchestrator(hooks=["grpc://127.0.0.1:9"])
    code, details = await refused(wire.start())
    assert (code, "hook" in details) == (CODE.UNAVAILABLE, True)


async def test_a_trial_can_be_ended_while_its_hooks_run(run_orchestrator, peers) -> None:
    """A hard end reaches a trial that is INITIALIZING: its start fails, and is gone."""
    called = asyncio.Event()

    async def hook(request, context):
        called.set()
        await asyncio.Event().wait()

    peers.hook = hook
    wire = await run_orchestrator(hooks=[peers.address])
    start = asyncio.create_task(wire.start(trial_id_requested="id"))
    await asyncio.wait_for(called.wait(), 5)
    (info,) = await wire.info("id")
    assert (info.state, info.env_name) == (INITIALIZING, "")
    await wire.terminate("id", hard=True)
    assert (await refused(start))[0] is CODE.ABORTED
    assert await wire.info() == []


async def test_a_start_whose_caller_leaves_leaves_nothing(run_orchestrator, peers) -> None:
    """A cancelled StartTrial does not start a trial that nobody knows of."""
    called = asyncio.Event()

    async def hook(request, context):
        called.set()
        await asyncio.Event().wait()

    peers.hook = hook
    wire = await run_orchestrator(hooks=[peers.address])
    watch = await wire.watch()
    call = wire.lifecycle.StartTrial(orchestrator_pb2.TrialStartRequest())
    await asyncio.wait_for(called.wait(), 5)
    call.cancel()
    assert [(await watch.next()).state for _ in range(2)] == [INITIALIZING, ENDED]
    assert await wire.info() == []


# --- TerminateTrial


async def test_ending_no_trial_in_particular_is_refused(wire) -> None:
    """Without an id in the metadata there is nothing to end."""
    assert (await refused(wire.terminate()))[0] is CODE.INVALID_ARGUMENT


async def test_ending_several_trials_passes_over_those_that_are_not_known(wire, peers) -> None:
    """All ids in the metadata count; unknown ones are no error."""
    ids = [await wire.start(peers.params(peers.client("alice"))) for _ in range(2)]
    await wire.terminate(ids[0], "unknown", ids[1], hard=True)
    assert [info.state for info in await wire.info(*ids)] == [ENDED, ENDED]


@pytest.mark.parametrize("trial_id", ["x" * 300, "x" * 4000])
async def test_a_long_id_is_refused_quickly(wire, trial_id) -> None:
    """What cannot be an id is refused as such."""
    assert (await refused(wire.terminate(trial_id)))[0] is CODE.INVALID_ARGUMENT
    assert (await refused(wire.info(trial_id)))[0] is CODE.INVALID_ARGUMENT


# --- GetTrialInfo


async def test_information_on_a_trial(wire, peers) -> None:
    """State, tick, environment, properties and duration always; actors and observations on request."""
    trial_id = await wire.start(peers.params("alice", properties={"a": "b"}))
    (info,) = await wire.info(trial_id, get_actor_list=True, get_latest_observation=True)
    assert (info.state, info.tick_id, info.env_name, dict(info.properties)) == (PENDING, 0, "env", {"a": "b"})
    assert [(actor.name, actor.actor_class) for actor in info.actors_in_trial] == [("alice", "player")]
    assert not info.HasField("latest_observation")
    assert info.trial_duration > 0
    environment, alice = await play(peers)
    await alice.act()
    await environment.expect(NORMAL, "action_set")
    await environment.observe(b"one")
    await alice.expect(NORMAL, "observation")
    (info,) = await wire.info(trial_id)
    assert (info.state, info.tick_id) == (RUNNING, 1)
    assert (len(info.actors_in_trial), info.HasField("latest_observation")) == (0, False)
    (info,) = await wire.info(trial_id, get_latest_observation=True)
    assert list(info.latest_observation.observations) == [b"one"]
    await wire.terminate(trial_id, hard=True)
    (info,) = await wire.info(trial_id, get_actor_list=True, get_latest_observation=True)
    assert (info.state, info.tick_id, info.env_name) == (ENDED, 1, "env")
    assert (len(info.actors_in_trial), info.HasField("latest_observation")) == (1, False)
    assert (await wire.info(trial_id))[0].trial_duration == info.trial_duration


async def test_information_by_id_and_on_all(wire, peers) -> None:
    """One answer for each id that is known, in the order of the request; all trials without an id."""
    one, two = [await wire.start(peers.params(peers.client("alice"))) for _ in range(2)]
    assert [info.trial_id for info in await wire.info(two, "unknown", one, two)] == [two, one, two]
    assert {info.trial_id for info in await wire.info()} == {one, two}
    assert await wire.info("unknown") == []


async def test_ended_trials_are_forgotten_at_every_so_many_starts(run_orchestrator, peers) -> None:
    """With a frequency of 2, the second, fourth... start forgets what has ended before."""
    wire = await run_orchestrator(gc_frequency=2)
    known = []
    for number in range(5):
        trial_id = await wire.start(peers.params(peers.client("alice")), trial_id_requested=str(number))
        await wire.terminate(trial_id, hard=True)
        known.append([info.trial_id for info in await wire.info()])
    assert known == [["0"], ["1"], ["1", "2"], ["3"], ["3", "4"]]


# --- WatchTrials


async def test_a_start_that_fails_late_does_not_forget_another_trial(run_orchestrator, peers) -> None:
    """A trial that was forgotten already is not the one that has its id now."""
    wire = await run_orchestrator(gc_frequency=1)
    trials = wire.orchestrator._trials
    params = peers.params(peers.client("alice"))
    await wire.start(params, trial_id_requested="again")
    first = trials.find("again")
    await wire.terminate("again", hard=True)
    await wire.start(params)  # forgets it
    await wire.start(params, trial_id_requested="again")
    second = trials.find("again")
    trials._forget(first)
    assert second is not None
    assert second is not first
    assert trials.find("again") is second


async def test_watching_with_a_filter_and_full_information(wire, peers) -> None:
    """Who wants full information gets it instead of id and state, for the states that are wanted."""
    full, some = await wire.watch(full_info=True), await wire.watch(RUNNING, ENDED)
    trial_id = await wire.start(peers.params("alice", properties={"a": "b"}))
    await play(peers)
    await wire.terminate(trial_id, hard=True)
    entries = [await full.next() for _ in range(5)]
    assert [entry.info.state for entry in entries] == [INITIALIZING, PENDING, RUNNING, TERMINATING, ENDED]
    assert [(entry.trial_id, entry.state) for entry in entries] == [("", 0)] * 5
    assert [dict(entry.info.properties) for entry in entries] == [{}] + [{"a": "b"}] * 4
    entries = [await some.next() for _ in range(2)]
    assert [(entry.trial_id, entry.state) for entry in entries] == [(trial_id, RUNNING), (trial_id, ENDED)]
    assert not entries[0].HasField("info")


async def test_watching_begins_with_what_is_there(wire, peers) -> None:
    """A new watcher is told of every trial first, ended ones too."""
    one = await wire.start(peers.params(peers.client("alice")))
    two = await wire.start(peers.params(peers.client("alice")))
    await wire.terminate(one, hard=True)
    watch = await wire.watch()
    assert {((entry := await watch.next()).trial_id, entry.state) for _ in range(2)} == {(one, ENDED), (two, PENDING)}
    assert watch.is_quiet


async def test_watching_for_the_unknown(wire, peers) -> None:
    """UNKNOWN is a state that no trial has; a number that is none is refused."""
    unknown = await wire.watch(0)
    await wire.start(peers.params(peers.client("alice")))
    assert unknown.is_quiet
    call = wire.lifecycle.WatchTrials(orchestrator_pb2.TrialListRequest(filter=[42]))
    assert (await refused(call.read()))[0] is CODE.INVALID_ARGUMENT


async def test_a_watcher_that_leaves_is_noticed_at_once(wire) -> None:
    """Nobody waits for the next change to see that it is gone."""
    watch = await wire.watch()
    watchers = wire.orchestrator._trials.watchers
    assert len(watchers) == 1
    watch.cancel()
    for _ in range(1000):
        if not len(watchers):
            return
        await asyncio.sleep(0.005)
    pytest.fail("the watcher is still there")


async def test_a_watcher_that_does_not_read_delays_nobody(wire, peers) -> None:
    """Trials change their states while the stream of a watcher is full."""
    call = wire.lifecycle.WatchTrials(orchestrator_pb2.TrialListRequest(full_info=True))
    await asyncio.wait_for(call.initial_metadata(), 5)
    params = peers.params(peers.client("alice"), properties={"large": "x" * 100_000})
    for _ in range(100):
        trial_id = await wire.start(params)
        await wire.terminate(trial_id, hard=True)
    call.cancel()


# --- Version and Status


async def test_version_and_status(wire) -> None:
    """Both services say who they are and how they are."""
    for stub in (wire.lifecycle, wire.client_actors):
        versions = (await stub.Version(common_pb2.VersionRequest())).versions
        assert "cogment" in {version.name for version in versions}
        for names, expected in (
            (["foo", "*", "overall_load"], {"overall_load": "0"}),
            (["overall_load"], {"overall_load": "0"}),
            (["foo"], {}),
            ([], {}),
        ):
            reply = await stub.Status(common_pb2.StatusRequest(names=names))
            assert dict(reply.statuses) == expected


async def test_the_health_of_the_server_can_be_asked(wire) -> None:
    """The standard health service knows the server and both services."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    stub = health_pb2_grpc.HealthStub(wire.channel)
    for service in ("", "cogmentAPI.TrialLifecycleSP", "cogmentAPI.ClientActorSP"):
        reply = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert reply.status == health_pb2.HealthCheckResponse.SERVING


# --- ClientActorSP


async def join(wire, *trial_ids: str, **slot: str):
    line = wire.join(*trial_ids)
    await line.say(init_output=common_pb2.ActorInitialOutput(**slot))
    return line


@pytest.mark.parametrize("trial_ids", [(), ("a", "b"), ("x" * 4000,)])
async def test_joining_needs_exactly_one_trial(wire, trial_ids) -> None:
    """None, more than one, and what cannot be an id are refused."""
    assert await wire.join(*trial_ids).status() is CODE.INVALID_ARGUMENT


async def test_joining_a_trial_that_is_not_there(wire) -> None:
    """An unknown trial is NOT_FOUND, before the client has said anything."""
    assert await wire.join("nothing").status() is CODE.NOT_FOUND


@pytest.mark.parametrize(
    ("slot", "code"),
    [
        ({"actor_name": "nobody"}, CODE.NOT_FOUND),
        ({"actor_class": "nothing"}, CODE.NOT_FOUND),
        ({"actor_name": "service"}, CODE.NOT_FOUND),
        ({"actor_name": ""}, CODE.INVALID_ARGUMENT),
        ({}, CODE.INVALID_ARGUMENT),
        ({"actor_name": "taken"}, CODE.ALREADY_EXISTS),
        ({"actor_class": "player"}, CODE.ALREADY_EXISTS),
    ],
)
async def test_joining_as_what_cannot_be_had(wire, peers, slot, code) -> None:
    """The status says why, and who holds the slot is not disturbed."""
    trial_id = await wire.start(peers.params("service", peers.client("taken")))
    holder = await wire.join_as(trial_id, "taken")
    assert await (await join(wire, trial_id, **slot)).status() is code
    await holder.say(common_pb2.HEARTBEAT)
    await holder.expect(common_pb2.HEARTBEAT)


async def test_joining_by_class_takes_the_first_free_slot(wire, peers) -> None:
    """Slots are given in the order of the parameters; service actors are none."""
    trial_id = await wire.start(
        peers.params("service", peers.client("one"), peers.client("two"), peers.client("three"))
    )
    await wire.join_as(trial_id, "two")
    names = []
    for _ in range(2):
        line = await join(wire, trial_id, actor_class="player")
        names.append((await line.expect(NORMAL, "init_input")).actor_name)
    assert names == ["one", "three"]


async def test_joining_a_trial_that_runs_or_has_ended(wire, peers) -> None:
    """Clients join while the trial waits for them, not later."""
    trial_id = await wire.start(peers.params("alice"))
    await play(peers)
    line = await join(wire, trial_id, actor_name="alice")
    assert (await line.status(), "RUNNING" in await line.details()) == (CODE.FAILED_PRECONDITION, True)
    await wire.terminate(trial_id, hard=True)
    line = await join(wire, trial_id, actor_name="alice")
    assert (await line.status(), "ENDED" in await line.details()) == (CODE.FAILED_PRECONDITION, True)


async def test_joining_with_something_else_first(wire, peers) -> None:
    """The first message says who the client wants to be; END instead is a client that thought better of it."""
    trial_id = await wire.start(peers.params(peers.client("alice")))
    for state in (NORMAL, common_pb2.LAST, common_pb2.LAST_ACK, 17):
        line = wire.join(trial_id)
        await line.say(state)
        assert await line.status() is CODE.INVALID_ARGUMENT
    line = wire.join(trial_id)
    await line.say(action=common_pb2.Action())
    assert await line.status() is CODE.INVALID_ARGUMENT
    line = wire.join(trial_id)
    await line.say(END)
    assert await line.status() is CODE.OK
    line = wire.join(trial_id)
    await line.call.done_writing()
    assert await line.status() is CODE.OK
    await wire.join_as(trial_id, "alice")


async def test_a_client_that_says_nothing_is_sent_away(run_orchestrator, peers, monkeypatch) -> None:
    """Nobody stands at the door for ever."""
    from cogment_services.orchestrator import client_actor

    monkeypatch.setattr(client_actor, "JOIN_TIMEOUT", 0.1)
    wire = await run_orchestrator()
    trial_id = await wire.start(peers.params(peers.client("alice")))
    assert await wire.join(trial_id).status() is CODE.DEADLINE_EXCEEDED


@pytest.mark.parametrize("how", ["half-close", "cancel"])
async def test_a_client_that_leaves_is_gone(wire, peers, how) -> None:
    """Its call is completed, and a trial that needs it ends."""
    trial_id = await wire.start(peers.params(peers.client("alice"), "bob"))
    alice = await wire.join_as(trial_id, "alice")
    bob = await peers.actor()
    await bob.begin()
    environment = await peers.environment()
    await environment.begin(b"", b"")
    await alice.expect(NORMAL, "observation")
    if how == "cancel":
        alice.call.cancel()
    else:
        await alice.call.done_writing()
        assert await alice.status() is CODE.OK
    text = "Action processing requirement failure [Required actors [alice] unavailable at tick [0]]"
    assert await environment.expect(END, "details") == text


async def test_a_client_that_breaks_the_rules_takes_part_no_more(wire, peers) -> None:
    """It sees nothing more of the trial but its end."""
    trial_id = await wire.start(peers.params(peers.client("alice", optional=True), "bob"))
    alice = await wire.join_as(trial_id, "alice")
    bob = await peers.actor()
    await bob.begin()
    environment = await peers.environment()
    await environment.begin(b"", b"")
    await alice.expect(NORMAL, "observation")
    await alice.say(init_output=common_pb2.ActorInitialOutput(actor_name="alice"))
    await bob.expect(NORMAL, "observation")
    await bob.act()
    actions = await environment.expect(NORMAL, "action_set")
    assert list(actions.unavailable_actors) == [0]
    await wire.terminate(trial_id, hard=True)
    assert await alice.expect(END, "details") == "Externally requested"
    assert await alice.status() is CODE.OK


async def test_parameters_are_limited(run_orchestrator, peers) -> None:
    """The limits of trials are those that the Orchestrator is made with."""
    wire = await run_orchestrator(limits=Limits(actors=1))
    assert (await refused(wire.start(peers.params("alice", "bob"))))[0] is CODE.INVALID_ARGUMENT
