"""From the samples that the Orchestrator sends to those that are stored.

Payloads are shared by position: all actors that see the same observation refer to it. Where the protocol's message for
stored samples has no place for something (special events, default and unavailable actors), it is kept beside it.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from cogment_core.api.common_pb2 import Reward, RewardSource, TrialParams
from cogment_core.api.datalog_pb2 import DatalogSample
from cogment_core.api.trial_datastore_pb2 import StoredTrialActorSample, StoredTrialSample
from cogment_core.errors import UsageError
from cogment_services.datastore.store import MAX_TICK, LateReward, NewSample

__all__ = ["ENVIRONMENT", "SampleConverter", "check_params", "check_sample", "merge_late"]

ENVIRONMENT = -1
"""Stands for the environment, and for everybody else who is no actor, where an actor's index is expected."""

DIGEST_BYTES = 16

MAX_ACTORS = 10_000
"""Actors of a trial. Each takes memory in every sample."""

MAX_ENTRIES = 100_000
"""Received rewards in a sample: one reward may be for all actors, so that a small message could fill the memory."""

MAX_BYTES = 48 << 20
"""Bytes of a stored sample: with the rewards that come late, a reader has to be able to take it as one message."""

LONG = 5_000
"""Received rewards that take so long to convert that an event loop cannot wait for it."""

MAX_TIMESTAMP = (1 << 63) - 1


