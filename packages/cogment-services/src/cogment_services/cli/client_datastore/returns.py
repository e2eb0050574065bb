"""The returns of episodes, from the samples of trials."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from cogment_core.api.trial_datastore_pb2 import STORED_TRIAL_SAMPLE_FIELD_REWARD, StoredTrialInfo
from cogment_services.cli.client_datastore.store import TrialStore
from cogment_services.cli.progress import progress_bar

__all__ = ["Episode", "read_episodes"]


@dataclass(frozen=True)
class Episode:
    """What a trial returned."""

    trial_id: str
    """The trial."""
    started: float
    """When its first sample was taken, in seconds since the Unix epoch."""
    steps: int
    """The number of its samples."""
    returns: dict[str, float]
    """The sum of the rewards of each actor, by name; 0 for one that got none."""


async def read_episodes(
    store: TrialStore, infos: Sequence[StoredTrialInfo], actor_classes: Sequence[str]
) -> list[Episode]:
    """Read what trials have returned up to now, in the order in which they started.

    Args:
        store: The datastore.
        infos: The trials.
        actor_classes: The actors of interest; all if empty.
    """
    episodes: list[Episode] = []
    with progress_bar("read", sum(info.samples_count for info in infos), "samples") as advance:
        for info in infos:
            episode = await _read(store, info, actor_classes)
            advance(info.samples_count)
            if episode is not None:
                episodes.append(episode)
    return sorted(episodes, key=lambda episode: episode.started)


async def _read(store: TrialStore, info: StoredTrialInfo, actor_classes: Sequence[str]) -> Episode | None:
    """The episode of one trial; None if its samples are gone."""
    names = [actor.name for actor in info.params.actors]
    returns = {a.name: 0.0 for a in info.params.actors if not actor_classes or a.actor_class in actor_classes}
    started = 0.0
    steps = 0
    rewards = store.samples(info.trial_id, actor_classes=actor_classes, fields=[STORED_TRIAL_SAMPLE_FIELD_REWARD])
    async with aclosing(rewards) as samples:
        async for sample in samples:
            started = started or sample.timestamp / 1e9
            steps += 1
            for actor in sample.actor_samples:
                if actor.actor < len(names) and names[actor.actor] in returns:
                    returns[names[actor.actor]] += actor.reward
            if steps >= info.samples_count:  # of a trial that runs, what there is now
                break
    return Episode(info.trial_id, started, steps, returns) if steps else None
