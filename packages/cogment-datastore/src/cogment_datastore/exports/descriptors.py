"""Questions about the descriptors of messages, which have other answers, and types, in each version of protobuf."""

from __future__ import annotations

from typing import Any, cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

__all__ = ["NUMBERS", "descriptor_of", "enum_of", "is_map", "is_message", "is_repeated", "map_entry", "message_of"]

NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32: "int32",
    FieldDescriptor.CPPTYPE_INT64: "int64",
    FieldDescriptor.CPPTYPE_UINT32: "uint32",
    FieldDescriptor.CPPTYPE_UINT64: "uint64",
    FieldDescriptor.CPPTYPE_FLOAT: "float32",
    FieldDescriptor.CPPTYPE_DOUBLE: "float64",
}
"""NumPy's types of numbers, by the type of the field."""


def descriptor_of(message: Message | type[Message]) -> Descriptor:
    """The descriptor of a message, or of a type of messages."""
    return cast("Descriptor", message.DESCRIPTOR)


def is_repeated(field: FieldDescriptor) -> bool:
    """Whether ``field`` has any number of values. Maps are repeated, too."""
    anything: Any = field
    try:
        return bool(anything.is_repeated)
    except AttributeError:  # before protobuf 6; later ones warn about the label
        return bool(anything.label == 3)


def is_message(field: FieldDescriptor) -> bool:
    """Whether the values of ``field`` are messages."""
    return bool(field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE)


def is_map(field: FieldDescriptor) -> bool:
    """Whether ``field`` is a map."""
    return is_message(field) and is_repeated(field) and bool(message_of(field).GetOptions().map_entry)


def message_of(field: FieldDescriptor) -> Descriptor:
    """The type of the messages that are the values of ``field``."""
    return cast("Descriptor", field.message_type)


def map_entry(field: FieldDescriptor) -> tuple[FieldDescriptor, FieldDescriptor]:
    """What the keys and the values of a map are."""
    fields = message_of(field).fields_by_name
    return fields["key"], fields["value"]


def enum_of(field: FieldDescriptor) -> EnumDescriptor:
    """The enum whose numbers are the values of ``field``."""
    return cast("EnumDescriptor", field.enum_type)
