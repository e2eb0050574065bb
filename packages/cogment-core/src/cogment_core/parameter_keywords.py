"""The keywords of `ActorParameters` and `TrialParameters`, for type checkers; nothing needs them at run time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypedDict

from google.protobuf.message import Message

from cogment_core.actor_parameters import ActorParameters

__all__ = ["ActorKeywords", "TrialKeywords"]


class ActorKeywords(TypedDict, total=False):
    """What `ActorParameters` takes as keywords."""

    name: str | None
    endpoint: str | None
    implementation: str | None
    config: Message | None
    config_serialized: bytes | None
    initial_connection_timeout: float | None
    response_timeout: float | None
    optional: bool | None
    default_action: Message | None
    default_action_serialized: bytes | None


class TrialKeywords(TypedDict, total=False):
    """What `TrialParameters` takes as keywords."""

    config: Message | None
    config_serialized: bytes | None
    properties: Mapping[str, str] | None
    max_steps: int | None
    max_inactivity: int | None
    nb_buffered_ticks: int | None
    datalog_endpoint: str | None
    datalog_exclude_fields: Iterable[str] | None
    environment_config: Message | None
    environment_config_serialized: bytes | None
    environment_serialized: bytes | None
    environment_name: str | None
    environment_endpoint: str | None
    environment_implementation: str | None
    actors: Iterable[ActorParameters] | None
