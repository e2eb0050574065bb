"""The parameters of the actors of a trial."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterable, Mapping, MutableSequence, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex, cast, overload

from google.protobuf.message import Message

from cogment_core.api import common_pb2
from cogment_core.checks import as_flag, as_seconds, as_text
from cogment_core.errors import SpecsError, UsageError
from cogment_core.fields import Fields, PayloadField, ReadOnlyField, ScalarField, SerializedField
from cogment_core.hints import hint
from cogment_core.logs import logger
from cogment_core.specs import ActorClass, CogSettings, actor_class_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from cogment_core.parameter_keywords import ActorKeywords

__all__ = ["ActorParameters", "ActorParametersList"]


class ActorParameters(Fields[common_pb2.ActorParams]):
    """The parameters of an actor of a trial.

    Attributes can be set to None to reset them to their default. ``config`` and ``default_action`` are copies: to
    change them, assign them anew.

    Args:
        cog_settings: The specs, None if they are not known.
        class_name: Name of the actor's class in the specs.
        actor_class: The same, under its other name.
        **kwargs: Values of attributes.

    Raises:
        UsageError: The class is missing, or a value is wrong.
        SpecsError: ``config`` or ``default_action`` is given, and the specs have no type for it.
    """

    class_name = ReadOnlyField("actor_class", as_text)
    """Name of the actor's class in the specs. It cannot be changed."""
    actor_class = ReadOnlyField("actor_class", as_text)
    """The same as `class_name`."""
    name = ScalarField("name", as_text)
    """Name of the actor, unique in its trial."""
    endpoint = ScalarField("endpoint", as_text)
    """Where the actor is: an endpoint URL; empty to ask the Directory, ``cogment://client`` for one that joins."""
    implementation = ScalarField("implementation", as_text)
    """Which of the implementations there to use; empty for any."""
    config = PayloadField("config", lambda actor: cast("ActorParameters", actor)._config_type())
    """Config for the actor, of the ``config_type`` of its class; None if there is none."""
    config_serialized = SerializedField("config")
    """The config in serialized form; available without specs."""
    initial_connection_timeout = ScalarField("initial_connection_timeout", as_seconds)
    """Seconds that the actor has to join; 0 for no limit."""
    response_timeout = ScalarField("response_timeout", as_seconds)
    """Seconds that the actor has to act; 0 for no limit."""
    optional = ScalarField("optional", as_flag)
    """Whether the trial goes on without the actor."""
    default_action = PayloadField("default_action", lambda actor: cast("ActorParameters", actor)._action_space())
    """Action of an optional actor that does not act, of the action space of its class; None if there is none."""
    default_action_serialized = SerializedField("default_action")
    """The default action in serialized form; available without specs."""

    def __init__(
        self,
        cog_settings: CogSettings | None,
        class_name: str | None = None,
        *,
        actor_class: str | None = None,
        **kwargs: Unpack[ActorKeywords],
    ) -> None:
        chosen = _one_class_name(class_name, actor_class)
        self._bind(cog_settings, common_pb2.ActorParams(actor_class=chosen))
        if cog_settings is not None and chosen not in cog_settings.actor_classes:
            known = (known.name for known in cog_settings.actor_classes)
            logger.warning("ActorParameters: actor class %r is not in the specs; %s", chosen, hint(chosen, known))
        self._assign(cast("Mapping[str, Any]", kwargs))

    @property
    def actor_class_spec(self) -> ActorClass | None:
        """The payload types of the actor's class; None without specs.

        Raises:
            SpecsError: The specs do not have the class.
        """
        return None if self._settings is None else actor_class_of(self._settings, self.class_name)

    def _config_type(self) -> type[Message] | None:
        spec = self.actor_class_spec
        if spec is not None and spec.config_type is None:
            raise SpecsError(f"actor class {spec.name!r} has no config_type in the specs, so there can be no config")
        return None if spec is None else cast("type[Message]", spec.config_type)

    def _action_space(self) -> type[Message] | None:
        spec = self.actor_class_spec
        return None if spec is None else spec.action_space


def _one_class_name(class_name: object, actor_class: object) -> str:
    chosen = class_name if class_name is not None else actor_class
    if not isinstance(chosen, str) or not chosen:
        raise UsageError(f"ActorParameters needs the name of the actor's class as class_name, not {chosen!r}")
    if actor_class is not None and actor_class != chosen:
        raise UsageError(f"class_name {class_name!r} and actor_class {actor_class!r} are names of the same thing")
    return as_text("class_name", chosen)


