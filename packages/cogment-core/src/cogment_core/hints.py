"""What an error says after a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["hint"]

_MOST_LISTED = 30


def hint(name: str, known: Iterable[str]) -> str:
    """The way out of an unknown name: the closest known one, and what is known.

    For example ``did you mean 'max_steps'? (known: max_inactivity, max_steps)``.
    """
    import difflib  # only errors need it

    names = sorted(known)
    listed = ", ".join(names[:_MOST_LISTED]) + (", ..." if len(names) > _MOST_LISTED else "")
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}? (known: {listed})" if close else f"known: {listed or 'none'}"
