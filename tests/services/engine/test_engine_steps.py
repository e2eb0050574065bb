"""The lock-step: observations, actions, ticks, and actors that are missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from engine_stage import Stage

from cogment_core.api.common_pb2 import Action
from cogment_services.orchestrator.effects import Timer, TimerKind
from cogment_services.orchestrator.observer import Loss, TrialObserver
from cogment_services.orchestrator.tick import LockStep


def test_a_step_is_one_observation_for_each_and_one_action_set() -> None:
    """Observations have the tick and the environment's timestamp; the action set goes when the last actor has acted."""
    stage = Stage({}, {}).begin()
    stage.observe()
    stage.act(1)
    assert stage.hear() == ["RUNNING", "a0: observation 0 o0", "a1: observation 0 o1"]
    stage.clock = 2.5
    stage.act(0)
    assert stage.hear() == ["env: actions 0 ['act0', 'act1']"]
    assert stage.sent_to_environment[-1].action_set.timestamp == stage.timestamp()
    assert stage.sent_to_actors[-1][1].observation.timestamp == 77
    stage.observe(1)
    stage.act(0, tick=1)
    stage.act(1, tick=1)
    assert stage.hear() == ["a0: observation 1 o0", "a1: observation 1 o1", "env: actions 1 ['act0', 'act1']"]
    assert stage.trial.tick_id == 1


def test_observations_may_be_shared() -> None:
    """actors_map says which payload each actor gets; payloads that nobody gets do no harm."""
    stage = Stage({}, {}, {}).begin()
    stage.observe(observations=[b"x", b"y", b"z"], actors_map=[1, 0, 1])
    assert stage.hear()[1:] == ["a0: observation 0 y", "a1: observation 0 x", "a2: observation 0 y"]


def test_an_empty_observation_is_an_observation() -> None:
    """Tick 0, no timestamp and no content still make a message that has an observation."""
    stage = Stage({}).begin()
    stage.observe(timestamp=0, observations=[b""])
    assert stage.sent_to_actors[-1][1].WhichOneof("data") == "observation"
    stage.actor(0, action=Action())
    assert stage.sent_to_environment[-1].WhichOneof("data") == "action_set"
    assert list(stage.sent_to_environment[-1].action_set.actions) == [b""]


def test_the_first_action_of_a_tick_counts() -> None:
    """Later ones, and ones for other ticks, are counted and otherwise ignored; their sender is not punished."""
    stage = Stage({}, {}).begin()
    stage.observe()
    stage.act(0, "first")
    stage.act(0, "second")
    stage.act(1, "early", tick=1)
    stage.act(1, "old", tick=-2)
    stage.hear()
    stage.act(1, "right", tick=0)
    assert stage.hear() == ["env: actions 0 ['first', 'right']"]
    stage.act(0, "third")
    stage.observe()
    stage.act(0, "previous", tick=0)
    stage.act(0)
    stage.act(1)
    assert stage.hear()[-1] == "env: actions 1 ['act0', 'act1']"
    counts = {key: count for (name, key), count in stage.trial.complaints.counts.items() if name == "a0"}
    assert sorted(counts.values()) == [1, 2]


def test_actions_before_the_first_observation_do_not_count() -> None:
    """There is nothing yet that they could be a response to."""
    stage = Stage({}).begin()
    stage.act(0, "too soon", tick=0)
    stage.observe()
    stage.act(0)
    assert stage.hear()[-1] == "env: actions 0 ['act0']"


def test_an_environment_need_not_wait_for_the_actions() -> None:
    """Each of its observation sets is a tick; a tick that it did not wait for has no action set."""
    stage = Stage({}, {}).begin()
    stage.observe()
    stage.act(0)
    stage.observe()
    stage.act(0, "again")
    stage.act(1, "late", tick=0)
    stage.act(1)
    assert [text for text in stage.hear() if text.startswith("env")] == ["env: actions 1 ['again', 'act1']"]


def test_a_missing_optional_actor_is_replaced_or_listed() -> None:
    """Its default action is used and it is not listed; without one its action is empty and it is unavailable."""
    stage = Stage({"optional": True, "default": b"idle"}, {"optional": True}, {}).begin()
    stage.observe()
    stage.act(0)
    stage.trial.actor_gone(0, "closed")
    stage.trial.actor_gone(1, "closed")
    stage.act(2)
    stage.observe()
    stage.act(2)
    said = stage.hear()
    assert [text for text in said if text.startswith("env")] == [
        "env: actions 0 ['idle', '', 'act2'] without [1]",
        "env: actions 1 ['idle', '', 'act2'] without [1]",
    ]
    assert [text for text in said if "observation 1" in text] == ["a2: observation 1 o2"]


def test_the_loss_of_the_last_awaited_actor_completes_the_tick() -> None:
    """Nobody else is waited for, so the action set goes out at once."""
    stage = Stage({"optional": True}, {}).begin()
    stage.observe()
    stage.act(1)
    stage.hear()
    stage.trial.actor_gone(0, "killed")
    assert stage.hear() == ["env: actions 0 ['', 'act1'] without [0]"]


