"""Minari datasets: episodes, spaces, what cannot be represented."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import BoolValue
from stored_trials import Move, Node, Numbers, View, episode, sample_of, specs, trial_params

from cogment_core.api import common_pb2
from cogment_core.api.trial_datastore_pb2 import StoredTrialActorSample, StoredTrialSample
from cogment_core.errors import RpcError, SpecsError, UsageError
from cogment_datastore.exports import ExportError, Selection, write_minari

minari = pytest.importorskip("minari")
np = pytest.importorskip("numpy")
gym = pytest.importorskip("gymnasium")

# Minari warns of every piece of metadata that a dataset does not have.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

PLAYERS = Selection(actor_classes=["player"])
LEFT_OUT = [f"observation.{name}" for name in ("label", "others", "picture", "counts", "lives")]


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Datasets go to a folder of the test."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))


def steps(count: int, *, last: common_pb2.TrialState.ValueType | None = common_pb2.ENDED) -> list[Any]:
    """A trial of ``Numbers`` and ``Move`` with ``count`` steps: alice only; ``last`` None ends with an action."""
    samples = []
    for tick in range(count + (last is not None)):
        numbers = Numbers(position={"x": tick, "y": 1}, pixels=[tick, 2, 3], lives=-tick)
        alice = StoredTrialActorSample(actor=0, observation=0, reward=tick + 1)
        payloads = [numbers.SerializeToString()]
        if tick < count:
            alice.action = 1
            payloads.append(Move(direction=tick).SerializeToString())
        samples.append(StoredTrialSample(tick_id=tick, state=3, actor_samples=[alice], payloads=payloads))
    if last is not None:
        samples[-1].state = last
    return samples


def stopped(count: int) -> list[Any]:
    """The same trial, if it is ended by the Orchestrator: it says in the last step that the end is near."""
    samples = steps(count)
    samples[-2].state = common_pb2.TERMINATING
    return samples


def numbers() -> Any:
    """Specs in which players see `Numbers`."""
    return specs(observation_space=Numbers)


async def test_a_dataset_per_actor(server: Any, make_datastore: Any) -> None:
    """Each actor has a dataset, named after it, with an episode per trial that Minari loads."""
    for name in ("a", "b"):
        samples = episode(4)
        for sample in samples:
            del sample.actor_samples[2:]
        server.add_trial(name, trial_params(), samples)
    ids = await write_minari(make_datastore(specs()), "game/{actor}-v0", PLAYERS, leave_out=LEFT_OUT)
    assert ids == ["game/alice-v0", "game/bob-v0"]
    dataset = minari.load_dataset("game/bob-v0")
    assert dataset.total_episodes == 2
    assert dataset.total_steps == 6
    first = next(iter(dataset.iterate_episodes()))
    assert first.actions.tolist() == [0, -1, -2]
    assert first.observations["position"]["x"].tolist() == [0.0, 1.0, 2.0, 3.0]
    assert first.observations["pixels"].shape == (4, 3)


async def test_an_episode(server: Any, make_datastore: Any) -> None:
    """There is one observation more than actions; the reward with the last observation counts for the last action."""
    server.add_trial("t", trial_params(), steps(3))
    await write_minari(make_datastore(numbers()), "game-v0", PLAYERS_ALICE)
    (found,) = minari.load_dataset("game-v0").iterate_episodes()
    assert found.actions.tolist() == [0, 1, 2]
    assert found.rewards.tolist() == [1.0, 2.0, 7.0]
    assert found.observations["lives"].tolist() == [0, -1, -2, -3]
    assert found.terminations.tolist() == [False, False, True]
    assert found.truncations.tolist() == [False, False, False]


PLAYERS_ALICE = Selection(actor_names=["alice"])


async def test_spaces(server: Any, make_datastore: Any) -> None:
    """Numbers are boxes of their types, booleans and enums are discrete, and elements are in their spaces."""
    server.add_trial("t", trial_params(), steps(2))
    await write_minari(make_datastore(numbers()), "game-v0", PLAYERS_ALICE)
    dataset = minari.load_dataset("game-v0")
    spaces = gym.spaces
    infinite, whole = float("inf"), 2**31
    number = spaces.Box(-infinite, infinite, (), np.float32)
    assert dataset.observation_space == spaces.Dict(
        {
            "position": spaces.Dict({"x": number, "y": number}),
            "pixels": spaces.Box(-infinite, infinite, (3,), np.float32),
            "lives": spaces.Box(-whole, whole - 1, (), np.int32),
        }
    )
    assert dataset.action_space == spaces.Box(-whole, whole - 1, (), np.int32)


async def test_discrete_spaces(server: Any, make_datastore: Any) -> None:
    """Enums and booleans are discrete."""
    samples = [sample_of(0), sample_of(1, state=common_pb2.ENDED)]
    for sample in samples:
        del sample.actor_samples[1:]
        sample.payloads[0] = View(color=2, done=True).SerializeToString()
        sample.payloads[3] = b""
    server.add_trial("t", trial_params(), samples)
    left_out = [*LEFT_OUT, "observation.position", "observation.pixels", "observation.big"]
    settings = specs(action_space=BoolValue)
    await write_minari(make_datastore(settings), "game-v0", PLAYERS_ALICE, leave_out=left_out)
    dataset = minari.load_dataset("game-v0")
    assert dataset.observation_space == gym.spaces.Dict(
        {"color": gym.spaces.Discrete(3), "done": gym.spaces.Discrete(2)}
    )
    assert dataset.action_space == gym.spaces.Discrete(2)
    (found,) = dataset.iterate_episodes()
    assert found.observations["color"].tolist() == [2, 2]


@pytest.mark.parametrize(
    ("samples", "limit", "actions", "terminated"),
    [
        (steps(3), 0, [0, 1, 2], True),
        (steps(3), 4, [0, 1, 2], True),
        (steps(3), 3, [0, 1, 2], False),  # the environment's limit was reached
        (stopped(3), 0, [0, 1, 2], False),  # its max_steps were reached, or its end was requested
        (steps(3, last=common_pb2.TERMINATING), 0, [0, 1, 2], False),  # has not ended yet
        (steps(3, last=None), 0, [0, 1], False),  # the last action's outcome was not observed
    ],
)
async def test_how_an_episode_ends(
    server: Any, make_datastore: Any, samples: Any, limit: int, actions: list[int], terminated: bool
) -> None:
    """An episode terminates if its environment ended it, and not because of a limit; otherwise it is truncated."""
    server.add_trial("t", trial_params(max_steps=3), samples)
    await write_minari(make_datastore(numbers()), "game-v0", PLAYERS_ALICE, max_episode_steps=limit)
    (found,) = minari.load_dataset("game-v0").iterate_episodes()
    assert found.actions.tolist() == actions
    assert (bool(found.terminations[-1]), bool(found.truncations[-1])) == (terminated, not terminated)
    assert len(found.observations["lives"]) == len(actions) + 1


async def test_what_has_no_space(server: Any, make_datastore: Any, tmp_path: Path) -> None:
    """What cannot be represented is an error that names the field, says how to leave it out, and leaves nothing."""
    samples = steps(2)
    for sample in samples:
        sample.payloads[0] = Node(value=1).SerializeToString()
    server.add_trial("t", trial_params(), samples)
    datastore = make_datastore(specs(observation_space=Node))
    text = r"observation\.children is a list of messages.*leave_out=\['observation\.children'\]"
    with pytest.raises(ExportError, match=text):
        await write_minari(datastore, "game-v0", PLAYERS_ALICE)
    assert not list((tmp_path / "datasets").iterdir())
    await write_minari(datastore, "game-v0", PLAYERS_ALICE, leave_out=["observation.children"])
    (found,) = minari.load_dataset("game-v0").iterate_episodes()
    assert found.observations.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("left_out", "text"),
    [
        (LEFT_OUT[1:], "observation.label is a text"),
        ([it for it in LEFT_OUT if "others" not in it], "observation.others is a list of messages"),
        ([it for it in LEFT_OUT if "picture" not in it], "observation.picture is bytes"),
        ([it for it in LEFT_OUT if "counts" not in it], "observation.counts is a map"),
        ([it for it in LEFT_OUT if "lives" not in it], "observation.lives is optional, and not there"),
        ([*LEFT_OUT, "action.direction"], "action is a message without fields"),
    ],
)
async def test_each_field_that_has_no_space(server: Any, make_datastore: Any, left_out: Any, text: str) -> None:
    """Each kind of field that has no space is named."""
    samples = [sample_of(0), sample_of(1)]
    for sample in samples:
        del sample.actor_samples[1:]
    server.add_trial("t", trial_params(), samples)
    with pytest.raises(ExportError, match=text):
        await write_minari(make_datastore(specs()), "game-v0", PLAYERS_ALICE, leave_out=left_out)


async def test_lists_that_change_their_length(server: Any, make_datastore: Any) -> None:
    """A list has one length in a dataset."""
    samples = steps(2)
    samples[1].payloads[0] = Numbers(pixels=[1]).SerializeToString()
    server.add_trial("t", trial_params(), samples)
    with pytest.raises(ExportError, match=r"observation\.pixels is a list of 3 numbers at first, and of 1 later"):
        await write_minari(make_datastore(numbers()), "game-v0", PLAYERS_ALICE)


@pytest.mark.parametrize("part", ["observation", "action"])
async def test_gaps(server: Any, make_datastore: Any, part: str, caplog: pytest.LogCaptureFixture) -> None:
    """A missing observation or action is an error; or the episode is left out, with a warning."""
    samples = steps(3)
    samples[1].actor_samples[0].ClearField(part)
    server.add_trial("gap", trial_params(), samples)
    server.add_trial("whole", trial_params(), steps(2))
    with pytest.raises(ExportError, match=f"no {part} of 'alice' at tick 1 of trial 'gap'.*skip_incomplete"):
        await write_minari(make_datastore(numbers()), "game-v0", PLAYERS_ALICE)
    with caplog.at_level(logging.WARNING, "cogment.sdk"):
        await write_minari(make_datastore(numbers()), "game-v0", PLAYERS_ALICE, skip_incomplete=True)
    assert "1 with gaps, 0 without a step" in caplog.text
    assert minari.load_dataset("game-v0").total_episodes == 1


async def test_trials_without_a_step(server: Any, make_datastore: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A trial that ended before anybody acted is no episode, which is said."""
    server.add_trial("t", trial_params(), steps(0))
    with caplog.at_level(logging.WARNING, "cogment.sdk"):
        assert await write_minari(make_datastore(numbers()), "game-v0", PLAYERS_ALICE) == []
    assert "0 with gaps, 1 without a step" in caplog.text


