"""Actors: their sessions, and the classes of actors that specs define."""

from __future__ import annotations

from cogment_core.sessions.actor import ActorSession
from cogment_core.specs import ActorClass, ActorClassList

__all__ = ["ActorClass", "ActorClassList", "ActorSession"]
