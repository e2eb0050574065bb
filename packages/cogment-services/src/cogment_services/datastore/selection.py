"""What readers want of samples: some actors, some fields."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cogment_core.api.common_pb2 import TrialParams
from cogment_core.api.trial_datastore_pb2 import (
    RetrieveSamplesRequest,
    StoredTrialActorSample,
    StoredTrialSample,
    StoredTrialSampleField,
)
from cogment_core.errors import UsageError

__all__ = ["check_fields", "selection"]

_FIELDS = {
    StoredTrialSampleField.STORED_TRIAL_SAMPLE_FIELD_OBSERVATION: "observation",
    StoredTrialSampleField.STORED_TRIAL_SAMPLE_FIELD_ACTION: "action",
    StoredTrialSampleField.STORED_TRIAL_SAMPLE_FIELD_REWARD: "reward",
    StoredTrialSampleField.STORED_TRIAL_SAMPLE_FIELD_RECEIVED_REWARDS: "received_rewards",
    StoredTrialSampleField.STORED_TRIAL_SAMPLE_FIELD_SENT_REWARDS: "sent_rewards",
    StoredTrialSampleField.STORED_TRIAL_SAMPLE_FIELD_RECEIVED_MESSAGES: "received_messages",
    StoredTrialSampleField.STORED_TRIAL_SAMPLE_FIELD_SENT_MESSAGES: "sent_messages",
}


def check_fields(request: RetrieveSamplesRequest) -> None:
    """Refuse fields that there are not.

    Raises:
        UsageError: There is one.
    """
    for number in request.selected_sample_fields:
        if number not in StoredTrialSampleField.values():
            raise UsageError(f"samples have no field {number}; there are 1 to {max(StoredTrialSampleField.values())}")


def selection(request: RetrieveSamplesRequest, params: TrialParams) -> Callable[[bytes], bytes] | None:
    """What makes of serialized samples of a trial what was asked for; None if that is all of them.

    Args:
        request: What was asked for.
        params: Parameters of the trial.
    """
    wanted = (set(request.actor_names), set(request.actor_classes), set(request.actor_implementations))
    if not any(wanted) and not request.selected_sample_fields:
        return None
    actors = {
        index
        for index, actor in enumerate(params.actors)
        if all(
            not some or value in some
            for some, value in zip(wanted, (actor.name, actor.actor_class, actor.implementation), strict=True)
        )
    }
    fields = {_FIELDS[number] for number in request.selected_sample_fields if number in _FIELDS}
    excluded = set(_FIELDS.values()) - fields if request.selected_sample_fields else set[str]()
    return lambda sample: _select(sample, actors, excluded)


def _select(serialized: bytes, actors: set[int], excluded: Iterable[str]) -> bytes:
    """A sample with these actors only, and without these fields; payloads that nothing refers to become empty."""
    sample = StoredTrialSample.FromString(serialized)
    kept = [actor for actor in sample.actor_samples if actor.actor in actors]
    referred: set[int] = set()
    for actor in kept:
        for name in excluded:
            actor.ClearField(name)  # type: ignore[arg-type]
        referred.update(_payloads(actor))
    selected = StoredTrialSample(
        user_id=sample.user_id,
        trial_id=sample.trial_id,
        tick_id=sample.tick_id,
        timestamp=sample.timestamp,
        state=sample.state,
        actor_samples=kept,
        payloads=[payload if index in referred else b"" for index, payload in enumerate(sample.payloads)],
    )
    return selected.SerializeToString()


def _payloads(actor: StoredTrialActorSample) -> Iterable[int]:
    """Indexes of the payloads that ``actor`` refers to."""
    if actor.HasField("observation"):
        yield actor.observation
    if actor.HasField("action"):
        yield actor.action
    for reward in (*actor.received_rewards, *actor.sent_rewards):
        if reward.HasField("user_data"):
            yield reward.user_data
    for message in (*actor.received_messages, *actor.sent_messages):
        yield message.payload