class SampleConverter:
    """Converts the samples of one trial.

    Args:
        trial_id: The trial.
        number: Its number in the store.
        params: Its parameters.
    """

    def __init__(self, trial_id: str, number: int, params: TrialParams) -> None:
        self._trial_id = trial_id
        self._number = number
        self._actors = range(len(params.actors))
        self._index = {actor.name: index for index, actor in enumerate(params.actors)}
        self._classes = [actor.actor_class for actor in params.actors]
        self._names = [actor.name for actor in params.actors]

    def convert(self, sample: DatalogSample) -> NewSample | LateReward:
        """What is stored of ``sample``, which is left as it is.

        Raises:
            UsageError: It makes no sense.
        """
        if not sample.HasField("info"):
            raise UsageError(
                f"trial [{self._trial_id}]: a sample has no 'info', so its tick is not known; this datalog cannot be "
                "used with 'info' among the exclude_fields"
            )
        info = sample.info
        check_place(self._trial_id, info.tick_id, info.timestamp)
        if info.out_of_sync:
            return self._late(sample)
        stored = StoredTrialSample(
            trial_id=self._trial_id, tick_id=info.tick_id, timestamp=info.timestamp, state=info.state
        )
        actors = [stored.actor_samples.add(actor=index) for index in self._actors]
        self._add_observations(sample, stored, actors)
        self._add_actions(sample, stored, actors)
        self._add_rewards(sample.rewards, stored, actors)
        self._add_messages(sample, stored, actors)
        return NewSample(
            self._number,
            info.tick_id,
            info.timestamp,
            info.state,
            _serialized(stored),
            special_events=tuple(info.special_events),
            default_actors=tuple(sample.default_actors),
            unavailable_actors=tuple(sample.unavailable_actors),
        )

    def takes_long(self, sample: DatalogSample) -> bool:
        """Whether `convert` may take more than some milliseconds, and is better left to a thread."""
        return len(self._actors) * sum(len(reward.sources) for reward in sample.rewards) > LONG

    def _late(self, sample: DatalogSample) -> LateReward:
        tick = sample.info.tick_id
        stored = StoredTrialSample(trial_id=self._trial_id, tick_id=tick, timestamp=sample.info.timestamp)
        actors = [stored.actor_samples.add(actor=index) for index in self._actors]
        self._add_rewards(sample.rewards, stored, actors)
        self._add_messages(sample, stored, actors)
        serialized = _serialized(stored)
        digest = hashlib.blake2b(serialized, digest_size=DIGEST_BYTES).digest()
        return LateReward(self._number, tick, digest, serialized)

    def _add_observations(
        self, sample: DatalogSample, stored: StoredTrialSample, actors: Sequence[StoredTrialActorSample]
    ) -> None:
        if not sample.HasField("observations"):
            return
        observations = sample.observations
        count = len(observations.observations)
        if len(observations.actors_map) > len(actors):
            self._refuse(sample, f"observations for {len(observations.actors_map)} actors, of which there are fewer")
        for actor, place in zip(actors, observations.actors_map, strict=False):
            if not 0 <= place < count:
                self._refuse(sample, f"observation {place} of {count} for actor {actor.actor}")
            actor.observation = place
        stored.payloads.extend(observations.observations)

    def _add_actions(
        self, sample: DatalogSample, stored: StoredTrialSample, actors: Sequence[StoredTrialActorSample]
    ) -> None:
        actions = sample.actions
        if not actions:
            return
        if len(actions) > len(actors):
            self._refuse(sample, f"{len(actions)} actions, and {len(actors)} actors")
        first = len(stored.payloads)
        for place, actor in enumerate(actors[: len(actions)], first):
            actor.action = place
        stored.payloads.extend([action.content for action in actions])

    def _add_rewards(
        self, rewards: Iterable[Reward], stored: StoredTrialSample, actors: Sequence[StoredTrialActorSample]
    ) -> None:
        rewarded: set[int] = set()
        entries = 0
        for reward in rewards:
            receivers = self._receivers(reward.receiver_name)
            entries += len(receivers) * len(reward.sources)
            if entries > MAX_ENTRIES:
                raise UsageError(f"trial [{self._trial_id}]: a sample has more than {MAX_ENTRIES} rewards")
            given = [self._source(source, stored) for source in reward.sources] if receivers else []
            rewarded.update(receivers)
            for receiver, (sender, entry) in itertools.product(receivers, given):
                actors[receiver].received_rewards.add(sender=sender, **entry)
                if sender != ENVIRONMENT:
                    actors[sender].sent_rewards.add(receiver=receiver, **entry)
        for index in rewarded:
            actors[index].reward = _mean(actors[index])

    def _source(self, source: RewardSource, stored: StoredTrialSample) -> tuple[int, dict[str, Any]]:
        """Who gave a reward, and what all its receivers have of it; its user data is stored once."""
        entry: dict[str, Any] = {"reward": source.value, "confidence": source.confidence}
        if source.HasField("user_data"):
            entry["user_data"] = len(stored.payloads)
            stored.payloads.append(source.user_data.SerializeToString())
        return self._index.get(source.sender_name, ENVIRONMENT), entry

    def _add_messages(
        self, sample: DatalogSample, stored: StoredTrialSample, actors: Sequence[StoredTrialActorSample]
    ) -> None:
        for message in sample.messages:
            sender = self._index.get(message.sender_name, ENVIRONMENT)
            receiver = self._index.get(message.receiver_name, ENVIRONMENT)
            place = len(stored.payloads)
            stored.payloads.append(message.payload.SerializeToString())
            if receiver != ENVIRONMENT:
                actors[receiver].received_messages.add(sender=sender, payload=place)
            if sender != ENVIRONMENT:
                actors[sender].sent_messages.add(receiver=receiver, payload=place)

    def _receivers(self, pattern: str) -> Sequence[int]:
        """Indexes of the actors that a reward is for: a name, ``*``, ``class.*`` or ``class.name``."""
        exact = self._index.get(pattern)
        if exact is not None:
            return (exact,)
        if pattern in ("*", "*.*"):
            return self._actors
        actor_class, dot, name = pattern.partition(".")
        if not dot:
            return ()
        return [
            index for index in self._actors if self._classes[index] == actor_class and name in ("*", self._names[index])
        ]

    def _refuse(self, sample: DatalogSample, what: str) -> None:
        raise UsageError(f"trial [{self._trial_id}]: the sample of tick {sample.info.tick_id} has {what}")


def _serialized(sample: StoredTrialSample) -> bytes:
    check_size(sample)
    return sample.SerializeToString()


def _mean(actor: StoredTrialActorSample) -> float:
    """Mean of the received rewards, weighted by confidence; those without confidence do not count."""
    counted = [entry for entry in actor.received_rewards if entry.confidence > 0]
    total = sum(entry.confidence for entry in counted)
    return sum(entry.reward * entry.confidence for entry in counted) / total if counted else 0.0


