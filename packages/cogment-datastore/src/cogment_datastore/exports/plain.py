"""From protobuf messages to dictionaries and lists, by their descriptors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from cogment_datastore.exports.descriptors import descriptor_of, enum_of, is_map, is_message, is_repeated, map_entry

__all__ = ["Plain"]

Convert = Callable[[Any], Any]

_FLOATS = (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE)


def _same(value: Any) -> Any:
    return value


class Plain:
    """Converts messages: each to a dictionary of its fields, enums to their names.

    A field that can be told to be absent, and is, becomes None.

    Args:
        of_bytes: What becomes of bytes.
        of_float: What becomes of numbers with a fraction.
        of_map: What becomes of a map, given as a dictionary of converted values.
    """

    def __init__(self, *, of_bytes: Convert = _same, of_float: Convert = _same, of_map: Convert = _same) -> None:
        self._of_bytes = of_bytes
        self._of_float = of_float
        self._of_map = of_map
        self._readers: dict[str, list[tuple[str, Convert]]] = {}

    def __call__(self, message: Message) -> dict[str, Any]:
        """What ``message`` says."""
        descriptor = descriptor_of(message)
        readers = self._readers.get(descriptor.full_name)
        if readers is None:
            readers = self._readers[descriptor.full_name] = self._make_readers(descriptor)
        return {name: read(message) for name, read in readers}

    def _make_readers(self, descriptor: Descriptor) -> list[tuple[str, Convert]]:
        return [(field.name, self._reader(field)) for field in descriptor.fields]

    def _reader(self, field: FieldDescriptor) -> Convert:
        name = field.name
        if is_map(field):
            of_map, convert = self._of_map, self._converter(map_entry(field)[1])
            return lambda message: of_map({key: convert(it) for key, it in sorted(getattr(message, name).items())})
        convert = self._converter(field)
        if is_repeated(field):
            if convert is _same:
                return lambda message: list(getattr(message, name))
            return lambda message: [convert(value) for value in getattr(message, name)]
        if field.has_presence:
            return lambda message: convert(getattr(message, name)) if message.HasField(name) else None
        return lambda message: convert(getattr(message, name))

    def _converter(self, field: FieldDescriptor) -> Convert:
        if is_message(field):
            return self
        if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
            return _enum_name(enum_of(field))
        if field.type == FieldDescriptor.TYPE_BYTES:
            return self._of_bytes
        return self._of_float if field.cpp_type in _FLOATS else _same


def _enum_name(enum: EnumDescriptor) -> Convert:
    names = {number: value.name for number, value in enum.values_by_number.items()}
    # A number that a newer version of the proto file has a name for.
    return lambda number: names.get(number, str(number))
