"""Where the data of a model goes to: a path or an open file."""

from __future__ import annotations

import asyncio
import io
import os
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeAlias

from cogment_core.checks import wrong
from cogment_core.errors import UsageError

__all__ = ["ModelDestination", "open_destination", "write_all"]

ModelDestination: TypeAlias = "os.PathLike[str] | BinaryIO"
"""Where to put a model: a path (a ``pathlib.Path``), or a file that is open for writing."""

_NONBLOCKING: int = getattr(os, "O_NONBLOCK", 0)


@asynccontextmanager
async def open_destination(destination: ModelDestination) -> AsyncGenerator[BinaryIO, None]:
    """Give a file to write to.

    For a path it is a temporary one beside it, which replaces what is there when all went well, and is removed
    otherwise: nobody ever sees half a model. Where a link leads to is replaced, not the link. A pipe or a device is
    written to, and stays.

    Raises:
        UsageError: ``destination`` is none of what it can be.
        OSError: The file cannot be made.
    """
    if not isinstance(destination, os.PathLike):
        yield _checked(destination)
        return
    if _is_special(destination):
        with open(destination, "wb", buffering=0, opener=_at_once) as special:  # noqa: ASYNC230
            yield special
        return
    path = _target(destination)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    # Not in a thread: one that is given up meanwhile would leave a file that nobody knows of.
    file = open(temporary, "xb")  # noqa: ASYNC230, SIM115
    try:
        yield file
        await asyncio.to_thread(_put_in_place, file, path)
    except BaseException:
        file.close()
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise


def _checked(file: BinaryIO) -> BinaryIO:
    if isinstance(file, io.TextIOBase):
        raise UsageError("the file for a model has to be open in binary mode: open(..., 'wb')")
    if not hasattr(file, "write"):
        expected = "a path such as pathlib.Path('model.pt'), or a file that is open for writing in binary mode"
        raise wrong("destination", expected, file)
    return file


def _is_special(path: os.PathLike[str]) -> bool:
    """Whether there is something else than a file: a pipe, a device, or a directory."""
    return os.path.exists(path) and not os.path.isfile(path)


def _target(path: os.PathLike[str]) -> Path:
    """What is to be replaced."""
    return Path(os.path.realpath(path))


def _at_once(path: str, flags: int) -> int:
    """Open ``path``; fail rather than to wait until somebody reads from a pipe."""
    descriptor = os.open(path, flags | _NONBLOCKING)
    if _NONBLOCKING:
        os.set_blocking(descriptor, True)
    return descriptor


def _put_in_place(file: BinaryIO, path: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
    os.replace(file.name, path)


def write_all(file: BinaryIO, data: bytes | memoryview) -> None:
    """Write all of ``data``: a file without a buffer may take less at a time."""
    written = file.write(data)
    while written < len(data):
        written += file.write(memoryview(data)[written:])
