"""What a datalog gets of a trial, over real gRPC."""

from __future__ import annotations

import asyncio
import logging

import pytest

from cogment_core.api import common_pb2, datalog_pb2
from cogment_core.api.common_pb2 import END, ENDED, NORMAL, RUNNING
from cogment_services.orchestrator import datalog as module


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


@pytest.mark.parametrize("how", ["unreachable", "lost"])
async def test_a_datalog_that_is_lost_costs_samples_and_nothing_else(wire, peers, caplog, how) -> None:
    """The trial goes on; the loss is logged once, with what is missing at the end."""
    caplog.set_level(logging.ERROR)
    log = common_pb2.DatalogParams(endpoint=peers.address if how == "lost" else "grpc://127.0.0.1:9")
    trial_id = await wire.start(peers.params(peers.client("alice"), datalog=log))
    alice = await wire.join_as(trial_id, "alice")
    environment = await peers.environment()
    await environment.begin(b"0")
    await alice.expect(NORMAL, "observation")
    if how == "lost":
        (await peers.datalog()).over.set()
    for _ in range(1000):
        if "is lost" in caplog.text:
            break
        await asyncio.sleep(0.005)
    for number in range(1, 4):
        await step(environment, alice, number)
    await environment.end(b"4")
    await alice.finish()
    await alice.expect(END)
    await asyncio.sleep(0)
    assert caplog.text.count("the datalog is lost") == 1
    assert "5 samples were not sent to the datalog" in caplog.text


async def test_a_datalog_that_does_not_read_delays_nobody(wire, peers, monkeypatch, caplog) -> None:
    """Samples are kept for it up to a limit, then dropped and counted; the trial goes on at its pace."""
    monkeypatch.setattr(module, "BUFFER_BYTES", 3_000_000)
    monkeypatch.setattr("cogment_core.outbox.WRITE_TIMEOUT", 60.0)
    trial_id, environment, alice = await start(wire, peers)
    (await peers.datalog()).ears.clear()
    for _ in range(60):
        await alice.act(bytes(200_000))
        await environment.expect(NORMAL, "action_set")
        await environment.observe(bytes(200_000))
        await alice.expect(NORMAL, "observation")
    await wire.terminate(trial_id, hard=True)
    assert "does not take samples as fast as they are made" in caplog.text


async def test_replies_are_counted(wire, peers) -> None:
    """Each reply of a datalog says that it has one more message."""
    trial_id, environment, alice = await start(wire, peers)
    log = await peers.datalog()
    stream = wire.orchestrator._trials.find(trial_id)._world._datalog
    await log.next()
    await log.send(datalog_pb2.RunTrialDatalogOutput())
    await step(environment, alice, 1)
    await log.next()
    await log.send(datalog_pb2.RunTrialDatalogOutput())
    for _ in range(1000):
        if stream.acknowledged == 2:
            return
        await asyncio.sleep(0.005)
    pytest.fail(f"{stream.acknowledged} replies were counted, of 2")