@pytest.mark.parametrize(
    ("identifier", "text"), [("game-v0", "several actors"), ("no id!", "no id of a Minari dataset"), ("", "several")]
)
async def test_ids_that_cannot_be(server: Any, make_datastore: Any, identifier: str, text: str) -> None:
    """An id is one for Minari, and for one actor."""
    server.add_trial("t", trial_params(), steps(1))
    chosen = PLAYERS if "several" in text else PLAYERS_ALICE
    with pytest.raises(UsageError, match=text):
        await write_minari(make_datastore(numbers()), identifier, chosen)


async def test_names_that_ids_cannot_have(server: Any, make_datastore: Any) -> None:
    """Characters of actor names that ids cannot have become hyphens."""
    params = trial_params()
    params.actors[0].name = "Al/ice #1"
    server.add_trial("t", params, steps(1))
    chosen = Selection(actor_names=["Al/ice #1"])
    assert await write_minari(make_datastore(numbers()), "{actor}-v2", chosen) == ["Al-ice--1-v2"]


async def test_a_dataset_that_exists(server: Any, make_datastore: Any) -> None:
    """A dataset is not overwritten."""
    server.add_trial("t", trial_params(), steps(1))
    await write_minari(make_datastore(numbers()), "game-v0", PLAYERS_ALICE)
    with pytest.raises(ExportError, match="'game-v0' already"):
        await write_minari(make_datastore(numbers()), "game-v0", PLAYERS_ALICE)
    assert minari.load_dataset("game-v0").total_episodes == 1


