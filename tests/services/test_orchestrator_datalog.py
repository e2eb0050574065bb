"""What a datalog gets of a trial, over real gRPC."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import grpc.aio
import pytest
from prometheus_client import CollectorRegistry

from cogment_core.api import common_pb2, datalog_pb2
from cogment_core.api.common_pb2 import END, ENDED, NORMAL, RUNNING
from cogment_core.errors import UsageError
from cogment_services.orchestrator import Orchestrator
from cogment_services.orchestrator.limits import Limits


async def start(wire, peers, **datalog):
    """A trial with a datalog, which has one client actor that has joined."""
    log = common_pb2.DatalogParams(endpoint=peers.address, **datalog)
    trial_id = await wire.start(peers.params(peers.client("alice"), datalog=log), user_id="me")
    alice = await wire.join_as(trial_id, "alice")
    environment = await peers.environment()
    await environment.begin(b"0")
    await alice.expect(NORMAL, "observation")
    return trial_id, environment, alice


async def step(environment, alice, number: int) -> None:
    await alice.act(b"%d" % number)
    await environment.expect(NORMAL, "action_set")
    await environment.observe(b"%d" % number)
    await alice.expect(NORMAL, "observation")


async def test_parameters_come_first_and_then_every_sample_in_order(wire, peers) -> None:
    """The stream has the parameters, a sample for each tick, the last of them ENDED, and then its end."""
    trial_id, environment, alice = await start(wire, peers)
    log = await peers.datalog()
    assert dict(log.metadata) == {"trial-id": trial_id, "user-id": "me"}
    params = (await log.next()).trial_params
    assert (params.environment.name, params.actors[0].name) == ("env", "alice")
    await step(environment, alice, 1)
    await environment.say(reward=common_pb2.Reward(tick_id=-1, receiver_name="alice", value=3))
    await step(environment, alice, 2)
    await environment.end(b"3")
    await alice.finish()
    await alice.expect(END)
    samples = []
    while (message := await log.next()) is not None:
        samples.append(message.sample)
    assert [sample.info.tick_id for sample in samples] == [0, 1, 2, 3]
    assert [sample.info.state for sample in samples][:2] == [RUNNING, RUNNING]
    assert samples[-1].info.state == ENDED
    assert [list(sample.observations.observations) for sample in samples] == [[b"0"], [b"1"], [b"2"], [b"3"]]
    assert [sample.actions[0].content for sample in samples] == [b"1", b"2", b"", b""]
    assert [len(sample.rewards) for sample in samples] == [0, 1, 0, 0]


async def test_a_trial_without_a_datalog_has_none(wire, peers) -> None:
    """An empty endpoint is no datalog."""
    await wire.start(peers.params(peers.client("alice"), datalog=common_pb2.DatalogParams()))
    assert peers.datalogs.empty()


async def test_a_trial_that_never_ran_has_one_sample(wire, peers) -> None:
    """A trial that is ended while it waits leaves one sample: ENDED, with the reason."""
    log = common_pb2.DatalogParams(endpoint=peers.address)
    trial_id = await wire.start(peers.params(peers.client("alice"), datalog=log))
    await wire.terminate(trial_id, hard=True)
    line = await peers.datalog()
    assert (await line.next()).HasField("trial_params")
    sample = (await line.next()).sample
    assert (sample.info.tick_id, sample.info.state) == (0, ENDED)
    assert list(sample.info.special_events) == ["Forced termination: Externally requested"]
    assert await line.next() is None


async def test_a_start_that_fails_is_not_logged(wire, peers) -> None:
    """A datalog hears nothing of a trial that does not start: nobody would ever tell it the end."""
    log = common_pb2.DatalogParams(endpoint=peers.address)
    with pytest.raises(Exception, match="no actors"):
        await wire.start(peers.params(datalog=log))
    assert peers.datalogs.empty()


async def test_excluded_fields_are_left_out(wire, peers, caplog) -> None:
    """Fields are excluded by name, from every sample; a name that is none is warned about."""
    trial_id, *_ = await start(wire, peers, exclude_fields=["observations", "actions", "nonsense"])
    await wire.terminate(trial_id, hard=True)
    line = await peers.datalog()
    await line.next()
    sample = (await line.next()).sample
    assert not sample.HasField("observations")
    assert not sample.actions
    assert sample.info.state == ENDED
    assert "no field 'nonsense' to exclude" in caplog.text


async def run_to_its_end(environment, alice, *, steps: int = 3) -> None:
    for number in range(1, steps + 1):
        await step(environment, alice, number)
    await environment.end(b"the end")
    await alice.finish()
    await alice.expect(END)


async def until(condition) -> None:
    """Wait until ``condition`` holds."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    pytest.fail("it does not come true")


async def test_a_datalog_that_wants_no_more_costs_samples_and_nothing_else(wire, peers, caplog) -> None:
    """One that completes its stream is not called again; the trial goes on; what is missing is logged in the end."""
    _, environment, alice = await start(wire, peers)
    (await peers.datalog()).over.set()
    await until(lambda: "is lost" in caplog.text)
    await run_to_its_end(environment, alice)
    await until(lambda: "samples were not sent" in caplog.text)
    assert caplog.text.count("the datalog is lost: it has ended the stream") == 1
    assert "5 samples were not sent to the datalog" in caplog.text
    assert peers.datalogs.empty()


