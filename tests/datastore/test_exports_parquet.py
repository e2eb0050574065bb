"""Parquet files: nested columns, row groups, what has no columns."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from stored_trials import Move, Node, View, episode, recorded, sample_of, specs, trial_params, whole

from cogment_core.api import common_pb2
from cogment_core.errors import RpcError, UsageError
from cogment_datastore import DatastoreFields
from cogment_datastore.exports import ExportError, Selection, write_parquet

pq = pytest.importorskip("pyarrow.parquet")
PLAYERS = Selection(actor_classes=["player"])


def only_players(samples: list[Any]) -> list[Any]:
    """The samples as a server gives them when players are selected."""
    for sample in samples:
        del sample.actor_samples[2:]
    return samples


async def table_of(datastore: Any, path: Path, selection: Selection = PLAYERS, **options: Any) -> Any:
    """What is in the file that is written."""
    count = await write_parquet(datastore, path, selection, **options)
    table = pq.read_table(path)
    assert table.num_rows == count
    return table


async def test_a_row_per_tick_and_actor(server: Any, make_datastore: Any, tmp_path: Path) -> None:
    """Each row has what an actor saw, did and got; observation and action are structs of their messages' fields."""
    server.add_trial("t", trial_params(), only_players(episode(2)))
    rows = (await table_of(make_datastore(specs()), tmp_path / "x.parquet")).to_pylist()
    assert [(row["tick_id"], row["actor"]) for row in rows] == [(0, "alice"), (0, "bob"), (1, "alice"), (1, "bob")]
    assert rows[2]["observation"] == {
        "position": {"x": 1.0, "y": 0.5},
        "pixels": [1.0, 2.0, 3.0],
        "color": "RED",
        "label": "alice",
        "others": [],
        "picture": b"",
        "lives": None,
        "big": 0,
        "counts": [],
        "done": False,
    }
    assert [row["action"] for row in rows] == [{"direction": 0}, {"direction": 0}, None, None]
    assert [row["reward"] for row in rows] == [1.0, None, 1.0, None]
    assert rows[0]["timestamp"].value == 1_700_000_000_000_000_000
    assert rows[0]["trial_state"] == "RUNNING"


async def test_every_kind_of_field(server: Any, make_datastore: Any, tmp_path: Path) -> None:
    """Nested, repeated, optional, map, enum and bytes fields come back as they were."""
    view = View(pixels=[0.5], color=2, others=[{"x": 1}, {"y": 2}], picture=b"\xff", lives=0, big=2**64 - 1)
    view.counts["b"] = 2
    sample = sample_of(0, state=common_pb2.ENDED)
    sample.payloads[0] = view.SerializeToString()
    server.add_trial("t", trial_params(), only_players([sample]))
    table = await table_of(make_datastore(specs()), tmp_path / "x.parquet")
    seen = table.to_pylist()[0]["observation"]
    assert seen["position"] is None
    assert (seen["color"], seen["lives"], seen["picture"], seen["big"]) == ("BLUE", 0, b"\xff", 2**64 - 1)
    assert seen["others"] == [{"x": 1.0, "y": 0.0}, {"x": 0.0, "y": 2.0}]
    assert seen["counts"] == [("b", 2)]
    assert str(table.schema.field("observation").type.field("pixels").type).startswith("list<")


async def test_pandas_reads_it(server: Any, make_datastore: Any, tmp_path: Path) -> None:
    """The file is one that other tools read."""
    pandas = pytest.importorskip("pandas")
    server.add_trial("t", trial_params(), only_players(episode(3)))
    await write_parquet(make_datastore(specs()), tmp_path / "x.parquet", PLAYERS)
    frame = pandas.read_parquet(tmp_path / "x.parquet")
    assert frame.groupby("actor").reward.sum()["alice"] == 3.0


async def test_without_specs(server: Any, make_datastore: Any, tmp_path: Path) -> None:
    """Without specs there are serialized observations and actions, of actors of all classes."""
    server.add_trial("t", trial_params(), episode(2))
    rows = (await table_of(make_datastore(None), tmp_path / "x.parquet", Selection())).to_pylist()
    assert len(rows) == 6
    assert View.FromString(rows[0]["observation_serialized"]).label == "alice"
    assert rows[-1]["action_serialized"] is None


async def test_rewards_and_messages(server: Any, make_datastore: Any, tmp_path: Path) -> None:
    """Rewards and messages are lists of structs."""
    sample = recorded([whole("a"), whole("b"), whole("c"), whole("d")])
    server.add_trial("t", trial_params(), [sample])
    alice, _ = (await table_of(make_datastore(specs()), tmp_path / "x.parquet")).to_pylist()
    first, second = alice["received_rewards"]
    assert (first["sender"], first["receiver"], first["value"]) == ("world", "alice", 1.0)
    assert first["user_data"]["value"] == b"\n\x01a"
    assert second["user_data"] is None
    assert alice["sent_messages"][0]["payload"]["type_url"].endswith("StringValue")


