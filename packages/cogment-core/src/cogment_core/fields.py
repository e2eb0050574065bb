"""Attributes of an object that are kept in a protobuf message.

A class declares them, and has them typed, checked and documented::

    class Room(Fields[room_pb2.Room]):
        name = ScalarField("name", as_text)
        size = ScalarField("geometry.size", as_whole(0, 100))

``geometry.size`` is the field ``size`` in the sub-message ``geometry``. Reading takes the value from the message;
assigning checks it and writes it there; assigning None resets it to its default.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast, overload

from google.protobuf.message import Message

from cogment_core.checks import as_bytes, as_text, wrong
from cogment_core.endpoints import redact_url
from cogment_core.errors import UsageError
from cogment_core.hints import hint
from cogment_core.payloads import decode, require

if TYPE_CHECKING:
    from typing_extensions import Self

    from cogment_core.specs import CogSettings

__all__ = [
    "Field",
    "Fields",
    "MapField",
    "PayloadField",
    "ReadOnlyField",
    "ScalarField",
    "SerializedField",
    "TextsField",
]

MessageT = TypeVar("MessageT", bound=Message)
ReadT = TypeVar("ReadT")
WriteT = TypeVar("WriteT")
ScalarT = TypeVar("ScalarT")


class Fields(Generic[MessageT]):
    """Base of the classes whose attributes are fields.

    Args:
        cog_settings: The specs, None if they are not known.
        proto: The message that holds the values; not copied.
    """

    fields: ClassVar[dict[str, Field[Any, Any]]] = {}
    """The fields of the class, by name of the attribute."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        own: dict[str, Field[Any, Any]] = {name: it for name, it in vars(cls).items() if isinstance(it, Field)}
        cls.fields = {**cls.fields, **own}

    def _bind(self, cog_settings: CogSettings | None, proto: MessageT) -> None:
        self._settings = cog_settings
        self._proto = proto

    def _assign(self, values: Mapping[str, Any]) -> None:
        for name, value in values.items():
            if name not in self.fields:
                raise UsageError(f"{type(self).__name__} has no parameter {name!r}: {hint(name, self.fields)}")
            setattr(self, name, value)

    @classmethod
    def from_proto(cls, cog_settings: CogSettings | None, proto: MessageT) -> Self:
        """Wrap ``proto`` without copying it: what is assigned is written there.

        Args:
            cog_settings: The specs, None if they are not known.
            proto: The message that holds the values.
        """
        result = cls.__new__(cls)
        result._bind(cog_settings, proto)
        return result

    def to_proto(self) -> MessageT:
        """The message that holds the values; not a copy."""
        return self._proto

    def has_specs(self) -> bool:
        """Whether the specs (``cog_settings``) are known, so that payloads can be read as messages."""
        return self._settings is not None

    def __setattr__(self, name: str, value: Any) -> None:
        # A misspelt attribute would be a setting that has no effect.
        if not name.startswith("_") and not hasattr(type(self), name):
            raise UsageError(f"{type(self).__name__} has no attribute {name!r}: {hint(name, self.fields)}")
        object.__setattr__(self, name, value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        return self._proto == other._proto

    __hash__ = None  # type: ignore[assignment]

    def __copy__(self) -> Self:
        proto = type(self._proto)()
        proto.CopyFrom(self._proto)
        return self.from_proto(self._settings, proto)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()

    def __repr__(self) -> str:
        shown: dict[str, str] = {}
        for name, field in self.fields.items():
            if not isinstance(field, PayloadField) and field.path not in shown:
                value = field.read(self)
                if value or isinstance(value, bytes):
                    shown[field.path] = f"{name}={_shown(name, value)}"
        return f"{type(self).__name__}({', '.join(shown.values())})"


def _shown(name: str, value: object) -> str:
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    return repr(redact_url(value)) if isinstance(value, str) and name.endswith("endpoint") else repr(value)


class Field(ABC, Generic[ReadT, WriteT]):
    """An attribute that is kept in a field of a protobuf message.

    Args:
        path: Name of the field, after the name of the sub-message and a dot if it is in one.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = path
        self._parent, _, self._leaf = path.rpartition(".")

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, holder: None, owner: type) -> Self: ...
    @overload
    def __get__(self, holder: Fields[Any], owner: type) -> ReadT: ...
    def __get__(self, holder: Fields[Any] | None, owner: type) -> Self | ReadT:
        return self if holder is None else self.read(holder)

    def __set__(self, holder: Fields[Any], value: WriteT | None) -> None:
        if value is None:
            self._clear(holder.to_proto())
        else:
            self.write(holder, value)

    @abstractmethod
    def read(self, holder: Fields[Any]) -> ReadT:
        """The value in the message of ``holder``."""

    @abstractmethod
    def write(self, holder: Fields[Any], value: WriteT) -> None:
        """Check ``value`` and write it to the message of ``holder``."""

    def _message(self, holder: Fields[Any]) -> Any:
        """The message that has the field."""
        proto = holder.to_proto()
        return getattr(proto, self._parent) if self._parent else proto

    def _clear(self, proto: Any) -> None:
        if not self._parent:
            proto.ClearField(self._leaf)
        elif proto.HasField(self._parent):
            part = getattr(proto, self._parent)
            part.ClearField(self._leaf)
            if not part.ByteSize():  # so that what was set and reset equals what was never set
                proto.ClearField(self._parent)


class ScalarField(Field[ScalarT, ScalarT]):
    """A number, text or flag.

    Args:
        path: See `Field`.
        check: Takes the attribute's name and what was assigned, and returns what to write.
    """

    def __init__(self, path: str, check: Callable[[str, object], ScalarT]) -> None:
        super().__init__(path)
        self._check = check

    def read(self, holder: Fields[Any]) -> ScalarT:
        """The value."""
        return cast("ScalarT", getattr(self._message(holder), self._leaf))

    def write(self, holder: Fields[Any], value: ScalarT) -> None:
        """Check and write ``value``."""
        checked = self._check(self.name, value)
        if checked or not self._parent:
            setattr(self._message(holder), self._leaf, checked)
        else:
            self._clear(holder.to_proto())


class ReadOnlyField(ScalarField[ScalarT]):
    """A value that is given when the object is made."""

    def __set__(self, holder: Fields[Any], value: ScalarT | None) -> None:
        raise UsageError(f"{self.name} of a {type(holder).__name__} cannot be changed: make a new one")


class MapField(Field[MutableMapping[str, str], Mapping[str, str]]):
    """Texts by name. What is read is live: to change it changes the message."""

    def read(self, holder: Fields[Any]) -> MutableMapping[str, str]:
        """The live mapping."""
        return cast("MutableMapping[str, str]", getattr(self._message(holder), self._leaf))

    def write(self, holder: Fields[Any], value: Mapping[str, str]) -> None:
        """Replace the mapping's content."""
        try:
            given = dict(value)
        except (TypeError, ValueError):
            raise wrong(self.name, "a mapping of text to text", value) from None
        checked = {
            as_text(f"a name in {self.name}", key): as_text(f"{self.name}[{key!r}]", given[key]) for key in given
        }
        live = self.read(holder)
        live.clear()
        live.update(checked)


class TextsField(Field["tuple[str, ...]", "Iterable[str]"]):
    """Several texts; a single one may be assigned without a list around it."""

    def read(self, holder: Fields[Any]) -> tuple[str, ...]:
        """The texts."""
        return tuple(getattr(self._message(holder), self._leaf))

    def write(self, holder: Fields[Any], value: Iterable[str]) -> None:
        """Replace the texts."""
        try:
            given = (value,) if isinstance(value, str) else tuple(value)
        except TypeError:
            raise wrong(self.name, "a list of texts", value) from None
        checked = [as_text(f"each of {self.name}", text) for text in given]
        self._clear(holder.to_proto())
        if checked:
            getattr(self._message(holder), self._leaf).extend(checked)


class SerializedField(Field["bytes | None", "bytes | bytearray | memoryview"]):
    """A payload in serialized form; None if there is none."""

    def read(self, holder: Fields[Any]) -> bytes | None:
        """The bytes."""
        part = self._message(holder)
        return getattr(part, self._leaf).content if part.HasField(self._leaf) else None

    def write(self, holder: Fields[Any], value: bytes | bytearray | memoryview) -> None:
        """Replace the bytes."""
        content = as_bytes(self.name, value)
        payload = getattr(self._message(holder), self._leaf)
        payload.content = content
        payload.SetInParent()  # an empty payload is one, too


class PayloadField(Field[Any, Message]):
    """A payload as a message, that is read anew each time; None if there is none.

    Args:
        path: See `Field`.
        space: The type that the specs of a holder say; None if they are not known. Raises `SpecsError` if the specs
            have no such type.
    """

    def __init__(self, path: str, space: Callable[[Any], type[Message] | None]) -> None:
        super().__init__(path)
        self._serialized = SerializedField(path)
        self._space = space

    def read(self, holder: Fields[Any]) -> Any:
        """The payload as a message of its own."""
        content = self._serialized.read(holder)
        if content is None:
            return None
        return decode(content, self._space(holder), f"{type(holder).__name__}.{self.name}")

    def write(self, holder: Fields[Any], value: Message) -> None:
        """Replace the payload by a copy of ``value``."""
        require(value, self._space(holder), f"{type(holder).__name__}.{self.name}")
        self._serialized.write(holder, value.SerializeToString())
