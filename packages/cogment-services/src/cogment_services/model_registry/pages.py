"""Lists are given out in pages: where a page begins, and where it ends."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TypeVar

import grpc
from google.protobuf.message import Message

from cogment_services.refusals import Refusal

__all__ = ["MAX_PAGE_BYTES", "MAX_PAGE_ITEMS", "limit_of", "offset_in", "page_of", "parse_handle", "selected"]

MAX_PAGE_BYTES = 3_500_000
"""Most bytes of a page, whatever the count: clients of gRPC take 4 MiB unless told otherwise."""

MAX_PAGE_ITEMS = 1_000
"""Most items of a page, whatever the count."""

_MAX_ITEMS = 10_000
_MAX_NUMBER = 2**40
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)

ItemT = TypeVar("ItemT")
MessageT = TypeVar("MessageT", bound=Message)


def parse_handle(handle: str) -> int:
    """The number that ``handle`` stands for; 0 if it is empty.

    Raises:
        Refusal: INVALID_ARGUMENT; it is no integer.
    """
    if not handle:
        return 0
    if not _INTEGER.fullmatch(handle):
        text = f"{handle[:40]!a} is no handle: it is empty, or what an earlier reply had"
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, text)
    return min(int(handle), _MAX_NUMBER)


def offset_in(handle: str) -> int:
    """The index that ``handle`` stands for; negative ones are the beginning.

    Raises:
        Refusal: INVALID_ARGUMENT; it is no integer.
    """
    return max(0, parse_handle(handle))


def limit_of(count: int) -> int:
    """How many items there are on a page at most; a count of 0 is no limit of the caller's."""
    return min(count or MAX_PAGE_ITEMS, MAX_PAGE_ITEMS)


def selected(items: Sequence[ItemT], handle: str, count: int) -> tuple[int, Sequence[ItemT]]:
    """Of ``items``, which were asked for one by one, those on the page that begins at ``handle``, and its offset.

    Raises:
        Refusal: INVALID_ARGUMENT; the handle is no integer, or there are too many items.
    """
    if len(items) > _MAX_ITEMS:
        text = f"{len(items)} items are asked for; {_MAX_ITEMS} can be, at a time"
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, text)
    offset = offset_in(handle)
    return offset, items[offset : offset + limit_of(count)]


def page_of(items: Iterable[MessageT], limit: int) -> list[MessageT]:
    """The first ``limit`` of ``items``, or as many as fit in a page, and one at least if there is one."""
    page: list[MessageT] = []
    room = MAX_PAGE_BYTES
    for item in items:
        room -= item.ByteSize() + 8
        if len(page) == limit or (page and room < 0):
            break
        page.append(item)
    return page
