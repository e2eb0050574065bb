"""All ways in which a trial ends."""

from __future__ import annotations

import pytest
from engine_stage import Stage

from cogment_core.api.common_pb2 import END, LAST, LAST_ACK
from cogment_services.orchestrator.effects import TimerKind

STREAM_FAILURE = "Action processing requirement failure [Environment stream failure]"


def test_a_soft_end_goes_with_the_next_action_set() -> None:
    """LAST and the actions to the environment, its answer as the last to the actors, acknowledgements, END."""
    stage = Stage({}, {}).begin()
    stage.observe()
    stage.trial.terminate(hard=False)
    stage.act(0)
    stage.hear()
    stage.act(1)
    assert stage.hear() == ["TERMINATING", "env: LAST", "env: actions 0 ['act0', 'act1']"]
    stage.observe()
    assert stage.hear() == ["a0: LAST", "a0: observation 1 o0", "a1: LAST", "a1: observation 1 o1"]
    stage.environment(LAST_ACK)
    stage.actor(1, LAST_ACK)
    assert stage.hear() == []
    stage.actor(0, LAST_ACK)
    assert stage.hear() == ["env: END", "release env", "a0: END", "release a0", "a1: END", "release a1", "ENDED"]
    assert (stage.trial.end_reason, stage.timers) == ("", {})
    assert stage.events() == [["End requested"], ["Evironment ended trial"]]


def test_a_soft_end_that_comes_after_the_action_set_waits_for_the_next() -> None:
    """While the environment computes tick 1, the request is honoured with the actions of tick 1; tick 2 is the last."""
    stage = Stage({}).begin()
    stage.observe()
    stage.act(0)
    stage.trial.terminate(hard=False)
    stage.trial.terminate(hard=False)
    stage.observe()
    stage.hear()
    stage.act(0)
    assert stage.hear() == ["TERMINATING", "env: LAST", "env: actions 1 ['act0']"]
    stage.observe()
    assert stage.trial.tick_id == 2
    stage.acknowledge()
    assert stage.events() == [["End requested", "End requested"], [], ["Evironment ended trial"]]


@pytest.mark.parametrize("steps", [1, 3])
def test_a_trial_ends_at_its_last_step(steps: int) -> None:
    """max_steps=N gives action sets 0 to N and observations 0 to N+1."""
    stage = Stage({}, max_steps=steps).begin()
    for _ in range(steps + 1):
        stage.observe()
        stage.act(0)
    assert stage.hear()[-3:] == ["TERMINATING", "env: LAST", f"env: actions {steps} ['act0']"]
    stage.observe()
    stage.acknowledge()
    assert (stage.state, stage.trial.tick_id) == ("ENDED", steps + 1)
    expected = [[] for _ in range(steps)] + [["Maximum number of steps reached"], ["Evironment ended trial"]]
    assert stage.events() == expected


def test_a_request_counts_before_the_last_step() -> None:
    """If both come together, only the request is noted."""
    stage = Stage({}, max_steps=1).begin()
    stage.observe()
    stage.act(0)
    stage.observe()
    stage.trial.terminate(hard=False)
    stage.act(0)
    stage.observe()
    stage.acknowledge()
    assert stage.events() == [[], ["End requested"], ["Evironment ended trial"]]


@pytest.mark.parametrize("first", [True, False])
def test_the_environment_may_end_the_trial(first: bool) -> None:
    """Its observations after LAST are the last, even if they are the first; TERMINATING comes when all have them."""
    stage = Stage({}).begin()
    if not first:
        stage.observe()
        stage.act(0)
    stage.hear()
    stage.environment(LAST)
    assert stage.hear() == []
    stage.observe()
    tick = 0 if first else 1
    running = ["RUNNING"] if first else []
    assert stage.hear() == [*running, "a0: LAST", f"a0: observation {tick} o0", "TERMINATING"]
    stage.acknowledge()
    assert stage.hear() == ["env: END", "release env", "a0: END", "release a0", "ENDED"]
    assert stage.events()[-1] == ["Evironment ended trial"]