def test_a_default_action_does_not_save_a_required_actor() -> None:
    """It counts for optional actors only."""
    stage = Stage({"default": b"idle"}).begin()
    stage.observe()
    stage.trial.actor_gone(0, "killed")
    assert stage.trial.end_reason.startswith("Action processing requirement failure [Required actors [a0]")


@pytest.mark.parametrize("acted", [False, True])
def test_a_required_actor_that_is_lost_ends_the_trial_at_once(acted: bool) -> None:
    """Whether it had acted or not, and whoever else is still thinking."""
    stage = Stage({}, {}).begin()
    stage.observe()
    if acted:
        stage.act(0)
    stage.hear()
    stage.trial.actor_gone(0, "killed")
    details = "Action processing requirement failure [Required actors [a0] unavailable at tick [0]]"
    assert stage.hear() == [
        "TERMINATING",
        f"env: END {details}",
        "release env",
        f"a1: END {details}",
        "release a1",
        "ENDED",
    ]
    assert stage.events() == [["ACTOR_LOST:a0", f"Forced termination: {details}"]]


def test_a_required_actor_is_missed_while_the_environment_computes_too() -> None:
    """Its loss ends the trial at the current tick, not when the next observations come."""
    stage = Stage({"name": "A"}).begin()
    for _ in range(6):
        stage.observe()
        stage.act(0)
    stage.trial.actor_gone(0, "killed")
    expected = "Action processing requirement failure [Required actors [A] unavailable at tick [5]]"
    assert stage.trial.end_reason == expected


def test_an_actor_that_does_not_act_in_time_is_missing_for_that_tick() -> None:
    """An optional actor stays in the trial, gets the next observation, and acts in the next tick as if nothing was."""
    stage = Stage({"optional": True, "response_timeout": 1.0}, {}).begin()
    stage.observe()
    stage.act(1)
    stage.hear()
    stage.pass_time(0.9)
    assert stage.hear() == []
    stage.pass_time(0.1)
    assert stage.hear() == ["env: actions 0 ['', 'act1'] without [0]"]
    stage.observe()
    stage.act(0, "late, so for this tick")
    stage.act(1)
    assert stage.hear()[-1] == "env: actions 1 ['late, so for this tick', 'act1']"


def test_an_action_that_is_late_but_still_of_use_is_used() -> None:
    """Past its response_timeout, while others are still waited for, an actor may act: its action is in the set."""
    stage = Stage({"optional": True, "response_timeout": 1.0}, {}).begin()
    stage.observe()
    stage.pass_time(1.5)
    stage.act(0)
    stage.hear()
    stage.act(1)
    assert stage.hear() == ["env: actions 0 ['act0', 'act1']"]


def test_each_actor_has_its_own_deadline() -> None:
    """One that has little time is missing when it is over, however long the others may take."""
    stage = Stage({"optional": True, "response_timeout": 1.0}, {"response_timeout": 100.0}).begin()
    stage.observe()
    stage.pass_time(1.0)
    stage.hear()
    stage.act(1)
    assert stage.hear() == ["env: actions 0 ['', 'act1'] without [0]"]


def test_a_required_actor_that_does_not_act_in_time_ends_the_trial() -> None:
    """All who are late by then are named, in the order of the parameters."""
    stage = Stage({}, {"response_timeout": 1.0}, {"response_timeout": 1.0}, {"response_timeout": 1.0}).begin()
    stage.observe()
    stage.act(2)
    stage.pass_time(1.0)
    details = "Action processing requirement failure [Required actors [a1, a3] unavailable at tick [0]]"
    assert stage.trial.end_reason == details
    assert stage.events()[-1] == ["ACTOR_LOST:a1", "ACTOR_LOST:a3", f"Forced termination: {details}"]


def test_the_response_time_begins_anew_with_each_observation() -> None:
    """A timer from an earlier tick does not shorten the time to act on a later one."""
    stage = Stage({"response_timeout": 1.0}).begin()
    for _ in range(20):
        stage.observe()
        stage.pass_time(0.7)
        stage.act(0)
    assert stage.state == "RUNNING"
    stage.observe()
    stage.pass_time(0.99)
    assert stage.state == "RUNNING"
    stage.pass_time(0.01)
    assert stage.state == "ENDED"


def test_a_timer_that_was_stopped_has_no_effect_when_it_fires() -> None:
    """It may have been due already when it was stopped."""
    stage = Stage({"initial_connection_timeout": 1.0}).begin()
    stage.trial.timer_fired(Timer(TimerKind.ACTOR_CONNECTION, 0))
    stage.trial.timer_fired(Timer(TimerKind.INACTIVITY))
    assert (stage.hear(), stage.state) == ([], "PENDING")


def test_an_actor_that_answers_costs_no_timer_in_each_step() -> None:
    """One timer runs for it; it is not stopped and started with each observation."""
    stage = Stage({"response_timeout": 1.0}).begin()
    stage.observe()
    (started,) = stage.timers.items()
    for _ in range(5):
        stage.act(0)
        stage.observe()
    assert list(stage.timers.items()) == [started]
    assert stage.running(TimerKind.RESPONSE) == [0]


