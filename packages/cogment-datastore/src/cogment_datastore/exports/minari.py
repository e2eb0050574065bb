"""Minari datasets: one for each actor, with an episode for each trial."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cogment_core.checks import as_whole
from cogment_core.errors import UsageError
from cogment_core.logs import logger
from cogment_core.specs import actor_class_of
from cogment_datastore.exports.episodes import Episode, IncompleteError
from cogment_datastore.exports.errors import ExportError
from cogment_datastore.exports.extras import load
from cogment_datastore.exports.gym_spaces import Codec, SpaceMaker
from cogment_datastore.exports.selection import Selection, make_plan, read_samples
from cogment_datastore.fields import DatastoreFields

if TYPE_CHECKING:
    from cogment_datastore.datastore import Datastore
    from cogment_datastore.exports.selection import Plan, Progress
    from cogment_datastore.sample import DatastoreActorData, DatastoreSample
    from cogment_datastore.trial_info import DatastoreTrialInfo

__all__ = ["write_minari"]

_as_step_count = as_whole(0, 2**63 - 1)

_FIELDS = (DatastoreFields.OBSERVATION, DatastoreFields.ACTION, DatastoreFields.REWARD)


async def write_minari(
    datastore: Datastore,
    dataset_id: str,
    selection: Selection | None = None,
    *,
    leave_out: Collection[str] = (),
    skip_incomplete: bool = False,
    max_episode_steps: int = 0,
    data_format: str = "arrow",
    metadata: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Write a Minari dataset for each actor. It needs the extra ``minari``, and the specs.

    A trial is an episode. It has an observation more than actions and rewards: the last action is left out if its
    outcome was not observed, and what an actor is rewarded with its final observation is added to its last reward. An
    episode is terminated if its environment ended the trial, and truncated if the trial reached its ``max_steps``, was
    terminated by request, was cut off, or has not ended yet.

    A message is a ``Dict`` space of its fields, or, if it has only one, what that field is. Numbers are a ``Box``
    without dimensions, repeated ones a ``Box`` of the length that the first message has, booleans and enums
    ``Discrete``. Texts, bytes, maps and lists of messages cannot be represented, and have to be left out.

    One trial at a time is in memory. If this fails, none of the datasets is there.

    Args:
        datastore: Where to read.
        dataset_id: Id of the datasets, for example ``my-game/{actor}-v0``, where ``{actor}`` stands for the name of
            the actor, with a hyphen for each character that ids cannot have.
        selection: What to write; everything if None. Its fields are not used.
        leave_out: Fields to leave out, by their paths, for example ``observation.player.name``.
        skip_incomplete: Leave out, with a warning, episodes in which an observation or an action is missing, rather
            than to fail.
        max_episode_steps: Number of steps after which the environment itself ends every episode, as the ``TimeLimit``
            of Gymnasium does: episodes of so many steps are truncated. 0 if it does not.
        data_format: Minari's format for the files: ``arrow``, ``parquet``, or ``hdf5`` if h5py is installed.
        metadata: What else to give to ``minari.create_dataset_from_buffers``, for example ``author``.
        progress: Is told how far it is.

    Returns:
        The ids of the datasets that were written: of those actors that have an episode.

    Raises:
        MissingExtraError: Minari is not installed.
        UsageError: ``dataset_id`` is none, or one for several actors; or another argument is wrong.
        ExportError: Something cannot be represented, or a dataset exists already.
        RpcError: The datastore could not be asked, or broke off.
        DecodeError: A sample cannot be read.
        SpecsError: There are no specs, or not those of the class of an actor.
    """
    limit = _as_step_count("max_episode_steps", max_episode_steps)
    minari = load("minari", "minari")
    if data_format != "hdf5":  # for which Minari itself says what is missing
        load("pyarrow", "minari")
        load("PIL", "minari")
    chosen = replace(selection or Selection(), fields=_FIELDS)
    plan = await make_plan(datastore, chosen)
    for actor_class in plan.actor_classes:
        actor_class_of(datastore.settings, actor_class)
    options = {**(metadata or {}), "data_format": data_format}
    datasets = _Datasets(minari, _ids(dataset_id, plan), options, leave_out)
    skipped = 0
    try:
        trials = _Trials(skip_incomplete, limit)
        async with aclosing(read_samples(datastore, chosen, plan, progress)) as samples:
            async for info, sample in samples:
                for actor, episode in trials.add(info, sample):
                    skipped += not datasets.add(actor, episode)
        for actor, episode in trials.finish():
            skipped += not datasets.add(actor, episode)
    except BaseException:
        datasets.remove()
        raise
    trials.report(skipped)
    return datasets.written