def test_rewards_come_before_the_announcement_of_the_end() -> None:
    """Pending rewards, LAST, observation: in this order, for each actor."""
    stage = Stage({}, {}).begin()
    stage.observe()
    stage.reward(None, "*", 2.0)
    stage.environment(LAST)
    stage.hear()
    stage.observe()
    assert stage.hear()[:6] == [
        "a0: reward 0 2 [env 2*1]",
        "a0: LAST",
        "a0: observation 1 o0",
        "a1: reward 0 2 [env 2*1]",
        "a1: LAST",
        "a1: observation 1 o1",
    ]


def test_actions_are_still_passed_on_between_the_environments_last_and_its_observations() -> None:
    """It may have said LAST early; the tick before its last observations is a tick like any other."""
    stage = Stage({}).begin()
    stage.observe()
    stage.environment(LAST)
    stage.hear()
    stage.act(0)
    assert stage.hear() == ["env: actions 0 ['act0']"]


def test_nobody_acts_on_the_last_observation() -> None:
    """An action on it is in the last sample, and makes no action set."""
    stage = Stage({}).begin()
    stage.environment(LAST)
    stage.observe()
    stage.hear()
    stage.act(0)
    assert stage.hear() == []
    stage.acknowledge()
    (sample,) = stage.samples
    assert [action.content for action in sample.actions] == [b"act0"]


def test_there_are_no_observations_after_the_last() -> None:
    """A second last set, or LAST, is refused: nothing is sent for it, and the trial ends as it should."""
    stage = Stage({}).begin()
    stage.environment(LAST)
    stage.observe()
    stage.hear()
    stage.observe()
    stage.environment(LAST)
    assert stage.hear() == []
    stage.acknowledge()
    assert (stage.state, stage.trial.end_reason, stage.trial.tick_id) == ("ENDED", "", 0)


def test_acknowledgements_may_come_early() -> None:
    """An actor's may come before the environment's, and both even before the end was announced."""
    stage = Stage({}, {}).begin()
    stage.actor(0, LAST_ACK)
    stage.environment(LAST_ACK)
    stage.environment(LAST)
    stage.observe()
    assert stage.state == "TERMINATING"
    stage.actor(1, LAST_ACK)
    assert (stage.state, stage.trial.end_reason) == ("ENDED", "")


def test_an_environment_that_does_not_acknowledge_is_waited_for_a_minute() -> None:
    """Then all get END with the reason; the actors' acknowledgements are not waited for."""
    stage = Stage({}).begin()
    stage.environment(LAST)
    stage.observe()
    stage.pass_time(59.9)
    stage.hear()
    stage.pass_time(0.1)
    end = "END Environment failed to end properly"
    assert stage.hear() == [f"env: {end}", "release env", f"a0: {end}", "release a0", "ENDED"]
    assert stage.events()[-1] == ["Evironment ended trial"]


def test_actors_have_half_a_minute_to_acknowledge_all_together() -> None:
    """Their time begins with the environment's acknowledgement; then they get END without details."""
    stage = Stage({}, {}, {}).begin()
    stage.environment(LAST)
    stage.observe()
    stage.pass_time(50.0)
    stage.environment(LAST_ACK)
    stage.actor(1, LAST_ACK)
    stage.pass_time(29.9)
    assert stage.state == "TERMINATING"
    stage.pass_time(0.1)
    ends = [text for who in ("a0", "a1", "a2") for text in (f"{who}: END", f"release {who}")]
    assert stage.hear()[-7:] == [*ends, "ENDED"]
    assert stage.trial.end_reason == ""


def test_actors_that_are_gone_are_not_waited_for_at_the_end() -> None:
    """Neither one that left before it was awaited, nor one that leaves instead of acknowledging."""
    stage = Stage({}, {}, {"optional": True}).begin()
    stage.observe()
    stage.trial.terminate(hard=False)
    stage.act(0)
    stage.act(1)
    stage.act(2)
    stage.trial.actor_gone(0, "left early")
    stage.observe()
    stage.environment(LAST_ACK)
    stage.actor(2, LAST_ACK)
    stage.hear()
    stage.trial.actor_gone(1, "left without a word")
    assert stage.hear() == ["env: END", "release env", "a2: END", "release a2", "ENDED"]
    assert stage.trial.end_reason == ""