async def test_only_what_is_selected(server: Any, make_datastore: Any, tmp_path: Path) -> None:
    """There are columns for the selected fields only."""
    server.add_trial("t", trial_params(), only_players(episode(2)))
    selection = Selection(actor_classes=["player"], fields=[DatastoreFields.ACTION, DatastoreFields.REWARD])
    table = await table_of(make_datastore(specs()), tmp_path / "x.parquet", selection)
    assert table.column_names[-3:] == ["implementation", "action", "reward"]


async def test_nothing_selected(server: Any, make_datastore: Any, tmp_path: Path) -> None:
    """No rows are a file without rows."""
    table = await table_of(make_datastore(specs()), tmp_path / "x.parquet")
    assert table.num_rows == 0
    assert "trial_id" in table.column_names


async def test_classes_with_different_types(server: Any, make_datastore: Any, tmp_path: Path) -> None:
    """Columns have one type: actors with different messages are refused before anything is written."""
    server.add_trial("t", trial_params(), episode(2))
    with pytest.raises(ExportError, match=r"observations are of several types.*'judge'.*actor_classes"):
        await write_parquet(make_datastore(specs()), tmp_path / "x.parquet")
    assert os.listdir(tmp_path) == []


async def test_a_type_that_contains_itself(server: Any, make_datastore: Any, tmp_path: Path) -> None:
    """A recursive message has no columns, and the error says which it is."""
    server.add_trial("t", trial_params(), only_players(episode(2)))
    with pytest.raises(ExportError, match=r"observation\.children is a data_for_tests\.Node within"):
        await write_parquet(make_datastore(specs(observation_space=Node)), tmp_path / "x.parquet", PLAYERS)


async def test_a_message_without_fields(server: Any, make_datastore: Any, tmp_path: Path) -> None:
    """A message without fields is a struct too: whether there was one can be told."""
    sample = sample_of(0, state=common_pb2.RUNNING)
    sample.payloads[3] = b""
    sample.actor_samples[1].ClearField("action")
    server.add_trial("t", trial_params(), only_players([sample]))
    table = await table_of(make_datastore(specs(action_space=Empty)), tmp_path / "x.parquet")
    assert [row["action"] is None for row in table.to_pylist()] == [False, True]


@pytest.mark.parametrize(("rows", "groups"), [(4, [4, 4, 2]), (100, [10]), (1, [1] * 10)])
async def test_row_groups(server: Any, make_datastore: Any, tmp_path: Path, rows: int, groups: list[int]) -> None:
    """Rows are written in groups of the size that is asked for."""
    server.add_trial("t", trial_params(), only_players(episode(5)))
    path = tmp_path / "x.parquet"
    await write_parquet(make_datastore(specs()), path, PLAYERS, row_group_rows=rows)
    metadata = pq.read_metadata(path)
    assert [metadata.row_group(index).num_rows for index in range(metadata.num_row_groups)] == groups


@pytest.mark.parametrize("rows", [0, -1, 1.5, True])
async def test_row_groups_that_cannot_be(make_datastore: Any, tmp_path: Path, rows: Any) -> None:
    """A row group has a row."""
    with pytest.raises(UsageError, match="row_group_rows"):
        await write_parquet(make_datastore(None), tmp_path / "x.parquet", row_group_rows=rows)


async def test_memory_does_not_grow_with_the_data(server: Any, make_datastore: Any, tmp_path: Path) -> None:
    """Ten times the samples take no more memory, as far as it is Python's."""
    peaks = []
    for count in (200, 2000):
        server.trials.clear()
        server.samples.clear()
        server.add_trial("t", trial_params(), only_players(episode(count)))
        tracemalloc.start()
        await write_parquet(make_datastore(specs()), tmp_path / "x.parquet", PLAYERS, row_group_rows=50)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 2 * peaks[0]


async def test_failure_leaves_the_file_as_it_was(server: Any, make_datastore: Any, tmp_path: Path) -> None:
    """What the server breaks off is no file."""
    server.add_trial("t", trial_params(), only_players(episode(2)))

    def fail(done: int, total: int) -> None:
        server.failure = (grpc.StatusCode.UNAVAILABLE, "gone")

    with pytest.raises(RpcError, match="gone"):
        await write_parquet(make_datastore(specs()), tmp_path / "x.parquet", PLAYERS, progress=fail)
    assert os.listdir(tmp_path) == []


async def test_a_value_that_does_not_fit(server: Any, make_datastore: Any, tmp_path: Path) -> None:
    """A time that is none is an error that says where it is."""
    sample = sample_of(0, state=common_pb2.ENDED)
    sample.timestamp = 2**64 - 1
    server.add_trial("t", trial_params(), only_players([sample]))
    with pytest.raises(ExportError, match="tick 0 of trial 't'"):
        await write_parquet(make_datastore(specs(action_space=Move)), tmp_path / "x.parquet", PLAYERS)
