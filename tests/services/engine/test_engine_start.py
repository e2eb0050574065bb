"""How a trial comes to run: its actors, its environment, the slots that clients join."""

from __future__ import annotations

import pytest
from engine_stage import Stage

from cogment_core.api.common_pb2 import END, HEARTBEAT, LAST, ActorInitialOutput
from cogment_services.orchestrator.effects import TimerKind
from cogment_services.orchestrator.limits import Limits
from cogment_services.orchestrator.participants import (
    NoSlotNamedError,
    NotPendingError,
    SlotTakenError,
    UnknownSlotError,
)


def test_service_actors_come_first_and_the_environment_when_all_are_ready() -> None:
    """Service actors are connected at once, the environment when every actor is ready; its first set makes RUNNING."""
    stage = Stage({}, {"client": True}).start()
    assert stage.hear() == ["PENDING", "connect a0", "a0: init_input"]
    stage.actor_ready(0)
    assert stage.hear() == []
    stage.join(1)
    assert stage.hear() == ["a1: init_input", "connect env", "env: init_input"]
    stage.environment_ready()
    assert (stage.hear(), stage.state) == ([], "PENDING")
    stage.observe()
    assert stage.hear() == ["RUNNING", "a0: observation 0 o0", "a1: observation 0 o1"]


def test_everyone_is_told_who_they_are() -> None:
    """An actor learns its name, class, implementation, config and environment; the environment learns all actors."""
    stage = Stage({"name": "x", "implementation": "smart"}, {"optional": True, "actor_class": "judge", "client": True})
    stage.params.environment.implementation = "hard"
    stage.params.environment.config.content = b"settings"
    stage.params.actors[0].config.content = b""
    stage.start()
    init = stage.sent_to_actors[0][1].init_input
    assert (init.actor_name, init.actor_class, init.impl_name, init.env_name) == ("x", "player", "smart", "env")
    assert init.HasField("config")
    stage.actor_ready(0)
    stage.join(1)
    assert not stage.sent_to_actors[1][1].init_input.HasField("config")
    told = stage.sent_to_environment[0].init_input
    assert (told.name, told.impl_name, told.tick_id, told.config.content) == ("env", "hard", 0, b"settings")
    assert [(actor.name, actor.actor_class) for actor in told.actors_in_trial] == [("x", "player"), ("a1", "judge")]


def test_a_client_joins_by_name_or_by_class() -> None:
    """By class it gets the first slot of that class that is free and for clients, in the order of the parameters."""
    stage = Stage({"client": True}, {}, {"client": True}, {"client": True, "actor_class": "judge"}).start()
    assert stage.trial.join("a2", None) == 2
    assert stage.trial.join(None, "player") == 0
    assert stage.trial.join("", "judge") == 3


@pytest.mark.parametrize(
    ("name", "actor_class", "error"),
    [
        (None, None, NoSlotNamedError),
        ("", "", NoSlotNamedError),
        ("nobody", None, UnknownSlotError),
        ("a1", None, UnknownSlotError),
        (None, "pilot", UnknownSlotError),
        ("a0", None, SlotTakenError),
        (None, "player", SlotTakenError),
    ],
)
def test_a_client_that_cannot_join_is_told_why(
    name: str | None, actor_class: str | None, error: type[Exception]
) -> None:
    """Nothing named, no such client slot, and a slot that is taken are different errors, and change nothing."""
    stage = Stage({"client": True}, {}).start()
    stage.join(0)
    with pytest.raises(error):
        stage.trial.join(name, actor_class)
    stage.actor_ready(1)
    assert stage.hear()[-1] == "env: init_input"


def test_clients_join_only_while_the_trial_is_pending() -> None:
    """Before the trial is PENDING and from RUNNING on, joining is an error that says so."""
    stage = Stage({"client": True}, {"client": True, "optional": True, "initial_connection_timeout": 1.0})
    with pytest.raises(NotPendingError, match="INITIALIZING"):
        stage.trial.join("a0", None)
    stage.start()
    stage.join(0)
    stage.pass_time(1.0)
    stage.environment_ready()
    with pytest.raises(SlotTakenError):
        stage.trial.join("a1", None)
    stage.observe()
    with pytest.raises(NotPendingError, match="RUNNING"):
        stage.trial.join("a1", None)


def test_a_client_whose_stream_is_ready_too_late_gets_the_end() -> None:
    """A client that was given its slot, but whose trial ends before its stream is set up, is told the end."""
    stage = Stage({"client": True}).start()
    stage.trial.join("a0", None)
    stage.trial.terminate(hard=True)
    stage.hear()
    stage.trial.joined(0)
    assert stage.hear() == ["a0: END Externally requested", "release a0"]
    stage.trial.joined(0)
    assert stage.hear() == []


@pytest.mark.parametrize("how", ["timeout", "refused", "END", "LAST", "action"])
def test_a_required_actor_that_is_not_ready_ends_the_trial(how: str) -> None:
    """Whatever keeps a required actor from its init_output, the trial goes from PENDING to ENDED, saying why."""
    stage = Stage({"initial_connection_timeout": 2.0}, {"client": True}).start()
    stage.join(1)
    stage.hear()
    if how == "timeout":
        stage.pass_time(2.0)
    elif how == "refused":
        stage.trial.actor_gone(0, "UNAVAILABLE")
    elif how == "action":
        stage.act(0)
    else:
        stage.actor(0, END if how == "END" else LAST)
    end = "END Failed to initialize all actors"
    connected = [] if how == "refused" else [f"a0: {end}", "release a0"]
    assert stage.hear() == [*connected, f"a1: {end}", "release a1", "ENDED"]
    assert stage.events()[0][-2:] == ["ACTOR_LOST:a0", "Forced termination: Failed to initialize all actors"]
    assert stage.timers == {}


