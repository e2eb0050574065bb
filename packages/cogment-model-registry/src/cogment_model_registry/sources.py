"""Where the data of a model comes from: memory, a path or an open file."""

from __future__ import annotations

import io
import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, BinaryIO, Protocol, TypeAlias, TypeVar

from cogment_core.checks import wrong
from cogment_core.errors import UsageError

__all__ = ["ModelSource", "Source", "open_source"]

ModelSource: TypeAlias = "bytes | bytearray | memoryview | os.PathLike[str] | BinaryIO"
"""A model to send: bytes, a path (a ``pathlib.Path``), or a file that is open for reading, from where it stands."""

T = TypeVar("T")

_EXPECTED = "bytes, a path such as pathlib.Path('model.pt'), or a file that is open for reading in binary mode"


class Source(Protocol):
    """Data of known size that can be read more than once. Reading blocks."""

    @property
    def size(self) -> int:
        """Bytes there are."""
        ...

    def read(self, size: int) -> bytes | memoryview:
        """The next bytes, at most ``size``; none at the end. The next read may replace them."""
        ...

    def rewind(self) -> None:
        """Go back to the beginning."""
        ...


@contextmanager
def open_source(model: ModelSource) -> Generator[Source, None, None]:
    """Give ``model`` as a `Source`; a path is opened, and closed at the end.

    Raises:
        UsageError: It is none of what it can be, it is empty, or it cannot be read from twice.
        OSError: The path cannot be opened.
    """
    if isinstance(model, os.PathLike):
        with open(model, "rb", buffering=0, opener=_at_once) as file:
            yield _filled(_File(file))
    elif hasattr(model, "read"):
        yield _filled(_File(model))
    else:
        yield _filled(_Memory(model))


def _at_once(path: str, flags: int) -> int:
    """Open ``path``, without waiting until somebody writes to it if it is a pipe, which cannot be sent anyway."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _filled(source: Source) -> Source:
    if not source.size:
        raise UsageError("a model without any data cannot be sent")
    return source


class _Memory:
    """Data in memory; it is not copied as a whole."""

    def __init__(self, data: Any) -> None:
        try:
            self._view = memoryview(data).cast("B")
        except TypeError:
            raise wrong("model", _EXPECTED, data) from None
        self._position = 0

    @property
    def size(self) -> int:
        return self._view.nbytes

    def read(self, size: int) -> memoryview:
        chunk = self._view[self._position : self._position + size]
        self._position += len(chunk)
        return chunk

    def rewind(self) -> None:
        self._position = 0


class _File:
    """The rest of an open file."""

    def __init__(self, file: Any) -> None:
        if isinstance(file, io.TextIOBase):
            raise UsageError("the file of a model has to be open in binary mode: open(..., 'rb')")
        try:
            self._begin: int = file.tell()
            self._end: int = file.seek(0, os.SEEK_END)
            file.seek(self._begin)
        except (AttributeError, OSError):
            raise UsageError("the size of a model has to be known: this file cannot be sought in") from None
        self._file = file
        self._buffer = memoryview(bytearray())

    @property
    def size(self) -> int:
        return max(0, self._end - self._begin)

    def read(self, size: int) -> bytes | memoryview:
        # The same memory each time, if the file can: getting new one costs as much as reading into it.
        if not hasattr(self._file, "readinto"):
            data: bytes | None = self._file.read(size)
            return _of_blocking(data)
        if len(self._buffer) < size:
            self._buffer = memoryview(bytearray(size))
        length: int | None = self._file.readinto(self._buffer[:size])
        return self._buffer[: _of_blocking(length)]

    def rewind(self) -> None:
        self._file.seek(self._begin)


def _of_blocking(result: T | None) -> T:
    if result is None:
        raise UsageError("the file of a model has to be one that blocks")
    return result
