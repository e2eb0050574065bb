"""Whom a reward or a message is for."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["Roster"]

EVERYONE = "*"


class Roster:
    """The actors of a trial by name and class, and the patterns that address them.

    A pattern is, tried in this order: the exact name of an actor; ``*`` for all actors; ``class.*`` for all actors of a
    class; ``class.name`` for one actor if it is of that class. A pattern is split at its first dot.

    Args:
        actors: Name and class of each actor, in the order of the trial parameters.
    """

    __slots__ = ("_by_class", "_by_name", "_classes", "_everyone")

    def __init__(self, actors: Sequence[tuple[str, str]]) -> None:
        self._everyone = tuple(range(len(actors)))
        self._classes = tuple(actor_class for _, actor_class in actors)
        self._by_name = {name: (index,) for index, (name, _) in enumerate(actors)}
        by_class: dict[str, list[int]] = {}
        for index, actor_class in enumerate(self._classes):
            by_class.setdefault(actor_class, []).append(index)
        self._by_class = {actor_class: tuple(indexes) for actor_class, indexes in by_class.items()}

    def receivers(self, pattern: str) -> tuple[int, ...]:
        """Indexes of the actors that ``pattern`` addresses, ascending; empty if it addresses nobody."""
        exact = self._by_name.get(pattern)
        if exact is not None:
            return exact
        if pattern == EVERYONE:
            return self._everyone
        actor_class, dot, name = pattern.partition(".")
        if not dot:
            return ()
        if name == EVERYONE:
            return self._by_class.get(actor_class, ())
        named = self._by_name.get(name, ())
        return named if named and self._classes[named[0]] == actor_class else ()
