"""Find the message types that a spec names in compiled descriptors."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto

from cogment_generate.document import Text, shown

__all__ = ["MessageType", "TypeIndex"]

_MAX_SUGGESTIONS = 5


@dataclass(frozen=True)
class MessageType:
    """A message type and the file that defines it."""

    proto: str
    """Path of the proto file."""
    path: tuple[str, ...]
    """Names from the outermost message to this one."""


class TypeIndex:
    """All messages of some proto files by full name.

    Args:
        files: Descriptors of the files.
    """

    def __init__(self, files: Iterable[FileDescriptorProto]) -> None:
        self._messages: dict[str, MessageType] = {}
        self._enums: set[str] = set()
        for file in files:
            for path in _message_paths(file.message_type):
                self._messages[_full_name(file, path)] = MessageType(file.name, path)
            self._enums.update(_full_name(file, path) for path in _enum_paths(file.enum_type, file.message_type))

    def find(self, name: Text) -> MessageType:
        """The message with the full name ``name``.

        Raises:
            CogmentGenerateError: There is none; the error lists the messages that may be meant.
        """
        found = self._messages.get(name.value)
        if found is None:
            raise name.place.error(self._refusal(name.value))
        return found

    def _refusal(self, name: str) -> str:
        if name in self._enums:
            return f"{shown(name)} is an enum: it has to be a message, for instance one with a field of this enum"
        suggestions = self._suggestions(name)
        if suggestions:
            hint = f"did you mean {' or '.join(suggestions)}?"
        else:
            hint = f"they define {', '.join(self._own_messages()[:_MAX_SUGGESTIONS]) or 'no message at all'}"
        return f"no message {shown(name)} is defined by the proto files in import.proto; {hint}"

    def _suggestions(self, name: str) -> list[str]:
        """The messages with this name in other packages or letters; if there are none, the ones with a similar name."""
        short = _short(name).lower()
        same_name = [full for full in self._messages if _short(full).lower() == short]
        if same_name:
            return sorted(same_name)[:_MAX_SUGGESTIONS]
        by_full_name = {full.lower(): full for full in self._messages}
        by_short_name = {_short(full).lower(): full for full in self._messages}
        return _close(name.lower(), by_full_name) or _close(short, by_short_name)

    def _own_messages(self) -> list[str]:
        return sorted(full for full in self._messages if not full.startswith("google.protobuf."))


def _message_paths(messages: Iterable[DescriptorProto], outer: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for message in messages:
        if not message.options.map_entry:
            path = (*outer, message.name)
            yield path
            yield from _message_paths(message.nested_type, path)


def _enum_paths(
    enums: Iterable[EnumDescriptorProto], messages: Iterable[DescriptorProto], outer: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    for enum in enums:
        yield (*outer, enum.name)
    for message in messages:
        yield from _enum_paths(message.enum_type, message.nested_type, (*outer, message.name))


def _full_name(file: FileDescriptorProto, path: tuple[str, ...]) -> str:
    return ".".join((file.package, *path) if file.package else path)


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _close(name: str, candidates: dict[str, str]) -> list[str]:
    matches = difflib.get_close_matches(name, candidates, n=_MAX_SUGGESTIONS, cutoff=0.7)
    return [candidates[match] for match in matches]
