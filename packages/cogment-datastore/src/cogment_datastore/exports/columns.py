"""What a row says besides observation and action."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from cogment_datastore.fields import DatastoreFields

if TYPE_CHECKING:
    from google.protobuf.any_pb2 import Any as AnyMessage

    from cogment_datastore.exports.selection import Row, Selection
    from cogment_datastore.sample import DatastoreActorData, DatastoreMessage, DatastoreReward

__all__ = ["EXCHANGES", "IDENTITY", "exchanges", "identity"]

IDENTITY = ("trial_id", "tick_id", "timestamp", "trial_state", "actor", "actor_class", "implementation")
"""Columns that say what a row is about."""

EXCHANGES: dict[str, tuple[DatastoreFields, bool, Callable[[DatastoreActorData], Iterable[Any]]]] = {
    "received_rewards": (DatastoreFields.RECEIVED_REWARDS, True, lambda data: data.all_received_rewards()),
    "sent_rewards": (DatastoreFields.SENT_REWARDS, True, lambda data: data.all_sent_rewards()),
    "received_messages": (DatastoreFields.RECEIVED_MESSAGES, False, lambda data: data.all_received_messages()),
    "sent_messages": (DatastoreFields.SENT_MESSAGES, False, lambda data: data.all_sent_messages()),
}
"""Columns of lists: the field that asks for each, whether it has rewards rather than messages, and what gives them."""


def identity(row: Row) -> dict[str, Any]:
    """What ``row`` is about. The timestamp is in nanoseconds since the Unix epoch."""
    sample, data = row
    return {
        "trial_id": sample.trial_id,
        "tick_id": sample.tick_id,
        "timestamp": sample.timestamp,
        "trial_state": sample.trial_state.name,
        "actor": data.name,
        "actor_class": data.actor_class,
        "implementation": data.implementation,
    }


def exchanges(row: Row, selection: Selection, of_bytes: Callable[[bytes], Any]) -> dict[str, list[dict[str, Any]]]:
    """The rewards and messages of ``row`` that are selected."""
    return {
        name: [(_reward if is_reward else _message)(it, of_bytes) for it in entries(row.data)]
        for name, (field, is_reward, entries) in EXCHANGES.items()
        if selection.has(field)
    }


def _reward(reward: DatastoreReward, of_bytes: Callable[[bytes], Any]) -> dict[str, Any]:
    return {
        "value": reward.value,
        "confidence": reward.confidence,
        "sender": reward.sender,
        "receiver": reward.receiver,
        "user_data": None if reward.user_data is None else _any(reward.user_data, of_bytes),
    }


def _message(message: DatastoreMessage, of_bytes: Callable[[bytes], Any]) -> dict[str, Any]:
    return {
        "sender": message.sender,
        "receiver": message.receiver,
        "payload": _any(message.payload, of_bytes),
    }


def _any(value: AnyMessage, of_bytes: Callable[[bytes], Any]) -> dict[str, Any]:
    return {"type_url": value.type_url, "value": of_bytes(value.value)}