def test_an_actor_that_acknowledged_may_leave() -> None:
    """Its stream may close before END; the others are waited for still."""
    stage = Stage({}, {}).begin()
    stage.environment(LAST)
    stage.observe()
    stage.environment(LAST_ACK)
    stage.actor(0, LAST_ACK)
    stage.trial.actor_gone(0, "done")
    assert stage.state == "TERMINATING"
    stage.hear()
    stage.actor(1, LAST_ACK)
    assert stage.hear() == ["env: END", "release env", "a1: END", "release a1", "ENDED"]


@pytest.mark.parametrize("when", ["thinking", "computing", "finishing"])
def test_an_environment_that_is_lost_ends_the_trial_at_once(when: str) -> None:
    """Whatever the trial waits for, with the cause in the last sample."""
    stage = Stage({}).begin()
    stage.observe()
    if when == "finishing":
        stage.trial.terminate(hard=False)
    if when != "thinking":
        stage.act(0)
    stage.hear()
    stage.trial.environment_gone("killed")
    terminating = [] if when == "finishing" else ["TERMINATING"]
    assert stage.hear() == [*terminating, f"a0: END {STREAM_FAILURE}", "release a0", "ENDED"]
    assert stage.events()[-1][-2:] == ["ENVIRONMENT_LOST", f"Forced termination: {STREAM_FAILURE}"]


def test_an_environment_that_is_lost_before_its_first_observations_ends_the_trial() -> None:
    """The trial never was RUNNING."""
    stage = Stage({}).begin()
    stage.trial.environment_gone("killed")
    assert stage.hear() == [f"a0: END {STREAM_FAILURE}", "release a0", "ENDED"]


def test_an_environment_that_leaves_without_acknowledging_did_not_end_properly() -> None:
    """The actors have all they get; they are told, and not kept waiting."""
    stage = Stage({}).begin()
    stage.environment(LAST)
    stage.observe()
    stage.hear()
    stage.trial.environment_gone("killed")
    assert stage.hear() == ["a0: END Environment failed to end properly", "release a0", "ENDED"]
    assert stage.events() == [["Evironment ended trial", "ENVIRONMENT_LOST"]]


def test_an_environment_that_acknowledged_may_leave() -> None:
    """It has done its part: the actors are waited for, and the trial ends as it should."""
    stage = Stage({}).begin()
    stage.environment(LAST)
    stage.observe()
    stage.environment(LAST_ACK)
    stage.trial.environment_gone("done")
    stage.hear()
    stage.actor(0, LAST_ACK)
    assert stage.hear() == ["a0: END", "release a0", "ENDED"]
    assert stage.trial.end_reason == ""


@pytest.mark.parametrize("phase", range(8))
def test_a_hard_end_is_possible_at_any_time(phase: int) -> None:
    """Everyone who is connected gets END with the details, once, the environment first; no timer is left."""
    stage = Stage({"response_timeout": 9.0, "initial_connection_timeout": 9.0}, {"client": True}, max_inactivity=99)
    steps = [
        stage.start,
        lambda: stage.actor_ready(0),
        lambda: stage.join(1),
        stage.environment_ready,
        stage.observe,
        lambda: (stage.act(0), stage.act(1)),
        lambda: (stage.environment(LAST), stage.observe()),
        lambda: stage.environment(LAST_ACK),
    ]
    for step in steps[: phase + 1]:
        step()
    said = stage.hear()
    stage.trial.terminate(hard=True, details="because")
    told = [text for text in stage.hear() if "END because" in text]
    expected = ["env"] * ("connect env" in said) + ["a0"] + ["a1"] * ("a1: init_input" in said)
    assert told == [f"{who}: END because" for who in expected]
    assert (stage.state, stage.trial.end_reason, stage.timers) == ("ENDED", "because", {})
    assert stage.events()[-1][-1] == "Forced termination: because"