class Witness(TrialObserver):
    """Writes down what an observer is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []

    def observed(self, tick: int, observations: Sequence[bytes]) -> None:
        self.told.append(("observed", tick, list(observations)))

    def acted(self, index: int) -> None:
        self.told.append(("acted", index))

    def answered(self, actions: Sequence[bytes], *, last: bool) -> None:
        self.told.append(("answered", list(actions), last))

    def rewarded(self) -> None:
        self.told.append(("rewarded",))

    def messaged(self) -> None:
        self.told.append(("messaged",))

    def lost(self, index: int | None, loss: Loss) -> None:
        self.told.append(("lost", index, loss))


def test_an_observer_is_told_of_each_step() -> None:
    """What actors observe, their first actions in the tick, what the environment gets; then the last observations."""
    witness = Witness()
    stage = Stage({}, max_steps=1, trial={"observer": witness}).begin()
    stage.observe(observations=[b"zero"])
    stage.act(0, "a", tick=7)  # not the current tick
    stage.act(0, "a")
    stage.act(0, "b")  # again
    stage.observe(observations=[b"one"])
    stage.act(0, "c")
    stage.observe(observations=[b"two"])
    assert witness.told == [
        ("observed", 0, [b"zero"]),
        ("acted", 0),
        ("answered", [b"a"], False),
        ("observed", 1, [b"one"]),
        ("acted", 0),
        ("answered", [b"c"], True),
        ("observed", 2, [b"two"]),
    ]


@pytest.mark.parametrize(
    ("happens", "index", "loss"),
    [
        (lambda stage: stage.trial.actor_gone(1, "away"), 1, Loss.DISCONNECTED),
        (lambda stage: stage.trial.environment_gone("away"), None, Loss.DISCONNECTED),
        (lambda stage: stage.actor(1, 99), 1, Loss.VIOLATION),
        (lambda stage: stage.observe(actors_map=[7, 7]), None, Loss.VIOLATION),
        (lambda stage: stage.pass_time(2.0), 0, Loss.UNRESPONSIVE),
    ],
)
def test_an_observer_is_told_who_is_lost_and_why(
    happens: Callable[[Stage], object], index: int | None, loss: Loss
) -> None:
    """Once for each loss, and not for those who leave when the trial is over."""
    witness = Witness()
    stage = Stage({"response_timeout": 1.0}, {}, trial={"observer": witness}).begin()
    stage.observe()
    happens(stage)
    stage.trial.terminate(hard=True)
    stage.trial.actor_gone(0, "left")
    stage.trial.environment_gone("left")
    assert [told for told in witness.told if told[0] == "lost"] == [("lost", index, loss)]


def test_an_observer_is_told_who_is_not_ready() -> None:
    """An actor that does not come within its time is lost, though the trial may do without it."""
    witness = Witness()
    actor = {"optional": True, "initial_connection_timeout": 1.0}
    stage = Stage({}, actor, trial={"observer": witness})
    stage.trial.start()
    stage.pass_time(2.0)
    assert witness.told == [("lost", 1, Loss.NOT_READY)]


def test_the_latest_observations_can_be_asked_for_until_the_end() -> None:
    """There are none before the first, and an ended trial holds nothing."""
    stage = Stage({}).begin()
    assert (stage.trial.latest_observations, stage.trial.tick_id) == (None, 0)
    stage.observe(observations=[b"new"])
    latest = stage.trial.latest_observations
    assert latest is not None
    assert (latest.tick_id, list(latest.observations)) == (-1, [b"new"])
    stage.trial.terminate(hard=True)
    assert stage.trial.latest_observations is None


def test_input_that_comes_within_an_effect_waits_until_the_current_one_is_handled() -> None:
    """An actor that acts within the call that gives it its observation does not see the tick half begun."""
    stage = Stage({}, {}).begin()
    right = stage.send_actor

    def act_at_once(index: int, message: object) -> None:
        right(index, message)  # type: ignore[arg-type]
        stage.act(index, tick=stage.sent_to_actors[-1][1].observation.tick_id)

    stage.trial._course.step._send = act_at_once
    stage.observe()
    assert stage.hear() == [
        "RUNNING",
        "a0: observation 0 o0",
        "a1: observation 0 o1",
        "env: actions 0 ['act0', 'act1']",
    ]


def test_a_failure_of_the_orchestrator_ends_its_trial_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a trial fails from within, its participants are told the end, and the caller gets the error."""

    def fail(step: LockStep, actor: object, action: object) -> bool:
        raise RuntimeError("a fault of ours")

    stage = Stage({}).begin()
    stage.observe()
    stage.hear()
    monkeypatch.setattr(LockStep, "take", fail)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        stage.act(0)
    end = "END Orchestrator failure"
    assert stage.hear() == ["TERMINATING", f"env: {end}", "release env", f"a0: {end}", "release a0", "ENDED"]
    stage.act(0)
    assert stage.hear() == []
