"""Participants that break the protocol hurt their own trial at most, and often nothing."""

from __future__ import annotations

from typing import Any

import pytest
from engine_stage import Stage

from cogment_core.api.common_pb2 import (
    END,
    LAST,
    LAST_ACK,
    NORMAL,
    Action,
    ActorInitialOutput,
    Message,
    Reward,
    RewardSource,
)
from cogment_core.api.environment_pb2 import EnvInitialOutput, ObservationSet
from cogment_services.orchestrator.limits import Limits


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"actors_map": [0]}, "actors_map has 1 entries for 2 actors"),
        ({"actors_map": [0, 1, 1]}, "actors_map has 3 entries for 2 actors"),
        ({"actors_map": []}, "actors_map has 0 entries for 2 actors"),
        ({"actors_map": [0, -1]}, "actors_map points to observation -1 of 2"),
        ({"actors_map": [-3, 0]}, "actors_map points to observation -3 of 2"),
        ({"actors_map": [2, 0]}, "actors_map points to observation 2 of 2"),
        ({"actors_map": [0, 2**31 - 1]}, "actors_map points to observation 2147483647 of 2"),
        ({"observations": []}, "actors_map points to observation 0 of 0"),
        ({"tick": 0}, "observations for tick 0, expected 1 (or -1)"),
        ({"tick": 2}, "observations for tick 2, expected 1 (or -1)"),
        ({"tick": -2}, "observations for tick -2, expected 1 (or -1)"),
        ({"tick": 2**63 - 1}, "observations for tick 9223372036854775807, expected 1 (or -1)"),
        ({"tick": -(2**63)}, "observations for tick -9223372036854775808, expected 1 (or -1)"),
    ],
)
def test_observations_that_cannot_be_right_end_the_trial(fields: dict[str, Any], what: str) -> None:
    """Nobody gets any of them; everyone is told what was wrong, and so does the sample of the tick before."""
    stage = Stage({}, {}).begin()
    stage.observe()
    stage.act(0)
    stage.act(1)
    stage.hear()
    stage.observe(**fields)
    end = f"END PROTOCOL_ERROR: {what}"
    assert stage.hear() == [
        "TERMINATING",
        *(text for who in ("env", "a0", "a1") for text in (f"{who}: {end}", f"release {who}")),
        "ENDED",
    ]
    (sample,) = stage.samples
    assert sample.info.tick_id == 0
    assert list(sample.info.special_events) == [
        f"PROTOCOL_ERROR: {what}",
        f"Forced termination: PROTOCOL_ERROR: {what}",
    ]


def test_wrong_first_and_last_observations_end_the_trial_too() -> None:
    """The rules hold for every set that is used."""
    stage = Stage({}).begin()
    stage.observe(5)
    assert stage.trial.end_reason == "PROTOCOL_ERROR: observations for tick 5, expected 0 (or -1)"
    stage = Stage({}).begin()
    stage.observe()
    stage.trial.terminate(hard=False)
    stage.act(0)
    stage.observe(actors_map=[])
    assert stage.trial.end_reason == "PROTOCOL_ERROR: actors_map has 0 entries for 1 actors"


@pytest.mark.parametrize(
    ("state", "data"),
    [
        (NORMAL, {}),
        (NORMAL, {"details": "hello"}),
        (NORMAL, {"init_output": EnvInitialOutput()}),
        (LAST, {"observation_set": ObservationSet()}),
        (LAST_ACK, {"reward": Reward()}),
        (END, {"details": "bye"}),
        (0, {}),
        (17, {}),
        (17, {"observation_set": ObservationSet(tick_id=77)}),
    ],
)
def test_other_mistakes_of_the_environment_are_passed_over(state: int, data: dict[str, Any]) -> None:
    """The message is logged and has no effect."""
    stage = Stage({}).begin()
    stage.observe()
    stage.hear()
    stage.environment(state, **data)
    stage.act(0)
    stage.observe()
    assert stage.hear() == ["env: actions 0 ['act0']", "a0: observation 1 o0"]


VIOLATIONS: list[tuple[int, dict[str, Any]]] = [
    (NORMAL, {"init_output": ActorInitialOutput()}),
    (LAST, {"action": Action(tick_id=-1)}),
    (END, {"reward": Reward()}),
    (0, {}),
    (17, {}),
]


@pytest.mark.parametrize(("state", "data"), VIOLATIONS)
def test_an_optional_actor_that_breaks_the_protocol_is_disengaged(state: int, data: dict[str, Any]) -> None:
    """What it did in the tick does not count, it gets nothing more but END, and what it says is not read any more."""
    stage = Stage({"optional": True}, {}).begin()
    stage.observe()
    stage.act(0)
    stage.actor(0, state, **data)
    stage.hear()
    stage.act(0)
    stage.message(0, "a1")
    stage.reward(None, "a0", 1.0)
    stage.message(None, "a0")
    stage.act(1)
    stage.observe()
    assert stage.hear() == ["env: actions 0 ['', 'act1'] without [0]", "a1: observation 1 o1"]
    stage.trial.terminate(hard=True)
    assert "a0: END Externally requested" in stage.hear()