async def test_a_datalog_that_cannot_be_reached_costs_nothing_until_there_is_no_more_room(wire, peers, caplog) -> None:
    """The trial goes on to its end; what the datalog never got is told when the Orchestrator gives up."""
    log = common_pb2.DatalogParams(endpoint="grpc://127.0.0.1:9")
    trial_id = await wire.start(peers.params(peers.client("alice"), datalog=log))
    alice = await wire.join_as(trial_id, "alice")
    environment = await peers.environment()
    await environment.begin(b"0")
    await alice.expect(NORMAL, "observation")
    await run_to_its_end(environment, alice)
    await wire.orchestrator.close(0.0)
    assert caplog.text.count("the connection to the datalog is lost, its samples wait") == 1
    assert "5 samples were not acknowledged by the datalog: they may be lost" in caplog.text


async def fill(environment, alice, size: int = 200_000) -> str:
    """Take steps with large samples until the trial ends. Returns what the actor was told then."""
    for _ in range(400):
        with suppress(
            asyncio.InvalidStateError, grpc.aio.AioRpcError
        ):  # the trial may end, and with it the call, at any moment
            await alice.act(bytes(size))
        if (await environment.next()).state == END:
            break
        await environment.observe(bytes(size))
        if (message := await alice.next()).state == END:
            return message.details
    return (await alice.next()).details


@pytest.mark.parametrize("acknowledges", [True, False])
async def test_a_datalog_that_takes_nothing_ends_the_trial(run_orchestrator, peers, acknowledges) -> None:
    """Policy stop, the default: when there is no room for more samples, all are told DATALOG_LOST."""
    wire = await run_orchestrator(limits=Limits(datalog_bytes=3_000_000))
    trial_id, environment, alice = await start(wire, peers)
    log = await peers.datalog()
    if acknowledges:
        await log.send(datalog_pb2.RunTrialDatalogOutput())
    log.ears.clear()
    details = await fill(environment, alice)
    assert details.startswith("DATALOG_LOST: ")
    (info,) = await wire.info(trial_id)
    assert info.state == ENDED
    log.ears.set()
    samples = []
    while (message := await log.next()) is not None:
        samples.extend([message.sample] if message.HasField("sample") else [])
        if samples and samples[-1].info.state == ENDED:
            break
    assert [sample.info.tick_id for sample in samples] == list(range(len(samples)))
    assert list(samples[-1].info.special_events) == ["DATALOG_LOST", f"Forced termination: {details}"]


async def test_samples_are_dropped_if_that_is_the_policy(run_orchestrator, peers, caplog) -> None:
    """Policy drop: the trial goes on at its pace, the log says so, and a metric counts."""
    registry = CollectorRegistry()
    limits = Limits(datalog_bytes=3_000_000)
    wire = await run_orchestrator(datalog_policy="drop", limits=limits, prometheus_registry=registry)
    trial_id, environment, alice = await start(wire, peers)
    (await peers.datalog()).ears.clear()
    for _ in range(60):
        await alice.act(bytes(200_000))
        await environment.expect(NORMAL, "action_set")
        await environment.observe(bytes(200_000))
        await alice.expect(NORMAL, "observation")
    await wire.terminate(trial_id, hard=True)
    assert "does not take samples as fast as they are made" in caplog.text
    assert registry.get_sample_value("orchestrator_datalog_dropped_samples_total")


def test_a_policy_that_is_none_is_refused() -> None:
    """The error says which there are."""
    with pytest.raises(UsageError, match="datalog_policy is 'wait', it has to be 'stop' or 'drop'"):
        Orchestrator(datalog_policy="wait")


async def test_samples_on_their_way_are_waited_for_at_the_end(run_orchestrator, peers, caplog) -> None:
    """G1: closing takes what is left of the grace for a datalog to acknowledge, and no longer than that takes."""
    wire = await run_orchestrator()
    _, environment, alice = await start(wire, peers)
    log = await peers.datalog()
    log.stays = True
    assert (await log.next()).HasField("trial_params")
    await log.send(datalog_pb2.RunTrialDatalogOutput())
    await run_to_its_end(environment, alice)
    closing = asyncio.create_task(wire.orchestrator.close(60.0))
    while (await log.next()).sample.info.state != ENDED:
        await log.send(datalog_pb2.RunTrialDatalogOutput())
    await asyncio.sleep(1.0)
    assert not closing.done(), "longer than for those who have nothing to confirm"
    await log.send(datalog_pb2.RunTrialDatalogOutput())
    log.over.set()
    await asyncio.wait_for(closing, 30.0)
    assert "samples were not" not in caplog.text


async def test_blank_endpoints_are_none(wire, peers) -> None:
    """White space around endpoints has no meaning: one that is nothing else is no datalog."""
    log = common_pb2.DatalogParams(endpoint=" \t ")
    await wire.start(peers.params(peers.client("alice"), datalog=log))
    assert peers.datalogs.empty()
