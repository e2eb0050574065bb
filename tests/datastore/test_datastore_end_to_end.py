"""A trial of the Orchestrator, kept by our Trial Datastore, read by the client: in process and over gRPC."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import StringValue
from stored_trials import Move, Point, specs

import cogment
from cogment_core.api import common_pb2
from cogment_datastore.exports import Selection, load_frame
from cogment_services.datastore import TrialDatastore
from cogment_services.orchestrator import Orchestrator

LENGTH = 4
PATIENCE = 30


async def world(session: Any) -> None:
    """Lets a point walk for some steps, rewards each, and talks."""
    position = Point()
    session.start([("*", position)])
    async for event in session.all_events():
        if not event.actions:
            continue
        position.x += event.actions[0].action.direction
        session.add_reward(position.x, 0.5, ["alice"], user_data=StringValue(value="walked"))
        session.send_message(StringValue(value="on"), ["alice"])
        if position.x >= LENGTH:
            session.end([("*", position)])
        else:
            session.produce_observations([("*", position)])


async def walker(session: Any) -> None:
    """Walks; ``bob`` praises ``alice``."""
    session.start()
    async for event in session.all_events():
        if event.observation and event.type == cogment.EventType.ACTIVE:
            if session.name == "bob":
                session.add_reward(1, 1, ["alice"])
            session.do_action(Move(direction=1))


async def test_trials_with_large_parameters_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials of which fewer fit into a reply than are asked for are asked for in smaller bundles."""
    monkeypatch.setattr("cogment_services.datastore.listing.MAX_REPLY", 10_000)
    params = common_pb2.TrialParams(trial_config=common_pb2.SerializedMessage(content=bytes(4_000)))
    ids = [f"trial {number}" for number in range(6)]
    async with cogment.Context(user_id="me", cog_settings=None) as context, TrialDatastore(port=0) as store:
        for trial_id in ids:
            await store._archive.put_trial(trial_id, "me", params)
        for endpoint in (store.endpoint, cogment.Endpoint(f"grpc://127.0.0.1:{store.port}")):
            datastore = context.get_datastore(endpoint)
            assert [info.trial_id for info in await datastore.get_trials()] == ids
            assert [info.trial_id for info in await datastore.get_trials(ids, wait_for_trials=PATIENCE)] == ids
            assert [info.trial_id async for info in datastore.all_trials(bundle_size=6)] == ids
        monkeypatch.setattr("cogment_services.datastore.listing.MAX_REPLY", 1)
        assert len(await datastore.get_trials()) == 6


async def run_trial(context: cogment.Context, orchestrator: Orchestrator, trial_id: str) -> None:
    """Start a trial that is logged to the datastore."""
    settings: Any = specs(observation_space=Point)
    actors = [
        cogment.ActorParameters(settings, "player", name=name, endpoint="cogment://discover", implementation="walker")
        for name in ("alice", "bob")
    ]
    params = cogment.TrialParameters(
        settings,
        actors=actors,
        environment_name="meadow",
        environment_endpoint="cogment://discover",
        environment_implementation="world",
        datalog_endpoint="cogment://discover",
        properties={"kind": "walk"},
    )
    controller = context.get_controller(orchestrator.endpoint)
    assert await controller.start_trial(trial_params=params, trial_id_requested=trial_id) == trial_id


@pytest.mark.parametrize("transport", ["in process", "grpc"])
async def test_a_trial_is_kept_and_read(transport: str, tmp_path: Any) -> None:
    """What happened in a trial is read as it was, while it runs and afterwards."""
    settings: Any = specs(observation_space=Point)
    async with (
        TrialDatastore(tmp_path / "trials.db", port=0) as store,
        cogment.Context("me", settings) as context,
        Orchestrator() as orchestrator,
    ):
        context.register_environment(world, "world")
        context.register_actor(walker, "walker", ["player"])
        orchestrator.attach(context)
        orchestrator.attach(store)
        over_grpc = cogment.Endpoint(f"grpc://127.0.0.1:{store.port}")
        datastore = context.get_datastore(store.endpoint if transport == "in process" else over_grpc)
        waiting = asyncio.create_task(datastore.get_trials(["t"], wait_for_trials=PATIENCE))
        await run_trial(context, orchestrator, "t")
        infos = await asyncio.wait_for(waiting, 2 * PATIENCE)
        samples = [sample async for sample in datastore.all_samples(infos)]
        check_samples(samples)
        (info,) = await datastore.get_trials(properties={"kind": "walk"})
        assert (info.trial_state, info.sample_count) == (cogment.TrialState.ENDED, len(samples))
        assert info.parameters.environment_name == "meadow"
        assert [it.tick_id async for it in datastore.all_samples([info])] == [it.tick_id for it in samples]
        frame = await asyncio.to_thread(load_frame, over_grpc, settings, Selection(actor_names=["alice"]))
        assert frame["observation.x"].tolist() == [0, 1, 2, 3, 4]
        assert frame["action.direction"].isna().tolist() == [False] * LENGTH + [True]
        await datastore.delete_trials(["t"])
        assert await datastore.get_trials() == []


def check_samples(samples: list[Any]) -> None:
    """Compare with what the environment and the actors did."""
    assert [sample.tick_id for sample in samples] == [*range(LENGTH + 1)]
    assert [sample.trial_state for sample in samples][-2:] == [cogment.TrialState.RUNNING, cogment.TrialState.ENDED]
    alice = [sample.actors_data["alice"] for sample in samples]
    assert [data.observation.x for data in alice] == [0, 1, 2, 3, 4]
    assert [data.action.direction for data in alice[:-1]] == [1] * LENGTH
    assert alice[-1].action is None
    rewards = [reward for data in alice for reward in data.all_received_rewards()]
    assert {(reward.sender, reward.receiver) for reward in rewards} == {("meadow", "alice"), ("bob", "alice")}
    (first, *_) = [reward for reward in rewards if reward.sender == "meadow"]
    text = StringValue()
    assert first.user_data is not None
    assert first.user_data.Unpack(text)
    assert (text.value, first.confidence) == ("walked", 0.5)
    messages = [message for data in alice for message in data.all_received_messages()]
    assert len(messages) == LENGTH
    assert messages[0].payload.Unpack(text)
    assert (messages[0].sender, text.value) == ("meadow", "on")
    sent = [reward for sample in samples for reward in sample.actors_data["bob"].all_sent_rewards()]
    assert {(reward.sender, reward.receiver, reward.user_data) for reward in sent} == {("bob", "alice", None)}
