"""What is attached to an Orchestrator within its process."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from cogment_core.endpoints import ServiceType
from cogment_core.inprocess import InProcessEndpoint

if TYPE_CHECKING:
    from cogment_core.implementations import Component

__all__ = ["AttachedComponents"]


class AttachedComponents:
    """What is attached to the Orchestrator within its process."""

    def __init__(self) -> None:
        self._found: list[tuple[Component, InProcessEndpoint]] = []

    def add(self, components: Iterable[Component], endpoint: InProcessEndpoint) -> None:
        """Attach ``components``, which are reached at ``endpoint`` until its server is stopped."""
        self._found = [*self._of_servers_that_run(), *((component, endpoint) for component in components)]

    def find(self, wanted: ServiceType, properties: Mapping[str, str]) -> InProcessEndpoint | None:
        """Where the first component of this type with these properties is, None if there is none."""
        for component, endpoint in self._of_servers_that_run():
            if component.type is wanted and _fits(component, properties):
                return endpoint
        return None

    def known(self, wanted: ServiceType) -> str:
        """What there is of this type, for messages."""
        names = [_describe(component) for component, _ in self._of_servers_that_run() if component.type is wanted]
        return ", ".join(names) or "none"

    def _of_servers_that_run(self) -> Iterator[tuple[Component, InProcessEndpoint]]:
        return (found for found in self._found if not found[1].server.is_stopped)


def _fits(component: Component, properties: Mapping[str, str]) -> bool:
    for name, value in properties.items():
        if name == "__implementation":
            fits = component.implementation == value
        elif name == "__actor_class":
            fits = component.actor_class in (None, value)
        else:
            fits = component.properties.get(name) == value
        if not fits:
            return False
    return True


def _describe(component: Component) -> str:
    name = component.implementation or "unnamed"
    return f"{name} for {component.actor_class}" if component.actor_class else name