@pytest.mark.parametrize(("state", "data"), VIOLATIONS)
def test_a_required_actor_that_breaks_the_protocol_ends_the_trial(state: int, data: dict[str, Any]) -> None:
    """It gets an END like the others; the sample says that the protocol was broken, and by whom."""
    stage = Stage({}).begin()
    stage.observe()
    stage.hear()
    stage.actor(0, state, **data)
    details = "Action processing requirement failure [Required actors [a0] unavailable at tick [0]]"
    assert stage.hear()[-3:] == [f"a0: END {details}", "release a0", "ENDED"]
    protocol_error, lost, forced = stage.events()[0]
    assert protocol_error.startswith("PROTOCOL_ERROR: [a0] sent ")
    assert (lost, forced) == ("ACTOR_LOST:a0", f"Forced termination: {details}")


def test_an_actor_acknowledges_once() -> None:
    """The second LAST_ACK is a violation."""
    stage = Stage({}).begin()
    stage.observe()
    stage.actor(0, LAST_ACK)
    assert stage.state == "RUNNING"
    stage.actor(0, LAST_ACK)
    assert stage.state == "ENDED"


@pytest.mark.parametrize(
    ("state", "data"), [(NORMAL, {}), (NORMAL, {"details": "hi"}), (LAST, {}), (END, {"details": "bye"})]
)
def test_other_mistakes_of_actors_are_passed_over(state: int, data: dict[str, Any]) -> None:
    """They have no effect."""
    stage = Stage({}).begin()
    stage.observe()
    stage.hear()
    stage.actor(0, state, **data)
    stage.act(0)
    assert stage.hear() == ["env: actions 0 ['act0']"]


def test_a_violation_and_then_the_loss_of_the_stream_are_one_loss() -> None:
    """A disengaged actor whose stream closes gets no END, and nothing else changes."""
    stage = Stage({"optional": True}, {}).begin()
    stage.observe()
    stage.actor(0, 17)
    stage.trial.actor_gone(0, "closed")
    stage.trial.actor_gone(0, "closed again")
    stage.hear()
    stage.act(1)
    stage.trial.terminate(hard=True)
    said = stage.hear()
    assert said[0] == "env: actions 0 ['', 'act1'] without [0]"
    assert not any("a0" in text for text in said)


def test_mistakes_are_told_once_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    """An actor that repeats a mistake ten thousand times makes two lines in the log."""
    stage = Stage({}).begin()
    stage.observe()
    stage.act(0)
    for _ in range(10_000):
        stage.act(0)
    stage.trial.terminate(hard=True)
    lines = [record.getMessage() for record in caplog.records if "acted again" in record.getMessage()]
    assert len(lines) == 2
    assert "10000 times" in lines[1]


SMALL = {"limits": Limits(delivered_bytes=1000)}


@pytest.mark.parametrize("sender", [None, 0])
def test_what_goes_to_many_has_a_size(caplog: pytest.LogCaptureFixture, sender: int | None) -> None:
    """Each receiver gets a copy: a message or reward to all is dropped, and logged nowhere, if these are too much."""
    stage = Stage(*[{}] * 10, trial=SMALL).begin()
    stage.observe()
    stage.hear()
    send = stage.environment if sender is None else lambda **data: stage.actor(sender, **data)

    def message(receiver: str, size: int) -> Message:
        sent = Message(tick_id=-1, receiver_name=receiver)
        sent.payload.value = bytes(size)
        return sent

    def reward(receiver: str, size: int) -> Reward:
        source = RewardSource(value=1.0, confidence=1.0)
        source.user_data.value = bytes(size)
        return Reward(tick_id=-1, receiver_name=receiver, sources=[source])

    send(message=message("*", 200))
    send(reward=reward("*", 200))
    assert stage.hear() == []
    assert caplog.text.count("receivers, more than 1000 in all: dropped") == 1
    send(message=message("a1", 200))
    send(message=message("*", 50))
    send(reward=reward("a1", 200))
    assert len(stage.hear()) == 11
    stage.trial.terminate(hard=True)
    (sample,) = stage.samples
    assert (len(sample.messages), len(sample.rewards)) == (2, 1)


def test_an_observation_for_many_has_a_size() -> None:
    """One payload that many actors are to get is copied for each: too much of that is a violation."""
    everyone = {"observations": [bytes(100)], "actors_map": [0] * 10}
    stage = Stage(*[{}] * 10, trial=SMALL).begin()
    stage.observe(**everyone)
    assert stage.state == "RUNNING"
    stage = Stage(*[{}] * 11, trial=SMALL).begin()
    stage.observe(observations=[bytes(100)], actors_map=[0] * 11)
    assert stage.state == "ENDED"
    assert "observations of 1100 bytes for all actors, more than 1000" in stage.trial.end_reason


def test_a_lost_datalog_ends_the_trial() -> None:
    """Everyone is told, and the last sample says so."""
    stage = Stage({}).begin()
    stage.observe()
    stage.trial.datalog_lost("no room")
    assert stage.state == "ENDED"
    assert stage.trial.end_reason == "DATALOG_LOST: no room"
    assert list(stage.samples[-1].info.special_events) == ["DATALOG_LOST", "Forced termination: DATALOG_LOST: no room"]
    stage.trial.datalog_lost("again")
    assert len(stage.samples) == 1
