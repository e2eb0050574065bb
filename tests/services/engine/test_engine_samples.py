"""The samples of a trial."""

from __future__ import annotations

import pytest
from engine_stage import Stage

from cogment_core.api.common_pb2 import ENDED, LAST, RUNNING, TERMINATING
from cogment_services.orchestrator.limits import Limits


def run_steps(stage: Stage, steps: int) -> None:
    """Let everyone do their part in so many steps."""
    for _ in range(steps):
        stage.observe()
        for index in range(len(stage.params.actors)):
            stage.act(index)


def test_a_sample_has_all_that_happened_in_its_tick() -> None:
    """Observations and actions as they came, who was missing, when the tick began, and the state as it ended."""
    stage = Stage({}, {"optional": True, "default": b"d"}, {"optional": True}).begin()
    stage.clock = 3.0
    arrived = stage.timestamp()
    stage.observe(timestamp=4)
    stage.act(0, "x", tick=0)
    stage.trial.actor_gone(1, "left")
    stage.trial.actor_gone(2, "left")
    stage.clock = 5.0
    stage.observe()
    (sample,) = stage.samples
    assert (sample.info.tick_id, sample.info.timestamp, sample.info.state) == (0, arrived, RUNNING)
    assert not sample.info.out_of_sync
    assert (sample.observations.tick_id, sample.observations.timestamp) == (-1, 4)
    assert list(sample.observations.observations) == [b"o0", b"o1", b"o2"]
    assert [(action.tick_id, action.timestamp, action.content) for action in sample.actions] == [
        (0, 5, b"x"),
        (-2, 0, b""),
        (-2, 0, b""),
    ]
    assert (list(sample.default_actors), list(sample.unavailable_actors)) == ([1], [2])


def test_the_states_of_samples_tell_how_the_trial_ended() -> None:
    """RUNNING, TERMINATING for the one whose actions went with LAST, ENDED for the last, which has no action set."""
    stage = Stage({"optional": True}, max_steps=2).begin()
    run_steps(stage, 3)
    stage.observe()
    stage.acknowledge()
    assert [sample.info.state for sample in stage.samples] == [RUNNING, RUNNING, TERMINATING, ENDED]
    assert [sample.info.tick_id for sample in stage.samples] == [0, 1, 2, 3]
    last = stage.samples[-1]
    assert [action.tick_id for action in last.actions] == [-2]
    assert (list(last.default_actors), list(last.unavailable_actors)) == ([], [])


def test_a_trial_that_the_environment_ends_has_no_terminating_sample() -> None:
    """The sample before the last was closed while the trial was RUNNING."""
    stage = Stage({}).begin()
    run_steps(stage, 2)
    stage.environment(LAST)
    stage.observe()
    stage.acknowledge()
    assert [sample.info.state for sample in stage.samples] == [RUNNING, RUNNING, ENDED]


@pytest.mark.parametrize(("buffered", "sent"), [(2, 4), (3, 3), (5, 1), (100, 0)])
def test_samples_are_kept_for_late_rewards_and_then_sent(buffered: int, sent: int) -> None:
    """Sample s is sent when the observations of tick s + nb_buffered_ticks - 1 have been given out."""
    stage = Stage({}, nb_buffered_ticks=buffered).begin()
    run_steps(stage, 5)
    assert [sample.info.tick_id for sample in stage.samples] == list(range(sent))
    stage.trial.terminate(hard=True)
    assert [sample.info.tick_id for sample in stage.samples] == list(range(5))


def test_a_trial_that_never_ran_has_one_sample() -> None:
    """Tick 0, nothing observed, nobody acted, and why it ended."""
    stage = Stage({}, {}).start()
    stage.trial.terminate(hard=True)
    (sample,) = stage.samples
    assert (sample.info.tick_id, sample.info.state, sample.HasField("observations")) == (0, ENDED, False)
    assert list(sample.info.special_events) == ["Forced termination: Externally requested"]
    assert [action.tick_id for action in sample.actions] == [-2, -2]


def test_the_last_samples_come_after_the_end_was_told() -> None:
    """END, the state ENDED, then the samples."""
    stage = Stage({}, nb_buffered_ticks=10).begin()
    run_steps(stage, 3)
    order: list[str] = []
    right = stage.log_sample
    stage.trial._course._samples._sink = lambda sample: (order.extend(stage.hear()), right(sample))  # type: ignore
    stage.hear()
    stage.trial.terminate(hard=True)
    assert order[-1] == "ENDED"
    assert len(stage.samples) == 3


def test_a_late_action_is_in_the_sample() -> None:
    """An actor that was missing in the action set and acts before the next observations: both are logged."""
    stage = Stage({"optional": True, "response_timeout": 1.0}, {}).begin()
    stage.observe()
    stage.act(1)
    stage.pass_time(1.0)
    stage.act(0, "late")
    stage.observe()
    (sample,) = stage.samples
    assert sample.actions[0].content == b"late"
    assert list(sample.unavailable_actors) == [0]


def test_the_action_of_an_actor_that_leaves_is_logged_if_it_was_used() -> None:
    """If it leaves before the action set is made, the action is not used and not logged; after that it stays."""
    stage = Stage({"optional": True}, {}).begin()
    stage.observe()
    stage.act(0)
    stage.act(1)
    stage.trial.actor_gone(0, "left after its action was used")
    stage.observe()
    assert [action.content for action in stage.samples[0].actions] == [b"act0", b"act1"]
    stage = Stage({"optional": True}, {}).begin()
    stage.observe()
    stage.act(0)
    stage.trial.actor_gone(0, "left before")
    stage.act(1)
    stage.observe()
    assert [action.tick_id for action in stage.samples[0].actions] == [-2, -1]


def test_a_trial_without_datalog_makes_no_samples() -> None:
    """All else is the same."""
    stage = Stage({}, logged=False).begin()
    run_steps(stage, 2)
    stage.reward(None, "*", 1.0, tick=0)
    stage.message(0, "*")
    stage.environment(LAST)
    stage.observe()
    stage.acknowledge()
    assert (stage.samples, stage.state, stage.trial.tick_id) == ([], "ENDED", 2)


def test_a_sample_takes_so_many_rewards_and_messages() -> None:
    """What does not fit is left out, and the sample says so."""
    stage = Stage({}, trial={"limits": Limits(sample_records=3)}).begin()
    for _ in range(3):
        stage.message(None, "a0")
        stage.reward(None, "a0", 1.0)
    stage.trial.terminate(hard=False)
    stage.observe()
    stage.observe()
    (sample,) = stage.samples
    assert (len(sample.messages), len(sample.rewards)) == (2, 1)
    assert list(sample.info.special_events) == [
        "Incomplete sample: only the first 3 rewards and messages are in it",
        "End requested",
    ]