class ActorParametersList(MutableSequence[ActorParameters]):
    """The parameters of the actors of a trial: a list whose items are live.

    ``actors[0].name = "x"`` changes the trial's parameters. Putting an item in copies it. Items can be read, replaced
    and deleted by index and by the name of the actor; of several of that name, it is the first.

    Args:
        cog_settings: The specs, None if they are not known.
        proto: The parameters of the trial, that hold the actors'.
    """

    def __init__(self, cog_settings: CogSettings | None, proto: common_pb2.TrialParams) -> None:
        self._settings = cog_settings
        self._proto = proto

    @property
    def _held(self) -> Any:
        # Asked for anew each time: copying into the trial's parameters replaces it.
        return self._proto.actors

    def _item(self, actor: common_pb2.ActorParams) -> ActorParameters:
        return ActorParameters.from_proto(self._settings, actor)

    def _index(self, key: object) -> int:
        size = len(self)
        if isinstance(key, str):
            return self.index_of(key)
        try:
            index = operator.index(cast("SupportsIndex", key))
        except TypeError:
            raise UsageError(f"an actor is found by index or name, not by {key!r}") from None
        if not -size <= index < size:
            raise IndexError(f"there is no actor #{index}: the trial has {size}")
        return index % size

    def index_of(self, name: str) -> int:
        """Index of the first actor called ``name``.

        Raises:
            UsageError: There is none.
        """
        for index, actor in enumerate(self._held):
            if actor.name == name:
                return index
        raise UsageError(f"no actor is called {name!r}; {hint(name, (actor.name for actor in self._held))}")

    def __len__(self) -> int:
        return len(self._held)

    @overload
    def __getitem__(self, index: SupportsIndex | str) -> ActorParameters: ...
    @overload
    def __getitem__(self, index: slice) -> list[ActorParameters]: ...
    def __getitem__(self, index: SupportsIndex | str | slice) -> ActorParameters | list[ActorParameters]:
        if isinstance(index, slice):
            return [self._item(actor) for actor in self._held[index]]
        return self._item(self._held[self._index(index)])

    @overload
    def __setitem__(self, index: SupportsIndex | str, value: ActorParameters) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[ActorParameters]) -> None: ...
    def __setitem__(self, index: SupportsIndex | str | slice, value: Any) -> None:
        if isinstance(index, slice):
            self._set_slice(index, [_copied(item) for item in value])
        else:
            self._replace(self._index(index), _copied(value))

    def _set_slice(self, index: slice, actors: list[common_pb2.ActorParams]) -> None:
        start, stop, step = index.indices(len(self))
        if step == 1:
            del self[start:stop]
            for offset, actor in enumerate(actors):
                self._held.insert(start + offset, actor)
            return
        places = range(start, stop, step)
        if len(places) != len(actors):
            raise ValueError(f"{len(actors)} actors cannot be assigned to a slice of {len(places)}")
        for place, actor in zip(places, actors, strict=True):
            self._replace(place, actor)

    def _replace(self, index: int, actor: common_pb2.ActorParams) -> None:
        # Not copied over the old one, which may be in use: ``a[0], a[1] = a[1], a[0]``.
        self._held.insert(index, actor)
        del self._held[index + 1]

    def __delitem__(self, index: SupportsIndex | str | slice) -> None:
        places = range(len(self))[index] if isinstance(index, slice) else [self._index(index)]
        # One by one: protobuf (4.25 to 7.36) crashes on deletion of a slice whose step is not 1.
        for place in sorted(places, reverse=True):
            del self._held[place]

    def insert(self, index: SupportsIndex, value: ActorParameters) -> None:
        """Insert a copy of ``value`` before ``index``."""
        self._held.insert(operator.index(index), _copied(value))

    def extend(self, values: Iterable[ActorParameters]) -> None:
        """Append copies of ``values``, which may come from this list."""
        self._held.extend([_copied(value) for value in values])

    def clear(self) -> None:
        """Remove all."""
        del self._held[:]

    def index(self, value: Any, start: int = 0, stop: int = sys.maxsize) -> int:
        """Index of the first item that equals ``value``. `index_of` finds by name."""
        return self[:].index(value, start, stop)

    def copy(self) -> list[ActorParameters]:
        """A plain list of the live items."""
        return self[:]

    def reverse(self) -> None:
        """Reverse the order; items stay live."""
        self._held.reverse()

    def sort(self, *, key: Callable[[ActorParameters], Any], reverse: bool = False) -> None:
        """Sort by ``key``; items stay live."""

        def key_of(actor: common_pb2.ActorParams) -> Any:
            return key(self._item(actor))

        self._held.sort(key=key_of, reverse=reverse)

    def __contains__(self, value: object) -> bool:
        if isinstance(value, str):
            return any(actor.name == value for actor in self._held)
        return super().__contains__(value)

    def __add__(self, other: Iterable[ActorParameters]) -> list[ActorParameters]:
        return [*self, *other]

    def __radd__(self, other: Iterable[ActorParameters]) -> list[ActorParameters]:
        return [*other, *self]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (list, ActorParametersList)):
            return NotImplemented
        items = cast("Sequence[object]", other)
        return len(self) == len(items) and all(mine == theirs for mine, theirs in zip(self, items, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self[:])


def _copied(actor: object) -> common_pb2.ActorParams:
    if not isinstance(actor, ActorParameters):
        raise UsageError(f"an actor's parameters are an ActorParameters, not {type(actor).__name__}")
    result = common_pb2.ActorParams()
    result.CopyFrom(actor.to_proto())
    return result
