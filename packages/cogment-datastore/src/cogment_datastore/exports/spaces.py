"""The message types of the actors that are exported."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from cogment_core.specs import ActorClass, CogSettings, actor_class_of
from cogment_datastore.exports.descriptors import descriptor_of
from cogment_datastore.exports.errors import ExportError

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor
    from google.protobuf.message import Message

__all__ = ["common_action", "common_observation"]


def common_observation(settings: CogSettings, actor_classes: Iterable[str]) -> Descriptor | None:
    """The one type of observations of ``actor_classes``; None if there are no classes.

    Raises:
        SpecsError: The specs do not have a class.
        ExportError: They have several types.
    """
    return _common(settings, actor_classes, "observations", lambda actor_class: actor_class.observation_space)


def common_action(settings: CogSettings, actor_classes: Iterable[str]) -> Descriptor | None:
    """The one type of actions of ``actor_classes``; None if there are no classes.

    Raises:
        SpecsError: The specs do not have a class.
        ExportError: They have several types.
    """
    return _common(settings, actor_classes, "actions", lambda actor_class: actor_class.action_space)


def _common(
    settings: CogSettings,
    actor_classes: Iterable[str],
    what: str,
    space_of: Callable[[ActorClass], type[Message]],
) -> Descriptor | None:
    found = {name: descriptor_of(space_of(actor_class_of(settings, name))) for name in actor_classes}
    if len({descriptor.full_name for descriptor in found.values()}) > 1:
        types = ", ".join(f"{descriptor.full_name} of {name!r}" for name, descriptor in found.items())
        raise ExportError(f"the {what} are of several types ({types}): select one of the classes with actor_classes")
    return next(iter(found.values()), None)