async def test_failure_leaves_no_dataset(server: Any, make_datastore: Any, tmp_path: Path) -> None:
    """What the server breaks off is no dataset."""
    server.add_trial("a", trial_params(), steps(1))
    server.add_trial("b", trial_params(), steps(1))

    def fail(done: int, total: int) -> None:
        if done == total:
            server.failure = (grpc.StatusCode.UNAVAILABLE, "gone")

    with pytest.raises(RpcError, match="gone"):
        await write_minari(make_datastore(numbers()), "game-v0", PLAYERS_ALICE, progress=fail)
    assert not list((tmp_path / "datasets").iterdir())


async def test_without_specs(server: Any, make_datastore: Any) -> None:
    """Without specs there are no spaces."""
    server.add_trial("t", trial_params(), steps(1))
    with pytest.raises(SpecsError, match="specs"):
        await write_minari(make_datastore(None), "game-v0", PLAYERS_ALICE)


async def test_an_actor_of_two_classes(server: Any, make_datastore: Any) -> None:
    """An actor that is of another class in another trial has no dataset."""
    other = trial_params()
    other.actors[0].actor_class = "judge"
    server.add_trial("a", trial_params(), steps(1))
    server.add_trial("b", other, steps(1))
    with pytest.raises(ExportError, match="another class"):
        await write_minari(make_datastore(numbers()), "game-v0", PLAYERS_ALICE)


async def test_metadata(server: Any, make_datastore: Any) -> None:
    """What else Minari keeps about a dataset is handed on."""
    server.add_trial("t", trial_params(), steps(1))
    await write_minari(make_datastore(numbers()), "game-v0", PLAYERS_ALICE, metadata={"author": "me"})
    assert "me" in minari.load_dataset("game-v0").storage.metadata["author"]
