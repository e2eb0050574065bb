"""The rules for the samples of a trial."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cogment_core.api.common_pb2 import ENDED, RUNNING, TERMINATING
from cogment_core.api.datalog_pb2 import DatalogSample

if TYPE_CHECKING:
    from .referee import Referee


def check_samples(referee: Referee) -> None:
    """What a trial's samples have to be when it has ended."""
    samples = referee.world.samples
    if not referee.scenario.logged:
        referee.check(not samples, "a trial without datalog has no samples")
        return
    steps = [sample for sample in samples if not sample.info.out_of_sync]
    ticks = [sample.info.tick_id for sample in steps]
    referee.check(ticks == list(range(referee.world.trial.tick_id + 1)), f"there is one sample per tick, not {ticks}")
    _check_states(referee, steps)
    for sample in samples:
        if sample.info.out_of_sync:
            referee.check(list(sample.info.special_events) == ["Out of sync reward"], "a late reward is marked")
            referee.check(len(sample.rewards) == 1, "a late reward has a sample of its own")
    for sample in steps:
        _check_step(referee, sample)
    reason = referee.world.trial.end_reason
    forced = [event for event in steps[-1].info.special_events if event.startswith("Forced termination: ")]
    expected = [f"Forced termination: {reason}"] if reason not in ("", "Environment failed to end properly") else []
    referee.check(forced == expected, f"the last sample says why the trial was ended: {reason!r}")


def _check_states(referee: Referee, steps: list[DatalogSample]) -> None:
    states = [sample.info.state for sample in steps]
    referee.check(states[-1] == ENDED, "the last sample is ENDED")
    referee.check(all(state == RUNNING for state in states[:-2]), "samples are RUNNING until the end comes")
    referee.check(states[-2:-1] in ([], [RUNNING], [TERMINATING]), "the last sample but one is not ENDED")
    if states[-2:-1] == [TERMINATING]:
        referee.check(referee.environment.announced, "a sample is TERMINATING if its actions were sent with LAST")


def _check_step(referee: Referee, sample: DatalogSample) -> None:
    tick = sample.info.tick_id
    referee.check(sample.HasField("observations") == referee.ran, "a sample has its tick's observations")
    referee.check(len(sample.actions) == referee.count, "a sample has an action for each actor")
    action_set = referee.sets.get(tick)
    if action_set is None:
        referee.check(not sample.default_actors and not sample.unavailable_actors, "no set, so nobody is missing")
        return
    referee.check(
        list(sample.unavailable_actors) == list(action_set.unavailable_actors), "sample and set agree on who is missing"
    )
    for index, used in enumerate(action_set.actions):
        if index in sample.default_actors:
            default = referee.scenario.params.actors[index].default_action.content
            referee.check(used == default, "a default actor's default action was used")
        elif index not in sample.unavailable_actors:
            referee.check(sample.actions[index].content == used, "a sample has the actions that were used")
