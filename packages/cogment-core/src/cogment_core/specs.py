"""What a ``cog_settings`` module holds: the types that a trial's payloads have."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic, Protocol, overload

import google.protobuf
from google.protobuf.message import Message

from cogment_core.errors import SpecsError
from cogment_core.hints import hint

if TYPE_CHECKING:
    # Type checkers bring typing_extensions along; at run time nobody reads the defaults.
    from typing_extensions import TypeVar

    ConfigTypeT = TypeVar("ConfigTypeT", default=Any)
    ActionT = TypeVar("ActionT", bound=Message, default=Any)
    ObservationT = TypeVar("ObservationT", bound=Message, default=Any)
else:
    from typing import TypeVar

    ConfigTypeT = TypeVar("ConfigTypeT")
    ActionT = TypeVar("ActionT", bound=Message)
    ObservationT = TypeVar("ObservationT", bound=Message)

DefaultT = TypeVar("DefaultT")

__all__ = [
    "ActorClass",
    "ActorClassList",
    "CogSettings",
    "ConfigHolder",
    "ConfigSpec",
    "actor_class_of",
    "require_protobuf",
]


class ConfigHolder(Protocol):
    """``cog_settings.trial`` and ``cog_settings.environment``."""

    @property
    def config_type(self) -> type[Message] | None:
        """Type of the config, None if there is none."""
        ...


class CogSettings(Protocol):
    """A module made by the generator from a spec file."""

    @property
    def actor_classes(self) -> ActorClassList:
        """The actor classes in the order of the spec file."""
        ...

    @property
    def trial(self) -> ConfigHolder:
        """Config of the trial."""
        ...

    @property
    def environment(self) -> ConfigHolder:
        """Config of the environment."""
        ...


class ConfigSpec(Generic[ConfigTypeT]):
    """The config type of the trial or of the environment: a `ConfigHolder`.

    Args:
        config_type: Type of the config, None if there is none.
    """

    def __init__(self, config_type: ConfigTypeT) -> None:
        self.config_type = config_type

    def __repr__(self) -> str:
        return f"ConfigSpec({self.config_type!r})"


class ActorClass(Generic[ConfigTypeT, ActionT, ObservationT]):
    """The payload types of one class of actors.

    For type checkers the parameters are the type of ``config_type`` (``type[SomeConfig]``, or ``None``), the action and
    the observation; all may be left out.

    Args:
        name: Name of the class, as in ``actor_classes:name`` of the spec file.
        config_type: Type of the actor's config, None if the class has none.
        action_space: Type of the actions.
        observation_space: Type of the observations.
    """

    def __init__(
        self,
        name: str,
        config_type: ConfigTypeT,
        action_space: type[ActionT],
        observation_space: type[ObservationT],
    ) -> None:
        self.name = name
        self.config_type = config_type
        self.action_space = action_space
        self.observation_space = observation_space

    def __repr__(self) -> str:
        return f"ActorClass({self.name!r})"


class ActorClassList:
    """The actor classes of a spec, by attribute, by name and in order.

    ``actor_classes.player``, ``actor_classes["player"]``, ``"player" in actor_classes`` and iteration all work.
    """

    def __init__(self, *actor_classes: ActorClass) -> None:
        self._actor_classes = {actor_class.name: actor_class for actor_class in actor_classes}

    def __getattr__(self, name: str) -> ActorClass:
        if name.startswith("__") or name == "_actor_classes":
            raise AttributeError(name)
        return self[name]

    def __getitem__(self, name: str) -> ActorClass:
        try:
            return self._actor_classes[name]
        except KeyError:
            # An AttributeError because this is also attribute access, and existing code expects it for both.
            raise AttributeError(
                f"actor class {name!r} is not in the specs; {hint(name, self._actor_classes)}"
            ) from None

    def __contains__(self, name: object) -> bool:
        return name in self._actor_classes

    def __iter__(self) -> Iterator[ActorClass]:
        return iter(self._actor_classes.values())

    def __len__(self) -> int:
        return len(self._actor_classes)

    @overload
    def get(self, name: str) -> ActorClass | None: ...
    @overload
    def get(self, name: str, default: DefaultT) -> ActorClass | DefaultT: ...
    def get(self, name: str, default: DefaultT | None = None) -> ActorClass | DefaultT | None:
        """The class called ``name``, or ``default``."""
        return self._actor_classes.get(name, default)

    def get_class_by_index(self, index: int) -> ActorClass:
        """The class at ``index`` in the order of the spec file."""
        return list(self._actor_classes.values())[index]


def actor_class_of(settings: CogSettings | None, name: str) -> ActorClass:
    """The class ``name`` of ``settings``.

    Raises:
        SpecsError: There are no specs, or they do not have this class.
    """
    if settings is None:
        raise SpecsError(f"specs (cog_settings) are needed to read payloads of actor class {name!r}")
    found = settings.actor_classes.get(name)
    if found is None:
        known = (actor_class.name for actor_class in settings.actor_classes)
        raise SpecsError(f"actor class {name!r} is not in the specs; {hint(name, known)}")
    return found


def require_protobuf(version: str) -> None:
    """Check that the installed protobuf can load modules that were generated for ``version``.

    Generated ``cog_settings`` modules call this before they import the ``*_pb2`` modules beside them, because not every
    protobuf says itself what is wrong.

    Raises:
        SpecsError: The installed protobuf is older.
    """
    installed = google.protobuf.__version__
    if _release(installed) < _release(version):
        raise SpecsError(
            f"cog_settings and its *_pb2 modules were generated for protobuf {version} or newer, and {installed} is "
            f"installed here: run pip install 'protobuf>={version}', or generate them again with the grpcio-tools "
            "of this environment (python -m cogment.generate)"
        )


def _release(version: str) -> tuple[int, ...]:
    numbers = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(number) for number in numbers.group().split(".")) if numbers else ()
