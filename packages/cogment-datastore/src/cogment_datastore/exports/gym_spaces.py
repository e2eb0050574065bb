"""Gymnasium spaces of messages, and their elements.

A message is a ``Dict`` of its fields, or, if it has one field only, what that field is. Numbers are a ``Box`` without
dimensions, repeated ones a ``Box`` with one, booleans and enums ``Discrete``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from cogment_datastore.exports.descriptors import (
    NUMBERS,
    descriptor_of,
    enum_of,
    is_map,
    is_message,
    is_repeated,
    message_of,
)
from cogment_datastore.exports.errors import ExportError
from cogment_datastore.exports.extras import load

__all__ = ["Codec", "SpaceMaker"]


class Codec:
    """A space, and how a message becomes an element of it.

    Args:
        space: The space.
        encode: Makes the element of a message.
        stack: Makes one element, with one more dimension, of several.
    """

    def __init__(self, space: Any, encode: Callable[[Any], Any], stack: Callable[[Sequence[Any]], Any]) -> None:
        self.space = space
        self.encode = encode
        self.stack = stack


class SpaceMaker:
    """Makes codecs.

    Args:
        leave_out: Fields to leave out, by their paths, for example ``observation.position.x``.
    """

    def __init__(self, leave_out: Collection[str]) -> None:
        self._gym = load("gymnasium.spaces", "minari")
        self._numpy = load("numpy", "minari")
        self._leave_out = frozenset(leave_out)

    def codec(self, message: Message, path: str) -> Codec:
        """The codec of messages like ``message``, whose repeated fields all have as many values as they have there.

        Args:
            message: A message.
            path: What it is, for errors, and for the paths of its fields.

        Raises:
            ExportError: Something in it has no space.
        """
        return self._of_message(descriptor_of(message), message, path, ())

    def _of_message(self, descriptor: Descriptor, example: Message, path: str, within: tuple[str, ...]) -> Codec:
        if descriptor.full_name in within:
            raise _unfit(path, f"a {descriptor.full_name} in a {descriptor.full_name}, which may have no end")
        inner = (*within, descriptor.full_name)
        parts = {
            field.name: self._of_field(field, getattr(example, field.name), f"{path}.{field.name}", inner)
            for field in descriptor.fields
            if f"{path}.{field.name}" not in self._leave_out
        }
        if not parts:
            raise _unfit(path, "a message without fields")
        if len(parts) == 1:
            ((name, only),) = parts.items()
            return Codec(only.space, lambda message: only.encode(_get(message, name, path)), only.stack)
        return Codec(
            self._gym.Dict({name: part.space for name, part in parts.items()}),
            lambda message: {name: part.encode(_get(message, name, path)) for name, part in parts.items()},
            lambda items: {name: part.stack([item[name] for item in items]) for name, part in parts.items()},
        )

    def _of_field(self, field: FieldDescriptor, example: Any, path: str, within: tuple[str, ...]) -> Codec:
        if is_map(field):
            raise _unfit(path, "a map")
        if is_message(field):
            if is_repeated(field):
                raise _unfit(path, "a list of messages")
            return self._of_message(message_of(field), example, path, within)
        if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            raise _unfit(path, "bytes" if field.type == FieldDescriptor.TYPE_BYTES else "a text")
        if is_repeated(field):
            return self._list(field, len(example), path)
        if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            return self._discrete(2)
        if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
            return self._enum(field, path)
        dtype = self._numpy.dtype(NUMBERS[field.cpp_type])
        return Codec(self._box(dtype, ()), dtype.type, lambda items: self._numpy.array(items, dtype=dtype))

    def _list(self, field: FieldDescriptor, length: int, path: str) -> Codec:
        if not length:
            raise _unfit(path, "a list that is empty at first")
        numpy = self._numpy
        dtype = numpy.dtype(NUMBERS.get(field.cpp_type, "int32"))

        def encode(values: Sequence[Any]) -> Any:
            if len(values) != length:
                raise _unfit(path, f"a list of {length} numbers at first, and of {len(values)} later")
            return numpy.array(values, dtype=dtype)

        return Codec(self._box(dtype, (length,)), encode, numpy.stack)

    def _enum(self, field: FieldDescriptor, path: str) -> Codec:
        numbers = sorted(enum_of(field).values_by_number)
        if numbers != list(range(len(numbers))):
            raise _unfit(path, f"an enum whose numbers are not 0 to {len(numbers) - 1}")
        return self._discrete(len(numbers))

    def _discrete(self, size: int) -> Codec:
        numpy = self._numpy
        return Codec(self._gym.Discrete(size), numpy.int64, lambda items: numpy.array(items, dtype=numpy.int64))

    def _box(self, dtype: Any, shape: tuple[int, ...]) -> Any:
        if dtype.kind == "f":
            return self._gym.Box(-self._numpy.inf, self._numpy.inf, shape, dtype.type)
        limits = self._numpy.iinfo(dtype)
        return self._gym.Box(limits.min, limits.max, shape, dtype.type)


def _get(message: Any, name: str, path: str) -> Any:
    field: FieldDescriptor = message.DESCRIPTOR.fields_by_name[name]
    if field.has_presence and not is_message(field) and not message.HasField(name):
        raise _unfit(f"{path}.{name}", "optional, and not there")
    return getattr(message, name)


def _unfit(path: str, what: str) -> ExportError:
    return ExportError(f"{path} is {what}: spaces have no place for it; leave it out with leave_out=[{path!r}]")
