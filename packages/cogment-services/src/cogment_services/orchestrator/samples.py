"""The samples of a trial, from the tick they begin in until they are old enough for the datalog."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from cogment_core.api.common_pb2 import Action, Message, Reward, TrialState
from cogment_core.api.datalog_pb2 import DatalogSample, SampleInfo
from cogment_core.api.environment_pb2 import ObservationSet
from cogment_services.orchestrator.texts import OUT_OF_SYNC

__all__ = ["NO_ACTION_TICK", "SampleBuffer"]

NO_ACTION_TICK = -2
"""``tick_id`` of the placeholder that stands where an actor did not act."""


class SampleBuffer:
    """The newest samples of a trial: one per tick, in the order of the ticks, the newest still open.

    A sample leaves the buffer as soon as ``buffered_ticks`` samples would be in it, or when the trial ends. Until then
    it takes rewards for its tick; a reward that comes later leaves at once, in a sample of its own.

    Args:
        buffered_ticks: ``nb_buffered_ticks`` of the trial; with 2 only the open sample is kept.
        records: How many rewards and messages one sample takes.
        sink: Takes the samples.
    """

    __slots__ = ("_held", "_records", "_sink", "_window")

    def __init__(self, buffered_ticks: int, records: int, sink: Callable[[DatalogSample], None]) -> None:
        self._window = max(1, buffered_ticks - 1)
        self._records = records
        self._sink = sink
        self._held: deque[DatalogSample] = deque()

    def begin(self, tick: int, timestamp: int) -> None:
        """Begin the sample of ``tick``; `close` has ended the one before."""
        self._held.append(DatalogSample(info=SampleInfo(tick_id=tick, timestamp=timestamp)))

    def observe(self, timestamp: int, observations: ObservationSet) -> None:
        """The observations of the open sample's tick, which came at ``timestamp``."""
        sample = self._held[-1]
        sample.info.timestamp = timestamp
        sample.observations.CopyFrom(observations)

    def note(self, event: str) -> None:
        """Add a special event to the open sample, if there is one."""
        if self._held:
            self._held[-1].info.special_events.append(event)

    def add_reward(self, reward: Reward, sender: str | None) -> None:
        """Log a reward of the open tick as it came; ``sender`` goes into its sources, unless None."""
        if self._has_room(self._held[-1]):
            self._add_reward(self._held[-1], reward, sender)

    def add_late_reward(self, reward: Reward, sender: str, timestamp: int) -> None:
        """Log a reward of a past tick, from ``sender``: in that tick's sample, or in one of its own if that is gone."""
        position = reward.tick_id - self._held[0].info.tick_id
        if position < 0:
            info = SampleInfo(
                out_of_sync=True, tick_id=reward.tick_id, timestamp=timestamp, special_events=[OUT_OF_SYNC]
            )
            late = DatalogSample(info=info)
            self._add_reward(late, reward, sender)
            self._sink(late)
        elif self._has_room(self._held[position]):
            self._add_reward(self._held[position], reward, sender)

    def add_message(self, message: Message, sender: str) -> None:
        """Log a message as it came, with its sender."""
        if self._has_room(self._held[-1]):
            logged = self._held[-1].messages.add()
            logged.CopyFrom(message)
            logged.sender_name = sender

    def close(
        self,
        state: TrialState.ValueType,
        actions: Iterable[Action | None],
        defaulted: Iterable[int],
        unavailable: Iterable[int],
    ) -> None:
        """End the open sample.

        Args:
            state: State of the trial as the tick ends.
            actions: What each actor did in the tick, None for nothing.
            defaulted: Indexes of the actors whose default action was used.
            unavailable: Indexes of the actors that had no action at all.
        """
        sample = self._held[-1]
        sample.info.state = state
        for action in actions:
            if action is None:
                sample.actions.add().tick_id = NO_ACTION_TICK
            else:
                sample.actions.append(action)
        sample.default_actors.extend(defaulted)
        sample.unavailable_actors.extend(unavailable)

    def release(self) -> None:
        """Let go of the samples that are old enough."""
        while len(self._held) > self._window:
            self._sink(self._held.popleft())

    def finish(self) -> None:
        """Let go of all samples."""
        while self._held:
            self._sink(self._held.popleft())

    @staticmethod
    def _add_reward(sample: DatalogSample, reward: Reward, sender: str | None) -> None:
        logged = sample.rewards.add()
        logged.CopyFrom(reward)
        if sender is not None:
            for source in logged.sources:
                source.sender_name = sender

    def _has_room(self, sample: DatalogSample) -> bool:
        if len(sample.rewards) + len(sample.messages) < self._records:
            return True
        event = f"Incomplete sample: only the first {self._records} rewards and messages are in it"
        if event not in sample.info.special_events:
            sample.info.special_events.append(event)
        return False
