# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""What a Datastore takes and gives."""

from __future__ import annotations

import io

from google.protobuf.any_pb2 import Any as AnyMessage
from typing_extensions import assert_type

import cogment
from cogment.datastore import (
    Datastore,
    DatastoreActorData,
    DatastoreMessage,
    DatastoreReward,
    DatastoreSample,
    DatastoreTrialInfo,
)
from cogment_core.api.trial_datastore_pb2 import StoredTrialSample
from cogment_datastore.exports import Selection, run, write_jsonl
from cogment_datastore.trial_file import TrialFileReader, TrialFileWriter, make_header


async def get_a_datastore(context: cogment.Context) -> None:
    """With and without await, and in ``async with``, it is a Datastore."""
    assert_type(context.get_datastore(cogment.Endpoint("grpc://localhost:9003")), Datastore)
    assert_type(await context.get_datastore(), Datastore)
    async with context.get_datastore() as datastore:
        assert_type(datastore, Datastore)
    context.get_datastore("grpc://localhost:9003")  # type: ignore[arg-type]


async def find_trials(datastore: Datastore) -> None:
    """Trials come as a list, or one by one."""
    infos = await datastore.get_trials(["a"], {"kind": "x"}, wait_for_trials=1.5, timeout=3)
    assert_type(infos, list[DatastoreTrialInfo])
    async for info in datastore.all_trials(10, 0.5, {"kind": "x"}, ["a"]):
        assert_type(info, DatastoreTrialInfo)
        assert_type(info.trial_state, cogment.TrialState)
        assert_type(info.parameters, cogment.TrialParameters)
        assert_type(info.sample_count, int)
        info.trial_id = "b"  # type: ignore[misc]
    await datastore.delete_trials(info.trial_id for info in infos)
    await datastore.delete_trials(infos)  # type: ignore[arg-type]


async def read_samples(datastore: Datastore, infos: list[DatastoreTrialInfo]) -> None:
    """Samples have the data of actors by name, and these have rewards and messages."""
    fields = [cogment.DatastoreFields.ACTION]
    async for sample in datastore.all_samples(infos, ["alice"], actor_classes=("player",), fields=fields):
        assert_type(sample, DatastoreSample)
        assert_type(sample.actors_data, dict[str, DatastoreActorData])
        data = sample.actors_data["alice"]
        assert_type(data.reward, float)
        assert_type(data.action_serialized, bytes | None)
        for reward in data.all_received_rewards():
            assert_type(reward, DatastoreReward)
            assert_type(reward.user_data, AnyMessage | None)
        for message in data.all_sent_messages():
            assert_type(message, DatastoreMessage)
            assert_type(message.payload, AnyMessage)
    datastore.all_samples(["a"])  # type: ignore[list-item]


async def ids_of(datastore: Datastore) -> list[str]:
    """What `run` is given."""
    return [info.trial_id for info in await datastore.get_trials()]


async def export(datastore: Datastore) -> None:
    """Exports take a selection."""
    assert_type(await write_jsonl(datastore, "x.jsonl", Selection(actor_names=["a"])), int)
    await write_jsonl(datastore, io.StringIO(), progress=lambda done, total: None)
    assert_type(run("grpc://localhost:9003", ids_of), list[str])
    Selection(since="yesterday")  # type: ignore[arg-type]


def files() -> None:
    """Files of trials are read and written with messages of the protocol."""
    stream = io.BytesIO()
    TrialFileWriter(stream, make_header({}, version="3")).write(StoredTrialSample())
    for sample in TrialFileReader(stream):
        assert_type(sample, StoredTrialSample)
