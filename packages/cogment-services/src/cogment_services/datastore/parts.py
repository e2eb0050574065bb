"""How many parts a serialized message has, counted before it is decoded.

A part is a field with its value. Decoded, the smallest of them take tens of times as much memory as serialized: with
two bytes for each, a message would fill the memory, however well the length of messages is limited.
"""

from __future__ import annotations

import contextlib
import functools
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from cogment_core.errors import UsageError

__all__ = ["MAX_PARTS", "SMALL", "check_parts"]

SMALL = 1 << 18
"""Bytes of a message that need not be counted: decoded, they are no danger."""

MAX_PARTS = 1_200_000
"""Parts of a message; all that is stored of a log has fewer, see `conversion.MAX_ENTRIES`."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def check_parts(descriptor: Any, serialized: bytes) -> None:
    """Refuse a message that has too many parts. What is no message at all is left to the decoder.

    Args:
        descriptor: The type of the message.
        serialized: The message.

    Raises:
        UsageError: It has too many.
    """
    with contextlib.suppress(IndexError):  # cut short
        _count(serialized, 0, len(serialized), descriptor, MAX_PARTS)


def _count(data: bytes, start: int, end: int, descriptor: Any, left: int) -> int:
    """How many more parts there may be after those from ``start`` to ``end``."""
    inner = _inner(descriptor)
    while start < end:
        left -= 1
        if left < 0:
            raise UsageError(f"a message of {len(data)} bytes has more than {MAX_PARTS} parts")
        tag, start = _varint(data, start)
        kind = tag & 7
        if kind == _BYTES:
            length, start = _varint(data, start)
            if length and tag >> 3 in inner:
                message = inner[tag >> 3]
                if message is None:
                    left -= length // 8  # numbers without tags: each byte becomes 1 to 8 bytes
                else:
                    left = _count(data, start, min(start + length, end), message, left)
            start += length
        elif kind == _VARINT:
            _, start = _varint(data, start)
        elif kind in (_FIXED32, _FIXED64):
            start += 4 if kind == _FIXED32 else 8
        else:
            raise UsageError("a message has a group in it, which none of ours has")
    return left


@functools.cache
def _inner(descriptor: Any) -> dict[int, Any]:
    """The fields, by number, that have parts: with the type of those that are messages, None for lists of numbers."""
    return {
        field.number: field.message_type
        for field in descriptor.fields
        if field.cpp_type != FieldDescriptor.CPPTYPE_STRING
    }


def _varint(data: bytes, start: int) -> tuple[int, int]:
    value = data[start]
    if value < 0x80:
        return value, start + 1
    value, shift = value & 0x7F, 7
    while (byte := data[start := start + 1]) > 0x7F:
        value |= (byte & 0x7F) << shift
        shift += 7
        if shift > 63:
            raise IndexError("a number without end")
    return value | byte << shift, start + 1
