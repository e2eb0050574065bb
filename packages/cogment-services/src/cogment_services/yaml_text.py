"""Reading YAML that somebody else wrote: a small tree of texts, with limits on all that can grow.

Nothing is typed and nothing is constructed: a scalar stays the text that is in the file (``no`` is not False), so that
the reader decides by the field it fills. Aliases are followed, and count as often as they are used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import yaml

from cogment_core.errors import UsageError

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_NODES", "Node", "read_yaml"]

MAX_BYTES = 256 * 1024
"""Longest text that is read."""

MAX_DEPTH = 20
"""Deepest nesting."""

MAX_NODES = 20_000
"""Most values of a document, aliases expanded."""

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


class Node(NamedTuple):
    """One value of a YAML document."""

    value: str | list[Node] | dict[str, Node]
    """Text, items, or values by key."""
    line: int
    """Line of the document, from 1."""
    plain: bool = False
    """A text without quotes."""
    size: int = 1
    """Number of values in it, itself included."""

    @property
    def is_null(self) -> bool:
        """There is nothing there: no text, ``~`` or ``null``."""
        return self.plain and self.value in _NULLS


def read_yaml(text: str, source: str) -> Node | None:
    """The only document in ``text``, None if there is none.

    Args:
        text: The YAML text.
        source: What it is called in error messages, for example the name of the file.

    Raises:
        UsageError: It is not YAML, or is beyond one of the limits of this module; says where.
    """
    if len(text) > MAX_BYTES or len(text.encode()) > MAX_BYTES:
        raise UsageError(f"{source}: longer than {MAX_BYTES // 1024} kB")
    try:
        return _Reader(text, source).read()
    except yaml.YAMLError as error:
        raise UsageError(f"{source}: not valid YAML: {' '.join(str(error).split())}") from error


class _Reader:
    def __init__(self, text: str, source: str) -> None:
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=yaml.SafeLoader)
        self._source = source
        self._anchors: dict[str, Node] = {}
        self._size = 0

    def read(self) -> Node | None:
        document: Node | None = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if document is not None:
                    raise self._error(event, "more than one document")
                document = self._node(next(self._events), depth=1)
        return document

    def _node(self, event: yaml.Event, depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if depth > MAX_DEPTH:
            raise self._error(event, f"nested deeper than {MAX_DEPTH} levels")
        if not isinstance(event, (yaml.ScalarEvent, yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            raise self._error(event, "a value is missing")
        if event.tag is not None:
            raise self._error(event, f"the tag {event.tag!r} is not supported")
        self._count(event, 1)
        before = self._size
        if isinstance(event, yaml.ScalarEvent):
            node = Node(event.value, _line(event), plain=event.style is None)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = Node(self._items(depth), _line(event))
        else:
            node = Node(self._mapping(depth), _line(event))
        node = node._replace(size=1 + self._size - before)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _items(self, depth: int) -> list[Node]:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return items

    def _mapping(self, depth: int) -> dict[str, Node]:
        values: dict[str, Node] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1).value
            if not isinstance(key, str):
                raise self._error(event, "a key has to be a text")
            if key in values:
                raise self._error(event, f"the key {key!r} is there twice")
            values[key] = self._node(next(self._events), depth + 1)
        return values

    def _alias(self, event: yaml.AliasEvent) -> Node:
        node = self._anchors.get(event.anchor or "")
        if node is None:
            raise self._error(event, f"the alias {event.anchor!r} has no value")
        self._count(event, node.size)
        return node

    def _count(self, event: yaml.Event, size: int) -> None:
        self._size += size
        if self._size > MAX_NODES:
            raise self._error(event, f"more than {MAX_NODES} values")

    def _error(self, event: yaml.Event, what: str) -> UsageError:
        return UsageError(f"{self._source}:{_line(event)}: {what}")


def _line(event: yaml.Event) -> int:
    return 1 if event.start_mark is None else event.start_mark.line + 1
