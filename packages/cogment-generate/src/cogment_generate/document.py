"""Read a YAML file with limits, keeping the place of everything that is read.

Values are never constructed: the file is only composed into nodes, and what the generator needs of it are sections,
lists and strings. Tags such as ``!!int`` or a date that does not exist can therefore do no harm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import yaml

from cogment_generate.errors import CogmentGenerateError

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_EVENTS", "Place", "Text", "Value", "parse_document", "read_document", "shown"]

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20
MAX_EVENTS = 25_000
"""About the number of keys and values; 256 kB of the shortest ones would take seconds to read."""

_TAG_PREFIX = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Place:
    """Where in which file something is written."""

    file: str
    line: int
    """Counted from 1."""
    key: str
    """Path of keys, for example ``actor_classes[0].action.space``; empty for the whole document."""

    def error(self, problem: str) -> CogmentGenerateError:
        """The error that says that there is a ``problem`` here."""
        return CogmentGenerateError(f"{self}: {problem}")

    def inside(self, key: str, line: int | None = None) -> Place:
        """The place of ``key`` in the section that is here; it has this line too if no other is given."""
        path = f"{self.key}.{key}" if self.key else key
        return Place(self.file, line or self.line, path)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key}" if self.key else f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Text:
    """A string of the document."""

    value: str
    place: Place


@dataclass(frozen=True)
class Value:
    """Something in the document, or its absence; ``null`` is absence too.

    Each method reads the value as one shape and raises `CogmentGenerateError` if it has another one.
    """

    node: yaml.Node | None
    place: Place

    @property
    def is_absent(self) -> bool:
        """Whether there is nothing here."""
        return self.node is None or self.node.tag == f"{_TAG_PREFIX}null"

    def get(self, key: str) -> Value:
        """The value of ``key`` in this section, absent if the section or the key is."""
        for name, node in self._fields():
            if name == key:
                return Value(node, self.place.inside(key, node.start_mark.line + 1))
        return Value(None, self.place.inside(key))

    def keys(self) -> list[str]:
        """The keys of this section, none if it is absent."""
        return [name for name, _ in self._fields()]

    def items(self) -> list[Value]:
        """The entries of this list, none if it is absent."""
        if self.is_absent:
            return []
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.place.error(f"has to be a list, not {self._kind()}")
        return [
            Value(node, Place(self.place.file, node.start_mark.line + 1, f"{self.place.key}[{index}]"))
            for index, node in enumerate(self.node.value)
        ]

    def text(self) -> Text | None:
        """This string, None if it is absent."""
        if self.is_absent:
            return None
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.place.error(f"has to be a string, not {self._kind()}")
        if self.node.tag != f"{_TAG_PREFIX}str":
            raise self.place.error(
                f"has to be a string; YAML reads {shown(self.node.value)} as {self._kind()}, "
                "so put it in quotes if it is meant as one"
            )
        return Text(self.node.value, self.place)

    def required_text(self, meaning: str) -> Text:
        """This string; ``meaning`` says in the error what should be here."""
        text = self.text()
        if text is None:
            raise self.place.error(f"is missing: it has to be {meaning}")
        return text

    def _fields(self) -> Iterator[tuple[str, yaml.Node]]:
        if self.is_absent:
            return
        if not isinstance(self.node, yaml.MappingNode):
            raise self.place.error(f"has to be a section of keys, not {self._kind()}")
        for key, node in self.node.value:
            if isinstance(key, yaml.ScalarNode):
                yield key.value, node

    def _kind(self) -> str:
        if isinstance(self.node, yaml.MappingNode):
            return "a section of keys"
        if isinstance(self.node, yaml.SequenceNode):
            return "a list"
        return f"a value of type {self.node.tag.removeprefix(_TAG_PREFIX)!r}" if self.node else "nothing"


def read_document(path: Path) -> Value:
    """Read the YAML file at ``path``.

    Raises:
        CogmentGenerateError: It cannot be read, is no YAML, or goes beyond the limits.
    """
    try:
        if not path.is_file():
            raise CogmentGenerateError(f"{path}: there is no such file" if not path.exists() else f"{path}: is no file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CogmentGenerateError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise CogmentGenerateError(f"{path}: is larger than {MAX_BYTES // 1024} kB, the limit for a spec file")
    try:
        return parse_document(content.decode("utf-8-sig"), str(path))
    except UnicodeDecodeError as error:
        raise CogmentGenerateError(f"{path}: is not UTF-8 text (byte {error.start})") from error


def parse_document(text: str, file: str) -> Value:
    """The root of the YAML document ``text``; ``file`` is named in errors."""
    try:
        loader = _LimitedLoader(text, file)
        try:
            root = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, file) from error
    except yaml.YAMLError as error:
        raise CogmentGenerateError(f"{file}: is no valid YAML: {str(error).splitlines()[0]}") from error
    document = Value(root, Place(file, 1, ""))
    _refuse_duplicate_keys(document)
    return document


def shown(text: str) -> str:
    """``text`` for an error message: quoted, in ASCII so that look-alikes show, and not too long."""
    return ascii(text if len(text) <= 60 else text[:57] + "...")


class _LimitedLoader(yaml.SafeLoader):
    """Refuses, event by event, what makes small documents expensive."""

    def __init__(self, text: str, file: str) -> None:
        super().__init__(text)
        self._file = file
        self._level = 0
        self._events = 0

    def get_event(self) -> yaml.Event:
        event = cast("yaml.Event", super().get_event())  # type: ignore[no-untyped-call]
        self._events += 1
        if isinstance(event, yaml.CollectionStartEvent):
            self._level += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            self._level -= 1
        problem = self._problem(event)
        if problem:
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise CogmentGenerateError(f"{self._file}:{line}: {problem}")
        return event

    def _problem(self, event: yaml.Event) -> str:
        if self._level > MAX_DEPTH:
            return f"is nested deeper than {MAX_DEPTH} levels, the limit for a spec file"
        if self._events > MAX_EVENTS:
            return f"has more than {MAX_EVENTS} keys and values, the limit for a spec file"
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            return "anchors (&name) and aliases (*name) are not supported: write the value out where it is needed"
        if isinstance(event, yaml.ScalarEvent) and event.value == "<<" and event.style is None:
            return "merge keys (<<) are not supported: write the keys out where they are needed"
        return ""


def _syntax_error(error: yaml.MarkedYAMLError, file: str) -> CogmentGenerateError:
    mark = error.problem_mark or error.context_mark
    where = f"{file}:{mark.line + 1}" if mark else file
    said = ", ".join(part for part in (error.context, error.problem) if part)
    return CogmentGenerateError(f"{where}: is no valid YAML: {said}")


def _refuse_duplicate_keys(value: Value) -> None:
    if isinstance(value.node, yaml.SequenceNode):
        for item in value.items():
            _refuse_duplicate_keys(item)
    elif isinstance(value.node, yaml.MappingNode):
        seen: set[str] = set()
        for key, node in value.node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            place = value.place.inside(name, key.start_mark.line + 1)
            if name in seen and isinstance(key, yaml.ScalarNode):
                raise place.error("is written twice: keep one")
            seen.add(name)
            _refuse_duplicate_keys(Value(node, place))
