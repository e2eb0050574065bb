"""Tokens, as a Directory keeps them: it can compare them, and has none that could be told."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from cogment_core.errors import UsageError

__all__ = ["NOBODY", "digest", "load_tokens"]


def digest(token: str) -> bytes:
    """What is kept of ``token``. Comparing digests takes a time that says nothing about the tokens."""
    return hashlib.sha256(token.encode()).digest()


NOBODY = digest("")
"""Digest of the token of those who have none."""


def load_tokens(path: str | None) -> frozenset[bytes] | None:
    """The digests of the tokens in a file, one in a line; None without a file.

    Raises:
        UsageError: It cannot be read, or there are no tokens in it.
    """
    if not path:
        return None
    try:
        lines: Iterable[str] = Path(path).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"the file of tokens {path!r} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        # Without a cause: that would repeat what is in the file.
        raise UsageError(f"the file of tokens {path!r} is no text") from None
    tokens = frozenset(digest(line.strip()) for line in lines if line.strip())
    if not tokens:
        raise UsageError(f"the file of tokens {path!r} is empty: nobody could use the Directory")
    return tokens
