"""The user's functions that a Context serves, and which of them runs a given environment or actor."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cogment_core.directory import ServiceType
from cogment_core.errors import UsageError
from cogment_core.logs import logger

__all__ = ["Component", "Implementation", "Implementations"]

Callback = Callable[[Any], Awaitable[object]]


@dataclass(frozen=True)
class Component:
    """Something that a Context serves, as it can be looked for."""

    type: ServiceType
    """What it is."""
    implementation: str = ""
    """Name of the implementation; empty for hooks and datalogs."""
    actor_class: str | None = None
    """The class of actors that it runs; None for any, and for what is no actor."""
    properties: Mapping[str, str] = field(default_factory=dict[str, str])
    """The user's properties."""


@dataclass(frozen=True)
class Implementation:
    """A function of the user, registered under a name."""

    name: str
    """Name of the implementation; empty for hooks and datalogs."""
    impl: Callback
    """Called with the session."""
    actor_classes: tuple[str, ...] = ()
    """The classes of actors that it can run; empty for any, and for what is no actor."""
    properties: Mapping[str, str] = field(default_factory=dict[str, str])
    """The user's properties."""

    def runs(self, actor_class: str) -> bool:
        """Whether it can run actors of this class."""
        return not self.actor_classes or actor_class in self.actor_classes


@dataclass
class Implementations:
    """Everything that is registered with a Context."""

    actors: dict[str, Implementation] = field(default_factory=dict[str, Implementation])
    environments: dict[str, Implementation] = field(default_factory=dict[str, Implementation])
    hook: Implementation | None = None
    datalog: Implementation | None = None

    def __bool__(self) -> bool:
        return bool(self.actors or self.environments or self.hook or self.datalog)

    def environment(self, name: str) -> Implementation:
        """The environment called ``name``; the first one registered if the name is empty.

        Raises:
            UsageError: There is none.
        """
        if not name and self.environments:
            return next(iter(self.environments.values()))
        if name not in self.environments:
            known = ", ".join(self.environments) or "none"
            raise UsageError(f"environment implementation {name!r} is not registered here (registered: {known})")
        return self.environments[name]

    def actor(self, name: str, actor_class: str) -> Implementation:
        """The implementation called ``name`` for an actor of ``actor_class``.

        Without a name, and with a warning for an unknown name, any that runs the class will do.

        Raises:
            UsageError: There is none that runs this class, or the one asked for does not.
        """
        named = self.actors.get(name)
        if named is not None:
            if not named.runs(actor_class):
                raise UsageError(f"actor implementation {name!r} does not run actors of class {actor_class!r}")
            return named
        for candidate in self.actors.values():
            if candidate.runs(actor_class):
                if name:
                    logger.warning("actor implementation %r is unknown: running %r instead", name, candidate.name)
                return candidate
        raise UsageError(f"no implementation is registered here for actors of class {actor_class!r}")

    def components(self) -> tuple[Component, ...]:
        """What can be looked for: for actors, one component for each class."""
        found: list[Component] = []
        for actor in self.actors.values():
            for actor_class in actor.actor_classes or (None,):
                found.append(Component(ServiceType.ACTOR, actor.name, actor_class, actor.properties))
        for environment in self.environments.values():
            found.append(Component(ServiceType.ENVIRONMENT, environment.name, None, environment.properties))
        for kind, single in ((ServiceType.HOOK, self.hook), (ServiceType.DATALOG, self.datalog)):
            if single is not None:
                found.append(Component(kind, properties=single.properties))
        return tuple(found)
