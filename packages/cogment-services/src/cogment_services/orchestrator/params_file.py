"""The file of default trial parameters: YAML, of which the key ``trial_params`` is read.

Keys are the field names of ``cogmentAPI.TrialParams``, with underscores or in camel case. Every value is a text that is
read as its field wants it, so that ``properties: {level: 010}`` keeps its zero.
"""

from __future__ import annotations

import base64
import binascii
import errno
import io
import math
import os
import select
import stat
import time
from pathlib import Path
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from cogment_core.api.common_pb2 import TrialParams
from cogment_core.errors import UsageError
from cogment_services.yaml_text import MAX_BYTES, Node, read_yaml

__all__ = ["DEFAULT_MAX_INACTIVITY", "load_params_file", "parse_params"]

DEFAULT_MAX_INACTIVITY = 30
"""Seconds of inactivity that a file allows if it does not say."""

PIPE_TIMEOUT = 10.0
"""Seconds that there are for all of a file that is a pipe."""

_SECTION = "trial_params"
_TRUE = frozenset({"true", "t", "yes", "y", "1"})
_FALSE = frozenset({"false", "f", "no", "n", "0"})
_LARGEST_FLOAT = 3.4028235e38
_BOUNDS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


def load_params_file(path: str | Path) -> TrialParams:
    """The default parameters in the file at ``path``.

    Raises:
        UsageError: The file cannot be read, or its content is wrong; says which line and which key.
    """
    try:
        text = _read(path).decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"the parameters file {str(path)!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a text in UTF-8, or longer than {MAX_BYTES // 1024} kB") from error
    return parse_params(text, str(path))


def _read(path: str | Path) -> bytes:
    """The first bytes of a file or pipe, one more than `MAX_BYTES` at most.

    Shells give the output of a program as a pipe: ``--params <(make_params)``. One that nobody writes to must not hold
    up the start for ever, as it would if it were opened and read in the usual way.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb", buffering=0) as file:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        until = time.monotonic() + PIPE_TIMEOUT
        read = bytearray()
        while len(read) <= MAX_BYTES:
            _wait_for_more(file, until)
            chunk = file.read(MAX_BYTES + 1 - len(read))
            if chunk == b"":
                break
            read += chunk or b""  # None: there was nothing to read after all
        return bytes(read)


def _wait_for_more(file: io.FileIO, until: float) -> None:
    """Wait until there is something to read, or the end. A regular file never has to be waited for."""
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return
    waiting = select.poll()
    waiting.register(file, select.POLLIN)
    if not waiting.poll(max(0.0, until - time.monotonic()) * 1000):
        raise TimeoutError(errno.ETIMEDOUT, f"it is a pipe that nobody has written all to for {PIPE_TIMEOUT:g} s")


def parse_params(text: str, source: str = "parameters") -> TrialParams:
    """The default parameters in the YAML ``text``.

    Args:
        text: What the file contains.
        source: What it is called in error messages.

    Raises:
        UsageError: The content is wrong; says which line and which key.
    """
    params = TrialParams(max_inactivity=DEFAULT_MAX_INACTIVITY)
    document = read_yaml(text, source)
    if document is not None and not document.is_null:
        # Other keys may be there, so that one file can hold all of a project.
        section = _Place(document, source, "").mapping().get(_SECTION)
        if section is not None and not section.node.is_null:
            _fill(params, section)
    return params


class _Place(NamedTuple):
    """A value in the file, and how to say where it is."""

    node: Node
    source: str
    path: str

    def mapping(self) -> dict[str, _Place]:
        """The values by key."""
        if not isinstance(self.node.value, dict):
            raise self.error("has to be a mapping")
        prefix = f"{self.path}." if self.path else ""
        return {key: self._replace(node=node, path=prefix + key) for key, node in self.node.value.items()}

    def items(self) -> list[_Place]:
        """The items of a list."""
        if not isinstance(self.node.value, list):
            raise self.error("has to be a list")
        return [self._replace(node=node, path=f"{self.path}[{i}]") for i, node in enumerate(self.node.value)]

    def text(self) -> str:
        """The text, as it is written."""
        if not isinstance(self.node.value, str):
            raise self.error("has to be a single value")
        return self.node.value

    def error(self, what: str) -> UsageError:
        return UsageError(f"{self.source}:{self.node.line}: {self.path or 'the file'}: {what}")


def _fill(message: Message, place: _Place) -> None:
    """Set the fields of ``message`` that ``place`` has a value for; an empty value leaves a field as it is."""
    given: dict[str, str] = {}
    for key, value in place.mapping().items():
        field = _field(message, key, value)
        if given.setdefault(field.name, key) != key:
            raise value.error(f"is there as {given[field.name]!r} too")
        if not value.node.is_null:
            _set(message, field, value)


def _field(message: Message, key: str, place: _Place) -> Any:
    for field in message.DESCRIPTOR.fields:
        if key in (field.name, field.json_name):
            return field
    raise place.error(
        f"there is no such key (there are: {', '.join(field.name for field in message.DESCRIPTOR.fields)})"
    )


def _set(message: Message, field: Any, place: _Place) -> None:
    current = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        current.update({name: value.text() for name, value in place.mapping().items()})
    elif isinstance(current, Message):
        current.SetInParent()
        _fill(current, place)
    elif not hasattr(current, "extend"):
        setattr(message, field.name, _scalar(field, place))
    elif field.message_type is None:
        current.extend([_scalar(field, item) for item in place.items()])
    else:
        for item in place.items():
            _fill(current.add(), item)


def _scalar(field: Any, place: _Place) -> object:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _bytes(place)
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return place.text()
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return _bool(place)
    if field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT:
        return _float(place)
    return _integer(place, *_BOUNDS[field.cpp_type])


def _bytes(place: _Place) -> bytes:
    try:
        return base64.b64decode(place.text(), validate=True)
    except (binascii.Error, ValueError):
        raise place.error("has to be bytes in base64") from None


def _bool(place: _Place) -> bool:
    word = place.text().lower()
    if word not in _TRUE and word not in _FALSE:
        raise place.error(f"has to be true or false, not {place.text()!r}")
    return word in _TRUE


def _float(place: _Place) -> float:
    try:
        value = float(place.text())
    except ValueError:
        value = math.nan
    if not abs(value) <= _LARGEST_FLOAT:
        raise place.error(f"has to be a number, not {place.text()!r}")
    return value


def _integer(place: _Place, least: int, largest: int) -> int:
    try:
        value = int(place.text())
    except ValueError:
        raise place.error(f"has to be a whole number, not {place.text()!r}") from None
    if not least <= value <= largest:
        raise place.error(f"has to be between {least} and {largest}, not {value}")
    return value
