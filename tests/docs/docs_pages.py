"""The pages of the documentation, and the blocks of code in them."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
TOUR = DOCS / "index.md"
"""The page with the files that other pages go on from."""
PAGES = [README, *sorted(DOCS.rglob("*.md"))]

_BLOCK = re.compile(r'^( *)```(\w+)(?: title="([^"]+)")?\n(.*?)^\1```$', re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    page: Path
    line: int
    language: str
    title: str
    """Name of the file that the block is; empty for a fragment."""
    text: str

    def __str__(self) -> str:
        return f"{name_of(self.page)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """The blocks of ``page``, in order."""
    text = page.read_text()
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found[2], found[3] or "", textwrap.dedent(found[4]))
        for found in _BLOCK.finditer(text)
    ]


def commands_of(text: str) -> list[str]:
    """The commands in a block, one per line; a line that ends with a backslash goes on in the next."""
    return [line for line in re.sub(r"\\\n\s*", "", text).splitlines() if line]


def name_of(page: Path) -> str:
    """The path of ``page`` in the repository."""
    return str(page.relative_to(ROOT))
