"""Files that are there as a whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["replacing"]


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Generator[Path, None, None]:
    """Gives the path of a file to write, which takes the place of ``path`` when the block ends without an error.

    Otherwise it is removed, and what was at ``path`` before stays.
    """
    final = Path(path)
    part = final.with_name(f"{final.name}.part")
    try:
        yield part
    except BaseException:
        with suppress(FileNotFoundError):
            part.unlink()
        raise
    part.replace(final)
