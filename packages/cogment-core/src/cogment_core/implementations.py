"""The user's functions that a Context serves, and which of them runs a given environment or actor."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cogment_core.checks import as_text, wrong
from cogment_core.endpoints import ServiceType
from cogment_core.errors import UsageError
from cogment_core.hints import hint
from cogment_core.logs import logger

if TYPE_CHECKING:
    from cogment_core.specs import CogSettings

__all__ = ["Callback", "Component", "Implementation", "Implementations"]

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
    """A function of the user, registered under a name.

    Raises:
        UsageError: The function is none, or the name or a property is no text.
    """

    name: str
    """Name of the implementation; empty for hooks and datalogs."""
    impl: Callback
    """Called with the session."""
    actor_classes: tuple[str, ...] = ()
    """The classes of actors that it can run; empty for any, and for what is no actor."""
    properties: Mapping[str, str] = field(default_factory=dict[str, str])
    """The user's properties."""

    def __post_init__(self) -> None:
        if not callable(self.impl):
            raise wrong("impl", "an async function", self.impl)
        as_text("impl_name", self.name)
        for name, value in self.properties.items():
            as_text("the name of a property", name)
            as_text(f"property {name!r}", value)

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

    def add_environment(self, added: Implementation) -> None:
        """Register an environment.

        Raises:
            UsageError: The name is taken, or a property has a reserved name.
        """
        _check_properties(added, "__implementation")
        if added.name in self.environments:
            raise UsageError(f"an environment implementation {added.name!r} is registered already")
        self.environments[added.name] = added

    def add_actor(self, added: Implementation, settings: CogSettings | None) -> None:
        """Register an implementation of actors.

        Raises:
            UsageError: The name is taken, a property has a reserved name, or a class is not in the specs.
        """
        _check_properties(added, "__actor_class", "__implementation")
        if added.name in self.actors:
            raise UsageError(f"an actor implementation {added.name!r} is registered already")
        known = None if settings is None else [actor_class.name for actor_class in settings.actor_classes]
        for name in added.actor_classes:
            if known is not None and name not in known:
                raise UsageError(f"actor class {name!r} is not in the specs; {hint(name, known)}")
        self.actors[added.name] = added

    def add_hook(self, added: Implementation) -> None:
        """Register the pre-trial hook.

        Raises:
            UsageError: There is one already.
        """
        if self.hook is not None:
            raise UsageError("a pre-trial hook is registered already, and there can be only one in a Context")
        self.hook = added

    def add_datalog(self, added: Implementation) -> None:
        """Register the datalog.

        Raises:
            UsageError: There is one already.
        """
        if self.datalog is not None:
            raise UsageError("a datalog is registered already, and there can be only one in a Context")
        self.datalog = added

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

    def first_class_of(self, name: str) -> str:
        """The first of the classes of actors that the implementation called ``name`` was registered for.

        Raises:
            UsageError: There is no such implementation, or it was registered without classes.
        """
        named = self.actors.get(name)
        if named is None or not named.actor_classes:
            raise UsageError(f"no actor implementation {name!r} with an actor class is registered")
        return named.actor_classes[0]

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


def _check_properties(added: Implementation, *reserved: str) -> None:
    for name in reserved:
        if name in added.properties:
            raise UsageError(f"the property {name!r} is set by Cogment itself")
