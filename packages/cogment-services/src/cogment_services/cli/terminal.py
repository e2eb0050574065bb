"""What is written to a terminal: names that others chose must not command it."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager

from cogment_core.errors import UsageError

__all__ = ["bytes_text", "count_of", "lenient_output", "one_line", "safe", "standard_output_guarded", "table"]

_HARMFUL = {"Cc", "Cf", "Cs", "Zl", "Zp"}
"""Unicode categories of what moves the cursor, starts a command of the terminal, or turns the text around."""

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def safe(text: str) -> str:
    """``text`` with a replacement for everything that is no visible character or space."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_REPLACEMENT if unicodedata.category(it) in _HARMFUL else it for it in text)


def one_line(text: str) -> str:
    """``text`` as one safe line."""
    return safe(" ".join(text.split()))


def bytes_text(count: int) -> str:
    """A number of bytes, in powers of 1000: ``12.3 kB``."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.95 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError("GB is the last unit")


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table without borders. Lines are as long as they have to be, so that tools find whole values in them."""
    from rich.cells import cell_len  # wide characters take two columns

    cells = [list(titles), *([safe(cell) for cell in row] for row in rows)]
    widths = [max(cell_len(row[column]) for row in cells) for column in range(len(titles))]
    lines = (
        "  ".join(it + " " * (width - cell_len(it)) for it, width in zip(row, widths, strict=True)) for row in cells
    )
    return "\n".join(line.rstrip() for line in lines)


def lenient_output() -> None:
    """Escape characters that the output cannot show, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def count_of(number: int, noun: str) -> str:
    """``1 trial``, ``2 trials``, ``1,000 trials``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


@contextmanager
def standard_output_guarded() -> Generator[None, None, None]:
    """Tell in one line that whoever reads the standard output has gone.

    Raises:
        UsageError: It has.
    """
    output = sys.stdout
    try:
        yield
        if output is not None:  # else it is closed: nobody wants to read anything
            output.flush()
    except BrokenPipeError:
        # Python writes what is left when it ends: to nowhere, so that this does not fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise UsageError("the output is not read any more") from None
