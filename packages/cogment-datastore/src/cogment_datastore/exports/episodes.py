"""What an actor went through in a trial, in the shape of an episode."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cogment_core.enums import TrialState
from cogment_datastore.exports.errors import ExportError

if TYPE_CHECKING:
    from cogment_datastore.sample import DatastoreActorData, DatastoreSample

__all__ = ["Episode", "IncompleteError"]


class IncompleteError(ExportError):
    """An observation or an action is missing in the middle of an episode."""


@dataclass
class Episode:
    """The observations of an actor in a trial, what it did on each, and the rewards for that.

    There is one more observation than there are actions and rewards.
    """

    step_limit: int = 0
    """Number of steps after which the environment ends every episode; 0 if it does not."""

    observations: list[Any] = field(default_factory=list[Any])
    """What it saw: messages."""

    actions: list[Any] = field(default_factory=list[Any])
    """What it did: messages."""

    rewards: list[float] = field(default_factory=list[float])
    """The aggregated reward for each action; 0.0 if there was none."""

    ended: bool = False
    """Whether the last sample of the trial was there."""

    stopped: bool = False
    """Whether the trial was to end, because of its ``max_steps`` or by request, while the environment went on."""

    cut: bool = False
    """Whether an action was left out, because its outcome was not observed."""

    def add(self, sample: DatastoreSample, data: DatastoreActorData) -> None:
        """Add a sample.

        Raises:
            IncompleteError: Something is missing, in it or in the one before.
            DecodeError: It cannot be read.
            SpecsError: The specs do not have the class of the actor.
        """
        if len(self.actions) < len(self.observations):
            raise _incomplete("action", sample.tick_id - 1, sample, data)
        if data.observation is None:
            raise _incomplete("observation", sample.tick_id, sample, data)
        self.observations.append(data.observation)
        if data.action is not None:
            self.actions.append(data.action)
            self.rewards.append(data.reward)
        elif self.rewards:
            # For what was done before: that is how an environment rewards with its final observations.
            self.rewards[-1] += data.reward
        self.ended = sample.trial_state is TrialState.ENDED
        self.stopped = self.stopped or sample.trial_state is TrialState.TERMINATING

    def finish(self) -> bool:
        """Leave out an action whose outcome was not observed any more, with its reward.

        Returns:
            Whether the episode has a step.
        """
        observed = max(len(self.observations) - 1, 0)
        self.cut = len(self.actions) > observed
        del self.actions[observed:], self.rewards[observed:]
        return bool(self.actions)

    @property
    def terminated(self) -> bool:
        """Whether the environment ended the episode, rather than a limit, or somebody else."""
        reached_limit = 0 < self.step_limit <= len(self.actions)
        return self.ended and not self.stopped and not self.cut and not reached_limit


def _incomplete(what: str, tick_id: int, sample: DatastoreSample, data: DatastoreActorData) -> IncompleteError:
    return IncompleteError(
        f"there is no {what} of {data.name!r} at tick {tick_id} of trial {sample.trial_id!r}, and episodes cannot have "
        "gaps; skip_incomplete=True leaves such episodes out"
    )
