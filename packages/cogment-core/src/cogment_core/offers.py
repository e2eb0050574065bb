"""What is registered in a Directory of what is served."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cogment_core.endpoints import ServiceType
from cogment_core.logs import logger

if TYPE_CHECKING:
    from cogment_core.implementations import Component
    from cogment_core.specs import CogSettings

__all__ = ["Offer", "component_offers", "reachable_host", "release"]

_SOURCE = "PythonSDK-Implicit"
_ALL_INTERFACES = ("", "0.0.0.0", "::", "[::]")


@dataclass(frozen=True)
class Offer:
    """A service to register."""

    type: ServiceType
    """What it is."""
    port: int
    """Its port."""
    properties: Mapping[str, str] = field(default_factory=dict[str, str])
    """What it can be found by."""


def component_offers(components: Iterable[Component], settings: CogSettings | None, port: int) -> list[Offer]:
    """One offer for each of ``components``; for actors, one for each class, which may be all classes of the specs."""
    return [
        Offer(component.type, port, _properties(one)) for component in components for one in _each(component, settings)
    ]


def _each(component: Component, settings: CogSettings | None) -> Iterator[Component]:
    from dataclasses import replace

    if component.type is not ServiceType.ACTOR or component.actor_class is not None:
        yield component
    elif settings is None:
        logger.warning(
            "actor implementation %r is registered without actor classes, and there are no specs to take them from: in "
            "the Directory it can only be found by its name",
            component.implementation,
        )
        yield component
    else:
        for actor_class in settings.actor_classes:
            yield replace(component, actor_class=actor_class.name)


def _properties(component: Component) -> dict[str, str]:
    properties = {**component.properties, "__registration_source": _SOURCE, "__version": release()}
    if component.type in (ServiceType.ACTOR, ServiceType.ENVIRONMENT):
        properties["__implementation"] = component.implementation
    if component.actor_class is not None:
        properties["__actor_class"] = component.actor_class
    return properties


def reachable_host(listening: str | None) -> str | None:
    """The host to register for what listens on ``listening``; None if that is all interfaces."""
    return None if listening is None or listening in _ALL_INTERFACES else listening.strip("[]")


@functools.lru_cache(maxsize=1)
def release() -> str:
    """The version that services are registered with."""
    from importlib import metadata  # takes long to import

    return metadata.version("cogment-core")