def merge_late(sample: bytes, late: Iterable[bytes]) -> bytes:
    """A stored sample with the rewards, and messages, that came late.

    Args:
        sample: Serialized ``StoredTrialSample``.
        late: The same, of what is added.
    """
    merged = StoredTrialSample.FromString(sample)
    for serialized in late:
        added = StoredTrialSample.FromString(serialized)
        _move_payloads(added, len(merged.payloads))
        merged.payloads.extend(added.payloads)
        actors = {actor.actor: actor for actor in merged.actor_samples}
        for more in added.actor_samples:
            actor = actors.get(more.actor) or merged.actor_samples.add(actor=more.actor)
            actor.MergeFrom(more)
            if more.HasField("reward"):
                actor.reward = _mean(actor)
    return merged.SerializeToString()


def _move_payloads(sample: StoredTrialSample, offset: int) -> None:
    for actor in sample.actor_samples:
        for reward in (*actor.received_rewards, *actor.sent_rewards):
            if reward.HasField("user_data"):
                reward.user_data += offset
        for message in (*actor.received_messages, *actor.sent_messages):
            message.payload += offset


# --- samples that are stored as they come -----------------------------------------------------------------------------


def check_params(trial_id: str, params: TrialParams) -> None:
    """Refuse a trial that cannot be stored.

    Raises:
        UsageError: It has too many actors.
    """
    if len(params.actors) > MAX_ACTORS:
        raise UsageError(f"trial [{trial_id}] has {len(params.actors)} actors; {MAX_ACTORS} can be stored")


def check_place(trial_id: str, tick: int, timestamp: int) -> None:
    """Refuse a tick or a timestamp that cannot be stored.

    Raises:
        UsageError: It cannot be.
    """
    if tick > MAX_TICK:
        raise UsageError(f"trial [{trial_id}]: tick {tick} cannot be stored, the last one is {MAX_TICK}")
    if timestamp > MAX_TIMESTAMP:
        raise UsageError(f"trial [{trial_id}]: tick {tick} has a timestamp, {timestamp} ns, that is no time")


def check_size(sample: StoredTrialSample) -> None:
    """Refuse a sample that readers could not take.

    Raises:
        UsageError: It is too large.
    """
    if (size := sample.ByteSize()) > MAX_BYTES:
        _refuse(sample, f"{size} bytes; {MAX_BYTES} can be stored")


def check_sample(sample: StoredTrialSample, actors: int) -> None:
    """Refuse a stored sample that readers would stumble over.

    Args:
        sample: The sample.
        actors: How many actors the trial has.

    Raises:
        UsageError: It refers to something that is not there.
    """
    check_place(sample.trial_id, sample.tick_id, sample.timestamp)
    check_size(sample)
    payloads = len(sample.payloads)
    for actor in sample.actor_samples:
        if actor.actor >= actors:
            _refuse(sample, f"something of actor {actor.actor}, of {actors}")
        if any(place >= payloads for place in _places(actor)):
            _refuse(sample, f"a reference to a payload that is not among its {payloads}")
        if any(not ENVIRONMENT <= index < actors for index in _peers(actor)):
            _refuse(sample, "a sender or receiver that is no actor of the trial")


def _places(actor: StoredTrialActorSample) -> Iterable[int]:
    """All references to payloads."""
    for name in ("observation", "action"):
        if actor.HasField(name):
            yield getattr(actor, name)
    for rewards in (actor.received_rewards, actor.sent_rewards):
        yield from (reward.user_data for reward in rewards if reward.HasField("user_data"))
    for messages in (actor.received_messages, actor.sent_messages):
        yield from (message.payload for message in messages)


def _peers(actor: StoredTrialActorSample) -> Iterable[int]:
    """All senders and receivers."""
    yield from (reward.sender for reward in actor.received_rewards)
    yield from (reward.receiver for reward in actor.sent_rewards)
    yield from (message.sender for message in actor.received_messages)
    yield from (message.receiver for message in actor.sent_messages)


def _refuse(sample: StoredTrialSample, what: str) -> None:
    raise UsageError(f"trial [{sample.trial_id}]: the sample of tick {sample.tick_id} has {what}")
