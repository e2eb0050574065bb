"""pandas and NumPy: flat columns in batches, and plain functions that load everything."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from stored_trials import Move, Node, View, episode, recorded, sample_of, specs, trial_params, whole

from cogment_core.api import common_pb2
from cogment_core.endpoints import Endpoint
from cogment_core.errors import UnavailableError, UsageError
from cogment_core.inprocess import InProcessEndpoint, InProcessServer
from cogment_datastore import DatastoreFields
from cogment_datastore.exports import (
    ExportError,
    MissingExtraError,
    Selection,
    batches,
    frames,
    load_arrays,
    load_frame,
    run,
    write_minari,
    write_parquet,
)

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
ALICE = Selection(actor_names=["alice"])


def only_alice(samples: list[Any]) -> list[Any]:
    """The samples as a server gives them when alice is selected."""
    for sample in samples:
        del sample.actor_samples[1:]
    return samples


# --- pandas ---------------------------------------------------------------------------------------------------------


async def test_frames(server: Any, make_datastore: Any) -> None:
    """A frame has a column for each scalar, with types that do not depend on what is in the batch."""
    server.add_trial("t", trial_params(), only_alice(episode(5)))
    found = [frame async for frame in frames(make_datastore(specs()), ALICE, batch_rows=2)]
    assert [len(frame) for frame in found] == [2, 2, 1]
    first, _, last = found
    assert first["observation.position.x"].tolist() == [0.0, 1.0]
    assert first["action.direction"].tolist() == [0, 1]
    assert first["observation.label"].tolist() == ["alice", "alice"]
    assert first["observation.pixels"][0].tolist() == [1.0, 2.0, 3.0]
    assert first["timestamp"][0] == pd.Timestamp(1_700_000_000, unit="s", tz="UTC")
    assert last["action.direction"].isna().tolist() == [True]
    assert {str(dtype) for frame in found for dtype in [frame.dtypes["action.direction"]]} == {"Int32"}
    assert [dict(frame.dtypes.astype(str)) for frame in found] == [dict(first.dtypes.astype(str))] * 3
    assert (first.dtypes["observation.position.x"], first.dtypes["reward"]) == (np.float32, np.float32)


async def test_missing_values(server: Any, make_datastore: Any) -> None:
    """What is missing is NaN, NA or None, never 0."""
    sample = sample_of(0, reward=None)
    sample.payloads[0] = View(lives=3).SerializeToString()
    other = sample_of(1)
    other.actor_samples[0].ClearField("observation")
    server.add_trial("t", trial_params(), only_alice([sample, other]))
    (frame,) = [frame async for frame in frames(make_datastore(specs()), ALICE)]
    assert frame["reward"].isna().tolist() == [True, False]
    assert frame["observation.position.x"].isna().tolist() == [True, True]
    assert frame["observation.lives"].isna().tolist() == [False, True]
    assert frame["observation.big"].isna().tolist() == [False, True]
    assert frame["observation.pixels"][1] is None
    assert frame["observation.done"].isna().tolist() == [False, True]


async def test_columns_that_are_no_numbers(server: Any, make_datastore: Any) -> None:
    """Lists of messages, maps, bytes and messages without end are Python objects."""
    sample = sample_of(0)
    sample.payloads[0] = View(others=[{"x": 1}], counts={"a": 1}, picture=b"\xff").SerializeToString()
    server.add_trial("t", trial_params(), only_alice([sample]))
    (frame,) = [frame async for frame in frames(make_datastore(specs()), ALICE)]
    assert frame["observation.others"][0] == [{"x": 1.0, "y": 0.0}]
    assert frame["observation.counts"][0] == {"a": 1}
    assert frame["observation.picture"][0] == b"\xff"
    sample.payloads[0] = Node(value=1, children=[Node(value=2)]).SerializeToString()
    (frame,) = [frame async for frame in frames(make_datastore(specs(observation_space=Node)), ALICE)]
    assert frame["observation.children"][0] == [{"value": 2, "children": []}]


async def test_frames_without_specs(server: Any, make_datastore: Any) -> None:
    """Without specs there are serialized observations and actions."""
    server.add_trial("t", trial_params(), only_alice(episode(2)))
    (frame,) = [frame async for frame in frames(make_datastore(None), ALICE)]
    assert Move.FromString(frame["action_serialized"][0]) == Move()
    assert frame["action_serialized"][1] is None


async def test_frames_of_selected_fields(server: Any, make_datastore: Any) -> None:
    """There are columns of the selected fields only."""
    server.add_trial("t", trial_params(), only_alice(episode(2)))
    selection = Selection(actor_names=["alice"], fields=[DatastoreFields.REWARD])
    (frame,) = [frame async for frame in frames(make_datastore(specs()), selection)]
    assert list(frame.columns)[6:] == ["implementation", "reward"]


async def test_frames_of_different_types(server: Any, make_datastore: Any) -> None:
    """Actors with different messages are refused."""
    server.add_trial("t", trial_params(), episode(2))
    with pytest.raises(ExportError, match="several types"):
        await anext(frames(make_datastore(specs())))


# --- NumPy ----------------------------------------------------------------------------------------------------------


async def test_batches(server: Any, make_datastore: Any) -> None:
    """Numbers keep their types; lists of one length are a matrix; what is missing is 0, and said to be missing."""
    server.add_trial("t", trial_params(), only_alice(episode(3)))
    (batch,) = [batch async for batch in batches(make_datastore(specs()), ALICE)]
    assert batch["observation.position.x"].dtype == np.float32
    assert batch["observation.pixels"].shape == (3, 3)
    assert batch["action.direction"].tolist() == [0, 1, 0]
    assert batch["action.direction"].dtype == np.int32
    assert batch["has:action.direction"].tolist() == [True, True, False]
    assert batch["timestamp"][1] - batch["timestamp"][0] == np.timedelta64(1, "s")
    assert batch["trial_id"].tolist() == ["t", "t", "t"]
    assert "has:tick_id" not in batch
    assert {len(column) for column in batch.values()} == {3}


async def test_lists_of_different_lengths(server: Any, make_datastore: Any) -> None:
    """Lists of different lengths are arrays in an array; missing ones are empty."""
    samples = [sample_of(0), sample_of(1), sample_of(2)]
    samples[1].payloads[0] = View(pixels=[1]).SerializeToString()
    samples[2].actor_samples[0].ClearField("observation")
    server.add_trial("t", trial_params(), only_alice(samples))
    (batch,) = [batch async for batch in batches(make_datastore(specs()), ALICE)]
    assert [it.tolist() for it in batch["observation.pixels"]] == [[1.0, 2.0, 3.0], [1.0], []]
    assert batch["has:observation.pixels"].tolist() == [True, True, False]


@pytest.mark.parametrize("size", [0, -1, 1.5, "10"])
async def test_batches_that_cannot_be(make_datastore: Any, size: Any) -> None:
    """A batch has a row."""
    with pytest.raises(UsageError, match="batch_rows"):
        await anext(batches(make_datastore(None), batch_rows=size))


async def test_rewards_and_messages_are_left_out(server: Any, make_datastore: Any) -> None:
    """Flat tables have the aggregated reward only."""
    server.add_trial("t", trial_params(), only_alice([recorded([whole("x")] * 4)]))
    (batch,) = [batch async for batch in batches(make_datastore(specs()), ALICE)]
    assert batch["reward"].tolist() == [0.75]
    assert not [name for name in batch if "messages" in name or "rewards" in name]


# --- plain functions ------------------------------------------------------------------------------------------------


async def test_load_where_a_loop_runs(server: Any, network: Any) -> None:
    """The plain functions work in a notebook: called from a thread whose event loop runs, they use another one."""
    server.add_trial("t", trial_params(), only_alice(episode(3)))
    url = network[1].url

    async def as_in_a_notebook() -> tuple[Any, Any]:
        return load_frame(url, specs(), ALICE), load_arrays(Endpoint(url), specs(), ALICE)

    frame, arrays = await asyncio.to_thread(asyncio.run, as_in_a_notebook())
    assert frame["action.direction"].dropna().tolist() == [0, 1]
    assert arrays["action.direction"].tolist() == [0, 1, 0]


async def test_load_nothing(network: Any) -> None:
    """Nothing selected is an empty table."""
    assert (await asyncio.to_thread(load_frame, network[1])).empty
    assert await asyncio.to_thread(load_arrays, network[1]) == {}


async def test_run_gives_what_the_coroutine_gives(server: Any, network: Any) -> None:
    """``run`` returns, or raises, what is awaited in it."""
    server.add_trial("t", trial_params(), episode(1))

    async def trial_ids(datastore: Any) -> list[str]:
        return [info.trial_id for info in await datastore.get_trials()]

    assert await asyncio.to_thread(run, network[1], trial_ids) == ["t"]
    with pytest.raises(UnavailableError):
        await asyncio.to_thread(run, "grpc://127.0.0.1:1", trial_ids)


def test_a_file_is_served_first(tmp_path: Path) -> None:
    """Who gives the file of a datastore instead of its address is told how to get one."""
    path = tmp_path / "trials.db"
    path.write_bytes(b"")
    with pytest.raises(UsageError, match=r"cogment services trial_datastore .*trials\.db"):
        load_frame(str(path))


async def test_run_with_a_datastore_in_process() -> None:
    """A datastore in process is of its event loop: the error says what to do instead of a deadlock."""
    server = InProcessServer()
    with pytest.raises(UsageError, match="await what uses it there"):
        load_frame(InProcessEndpoint(server))
    await server.stop(None)


def test_run_can_be_interrupted() -> None:
    """Ctrl-C ends what runs, in the other thread too, rather than wait for it."""
    command = [sys.executable, str(Path(__file__).with_name("dying_datastore.py"))]
    ended = threading.Event()

    async def read_for_ever(datastore: Any) -> None:
        try:
            async for sample in datastore.all_samples(await datastore.get_trials()):
                if sample.tick_id == 0:
                    signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        finally:
            ended.set()

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            with pytest.raises(KeyboardInterrupt):
                run(f"grpc://127.0.0.1:{int(process.stdout.readline())}", read_for_ever)
        finally:
            process.kill()
    assert ended.is_set()


@pytest.mark.parametrize(
    ("module", "extra", "use"),
    [
        ("pyarrow", "parquet", lambda datastore: write_parquet(datastore, "x.parquet")),
        ("minari", "minari", lambda datastore: write_minari(datastore, "x-v0")),
        ("PIL", "minari", lambda datastore: write_minari(datastore, "x-v0")),
        ("pandas", "pandas", lambda datastore: anext(frames(datastore))),
        ("numpy", "pandas", lambda datastore: anext(batches(datastore))),
    ],
)
async def test_what_an_export_needs(
    server: Any, make_datastore: Any, monkeypatch: pytest.MonkeyPatch, module: str, extra: str, use: Any
) -> None:
    """Without its extra an export says, before it reads anything, what to install."""
    monkeypatch.setitem(sys.modules, module, None)
    text = rf"^{module} is not installed: run pip install 'cogment-datastore\[{extra}\]'$"
    with pytest.raises(MissingExtraError, match=text):
        await use(make_datastore(None))
    assert not server.calls


async def test_large_trials_are_read_in_order(server: Any, make_datastore: Any) -> None:
    """All rows come, trial by trial and tick by tick."""
    for name in ("a", "b"):
        server.add_trial(name, trial_params(), only_alice([*episode(50)[:-1], sample_of(49, state=common_pb2.ENDED)]))
    found = [frame async for frame in frames(make_datastore(specs()), ALICE, batch_rows=7)]
    frame = pd.concat(found, ignore_index=True)
    assert frame["trial_id"].tolist() == ["a"] * 50 + ["b"] * 50
    assert frame["tick_id"].tolist() == [*range(50)] * 2