def test_after_the_end_nothing_happens() -> None:
    """Whatever comes then, nothing is sent, started or logged."""
    stage = Stage({"optional": True}).begin()
    stage.observe()
    stage.pass_time(1.0)
    stage.trial.terminate(hard=True)
    ended = stage.trial.ended
    said, samples = stage.hear(), len(stage.samples)
    stage.pass_time(1.0)
    stage.observe()
    stage.act(0)
    stage.reward(None, "*", 1.0)
    stage.message(0, "*")
    stage.acknowledge()
    stage.environment(END)
    stage.trial.actor_gone(0, "closed")
    stage.trial.environment_gone("closed")
    stage.trial.terminate(hard=True, details="again")
    stage.trial.terminate(hard=False)
    stage.trial.start()
    assert said[-1] == "ENDED"
    assert (stage.hear(), len(stage.samples), stage.timers) == ([], samples, {})
    assert (stage.trial.end_reason, stage.trial.ended) == ("Externally requested", ended)


def test_a_trial_in_which_nothing_happens_is_ended() -> None:
    """max_inactivity seconds after the last observations or action, whatever else is sent meanwhile."""
    stage = Stage({}, max_inactivity=10).begin()
    stage.observe()
    stage.pass_time(9.0)
    stage.act(0)
    stage.pass_time(9.0)
    assert stage.state == "RUNNING"
    stage.reward(None, "a0", 1.0)
    stage.message(0, "env")
    stage.hear()
    stage.pass_time(0.9)
    assert stage.hear() == []
    stage.pass_time(0.2)
    assert stage.hear()[:2] == ["TERMINATING", "env: END The trial was inactive for too long"]
    expected = ["Stale trial", "Forced termination: The trial was inactive for too long"]
    assert stage.events() == [expected]


def test_a_trial_that_nobody_joins_is_ended_as_inactive() -> None:
    """Waiting for a client counts as inactivity too."""
    stage = Stage({"client": True}, max_inactivity=30).start()
    stage.pass_time(30.1)
    assert stage.hear() == ["PENDING", "ENDED"]
    assert stage.trial.end_reason == "The trial was inactive for too long"


def test_ignored_actions_are_activity() -> None:
    """An actor that acts for the wrong tick is alive."""
    stage = Stage({}, max_inactivity=10).begin()
    stage.observe()
    for _ in range(5):
        stage.pass_time(8.0)
        stage.act(0, tick=-3)
    assert stage.state == "RUNNING"


def test_without_a_bound_a_trial_waits_for_ever() -> None:
    """max_inactivity 0 is no bound."""
    stage = Stage({}).begin()
    stage.observe()
    assert stage.timers == {}
    stage.pass_time(1e9)
    assert stage.state == "RUNNING"


def test_inactivity_does_not_cut_the_acknowledgements_short() -> None:
    """They have bounds of their own."""
    stage = Stage({}, max_inactivity=5).begin()
    stage.environment(LAST)
    stage.observe()
    assert stage.running(TimerKind.INACTIVITY) == []
    stage.pass_time(20.0)
    assert stage.state == "TERMINATING"


def test_the_last_observations_are_waited_for_within_the_inactivity_bound() -> None:
    """An environment that never answers the last actions does not keep the trial."""
    stage = Stage({}, max_inactivity=5).begin()
    stage.observe()
    stage.trial.terminate(hard=False)
    stage.act(0)
    stage.pass_time(5.1)
    assert stage.trial.end_reason == "The trial was inactive for too long"


def test_created_and_ended_are_wall_clock_times() -> None:
    """Nanoseconds since the epoch; the creation may be older than the engine, for example if hooks ran before."""
    stage = Stage({}, trial={"created": 12, "user_id": "me"})
    assert (stage.trial.created, stage.trial.ended, stage.trial.user_id) == (12, None, "me")
    stage.start()
    stage.pass_time(3.0)
    stage.trial.terminate(hard=True)
    assert stage.trial.ended == stage.timestamp()