def test_a_connection_timeout_counts_for_its_own_actor_only() -> None:
    """An actor that is ready in time is not affected by its timer, nor by others that may take for ever."""
    stage = Stage({"initial_connection_timeout": 2.0}, {"client": True}).start()
    stage.actor_ready(0)
    assert stage.running(TimerKind.ACTOR_CONNECTION) == []
    stage.pass_time(1000.0)
    assert stage.state == "PENDING"


def test_optional_actors_that_are_not_ready_are_done_without() -> None:
    """They are out for the whole trial, which starts without them. One that is connected is told the end too."""
    stage = Stage(
        {"optional": True, "initial_connection_timeout": 1.0},
        {"optional": True, "initial_connection_timeout": 1.0, "client": True},
        {},
    ).start()
    stage.actor_ready(2)
    stage.hear()
    stage.pass_time(1.0)
    assert stage.hear() == ["connect env", "env: init_input"]
    stage.environment_ready()
    stage.actor_ready(0)
    stage.observe()
    stage.act(2)
    assert stage.hear() == ["RUNNING", "a2: observation 0 o2", "env: actions 0 ['', '', 'act2'] without [0, 1]"]
    stage.trial.terminate(hard=True)
    assert [text for text in stage.hear() if text.startswith("a")] == [
        "a0: END Externally requested",
        "a2: END Externally requested",
    ]


def test_a_trial_runs_without_any_actor() -> None:
    """When all actors are optional and none is there, the environment drives the trial alone."""
    stage = Stage({"optional": True}, {"optional": True, "default": b"wait"}).start()
    stage.trial.actor_gone(0, "refused")
    stage.trial.actor_gone(1, "refused")
    stage.environment_ready()
    stage.hear()
    stage.observe()
    stage.observe()
    assert stage.hear() == [
        "RUNNING",
        "env: actions 0 ['', 'wait'] without [0]",
        "env: actions 1 ['', 'wait'] without [0]",
    ]


@pytest.mark.parametrize("how", ["gone", "END", "reward", "timeout"])
def test_an_environment_that_is_not_ready_ends_the_trial(how: str) -> None:
    """Whatever keeps the environment from its init_output, the trial ends and everyone is told."""
    stage = Stage({}, trial={"limits": Limits(environment_connection=5.0)}).start()
    stage.actor_ready(0)
    stage.hear()
    if how == "gone":
        stage.trial.environment_gone("UNAVAILABLE")
    elif how == "END":
        stage.environment(END)
    elif how == "timeout":
        stage.pass_time(5.0)
    else:
        stage.reward(None, "a0", 1.0)
    end = "END Failed to initialize environment"
    connected = [] if how == "gone" else [f"env: {end}", "release env"]
    assert stage.hear() == [*connected, f"a0: {end}", "release a0", "ENDED"]
    cause, forced = stage.events()[0]
    assert cause.startswith("ENVIRONMENT_LOST" if how in ("gone", "timeout") else "PROTOCOL_ERROR: ")
    assert forced == "Forced termination: Failed to initialize environment"


def test_an_environment_may_take_its_time() -> None:
    """Without another bound, an environment that loads for long is waited for."""
    stage = Stage({}).start()
    stage.actor_ready(0)
    stage.pass_time(100_000.0)
    stage.environment_ready()
    stage.observe()
    assert stage.state == "RUNNING"


def test_heartbeats_are_answered_before_and_after_init() -> None:
    """A participant gets a bare HEARTBEAT for each that it sends, whether it is ready or not, disengaged or not."""
    stage = Stage({"optional": True}, {}).start()
    stage.hear()
    stage.actor(0, HEARTBEAT)
    stage.actor_ready(0)
    stage.actor(0, HEARTBEAT)
    stage.actor(0, init_output=ActorInitialOutput())  # a violation
    stage.actor(0, HEARTBEAT)
    stage.actor_ready(1)
    stage.environment(HEARTBEAT)
    stage.environment_ready()
    stage.environment(HEARTBEAT)
    heartbeats = [text for text in stage.hear() if "HEARTBEAT" in text]
    assert heartbeats == ["a0: HEARTBEAT"] * 3 + ["env: HEARTBEAT"] * 2
    stage.trial.terminate(hard=True)
    stage.hear()
    stage.actor(0, HEARTBEAT)
    stage.environment(HEARTBEAT)
    assert stage.hear() == []


def test_what_comes_before_the_start_and_a_second_start_change_nothing() -> None:
    """Only the first start counts."""
    stage = Stage({})
    stage.act(0)
    stage.observe()
    stage.trial.actor_gone(0, "it never came")
    assert stage.hear() == []
    stage.start()
    stage.hear()
    stage.start()
    assert stage.hear() == []


def test_a_trial_that_is_terminated_before_its_start_ends_without_a_sample() -> None:
    """It never was PENDING: nobody is connected, nothing is logged, and a start that comes later does nothing."""
    stage = Stage({})
    stage.trial.terminate(hard=False)
    stage.trial.terminate(hard=True)
    stage.start()
    assert stage.hear() == ["ENDED"]
    assert (stage.samples, stage.trial.end_reason) == ([], "Externally requested")


def test_a_soft_request_before_the_start_ends_the_first_tick() -> None:
    """It is kept until actions can be sent."""
    stage = Stage({})
    stage.trial.terminate(hard=False)
    stage.begin()
    stage.observe()
    stage.act(0)
    assert stage.hear() == ["RUNNING", "a0: observation 0 o0", "TERMINATING", "env: LAST", "env: actions 0 ['act0']"]