class _Trials:
    """Makes episodes of samples that come trial by trial."""

    def __init__(self, skip_incomplete: bool, step_limit: int) -> None:
        self._skip_incomplete = skip_incomplete
        self._step_limit = step_limit
        self._trial_id = ""
        self._episodes: dict[str, Episode] = {}
        self._incomplete: dict[str, None] = {}
        self._skipped = 0

    def add(self, info: DatastoreTrialInfo, sample: DatastoreSample) -> Iterator[tuple[str, Episode]]:
        """Take a sample. Gives the episodes of the trial before, if it is the first of the next."""
        if info.trial_id != self._trial_id:
            yield from self.finish()
            self._trial_id = info.trial_id
        for actor, data in sample.actors_data.items():
            episode = self._episodes.setdefault(actor, Episode(self._step_limit))
            if actor not in self._incomplete:
                self._add(actor, episode, sample, data)

    def _add(self, actor: str, episode: Episode, sample: DatastoreSample, data: DatastoreActorData) -> None:
        try:
            episode.add(sample, data)
        except IncompleteError:
            if not self._skip_incomplete:
                raise
            self._incomplete[actor] = None

    def finish(self) -> Iterator[tuple[str, Episode]]:
        """The episodes of the trial that is read."""
        for actor, episode in self._episodes.items():
            if actor not in self._incomplete:
                yield actor, episode
        self._skipped += len(self._incomplete)
        self._episodes, self._incomplete = {}, {}

    def report(self, without_steps: int) -> None:
        """Warn of episodes that are left out."""
        if self._skipped or without_steps:
            logger.warning(
                "episodes left out of the datasets: %d with gaps, %d without a step", self._skipped, without_steps
            )


class _Datasets:
    """Writes the datasets, each of which is made with its first episode.

    Args:
        minari: The module.
        ids: The id of the dataset of each actor.
        options: What datasets are made with.
        leave_out: Fields to leave out.
    """

    def __init__(
        self, minari: Any, ids: Mapping[str, str], options: Mapping[str, Any], leave_out: Collection[str]
    ) -> None:
        self._minari = minari
        self._buffer: Any = load("minari.data_collector.episode_buffer", "minari").EpisodeBuffer
        self._ids = ids
        self._options = options
        self._spaces = SpaceMaker(leave_out)
        self._codecs: dict[str, tuple[Codec, Codec]] = {}
        self._datasets: dict[str, Any] = {}
        self._begun: list[str] = []
        for identifier in ids.values():
            self._check(identifier)

    @property
    def written(self) -> list[str]:
        """The ids of the datasets that there are now."""
        return [self._ids[actor] for actor in self._datasets]

    def add(self, actor: str, episode: Episode) -> bool:
        """Add an episode. Returns whether it has a step; otherwise it is left out."""
        if not episode.finish():
            return False
        if actor not in self._codecs:
            self._codecs[actor] = (
                self._spaces.codec(episode.observations[0], "observation"),
                self._spaces.codec(episode.actions[0], "action"),
            )
        observation, action = self._codecs[actor]
        last = len(episode.actions) - 1
        ends = [index == last for index in range(last + 1)]
        buffer = self._buffer(
            observations=observation.stack([observation.encode(it) for it in episode.observations]),
            actions=action.stack([action.encode(it) for it in episode.actions]),
            rewards=episode.rewards,
            terminations=[end and episode.terminated for end in ends],
            truncations=[end and not episode.terminated for end in ends],
        )
        self._write(actor, buffer, observation.space, action.space)
        return True

    def _write(self, actor: str, buffer: Any, observation_space: Any, action_space: Any) -> None:
        if actor in self._datasets:
            self._datasets[actor].update_dataset_from_buffer([buffer])
            return
        self._begun.append(self._ids[actor])
        self._datasets[actor] = self._minari.create_dataset_from_buffers(
            self._ids[actor],
            [buffer],
            observation_space=observation_space,
            action_space=action_space,
            **self._options,
        )

    def remove(self) -> None:
        """Remove what was written, of the last one also if it failed."""
        for identifier in self._begun:
            shutil.rmtree(_path_of(identifier), ignore_errors=True)

    def _check(self, identifier: str) -> None:
        try:
            load("minari.dataset.minari_dataset", "minari").parse_dataset_id(identifier)
        except ValueError as error:
            raise UsageError(f"{identifier!r} is no id of a Minari dataset: {error}") from error
        if _path_of(identifier).exists():
            raise ExportError(f"there is a Minari dataset {identifier!r} already, at {_path_of(identifier)}")


def _path_of(identifier: str) -> Any:
    return load("minari.storage", "minari").get_dataset_path(identifier)


def _ids(dataset_id: str, plan: Plan) -> dict[str, str]:
    """The id of the dataset of each actor."""
    names = dict.fromkeys(name for name, _ in plan.actors)
    if len(names) < len(plan.actors):
        raise ExportError("an actor has another class in other trials: select one of the classes with actor_classes")
    ids = {name: dataset_id.replace("{actor}", re.sub(r"[^A-Za-z0-9_-]", "-", name)) for name in names}
    if len(set(ids.values())) < len(ids):
        raise UsageError(f"{dataset_id!r} would be the id for several actors ({', '.join(ids)}): put {{actor}} into it")
    return ids
