"""From "(target, observation)" pairs to the payloads and the map that the protocol sends."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.message import Message

from cogment_core.errors import UsageError
from cogment_core.payloads import require

__all__ = ["ObservationPacker"]

_EVERYBODY = ("*", "*.*")
_NOTHING = -1


class ObservationPacker:
    """Packs the observations of one trial.

    Args:
        actors: Name and class of each actor of the trial, in its order.
        spaces: Type of each actor's observations; None if the specs are not known.
    """

    def __init__(self, actors: Sequence[tuple[str, str]], spaces: Sequence[type[Message] | None]) -> None:
        self._actors = actors
        self._spaces = spaces
        self._index = {name: index for index, (name, _) in enumerate(actors)}

    def pack(self, observations: Iterable[tuple[str, Message]]) -> tuple[list[bytes], list[int]]:
        """Serialize each distinct observation once.

        Returns:
            The payloads, and for each actor the index of its payload.

        Raises:
            UsageError: These are no pairs; an actor gets no observation, or two; a target is unknown; an observation is
                of another type.
        """
        pairs = _as_list(observations)
        spaces = self._spaces
        payloads: list[bytes] = []
        actors_map = [_NOTHING] * len(self._actors)
        packed: dict[int, int] = {}
        for pair in pairs:
            if isinstance(pair, str):  # two letters would be taken for a pair
                raise _no_pairs(pair)
            try:
                target, observation = pair
            except (TypeError, ValueError):
                raise _no_pairs(pair) from None
            indexes = self._targets(target)
            if len(pairs) > 1 and target in _EVERYBODY:
                raise UsageError(f"the target {target!r} is for all actors: it has to be the only one")
            for index in indexes:
                if actors_map[index] != _NOTHING:
                    raise UsageError(f"two observations for actor {self._actors[index][0]!r}")
                if type(observation) is not spaces[index]:
                    require(observation, spaces[index], self._describe(index))
                # The same object for several actors is sent once.
                payload = packed.get(id(observation))
                if payload is None:
                    payload = packed[id(observation)] = len(payloads)
                    payloads.append(observation.SerializeToString())
                actors_map[index] = payload
        if _NOTHING in actors_map:
            raise UsageError(f"no observation for {self._names(actors_map)}: each actor has to get one")
        return payloads, actors_map

    def _targets(self, target: object) -> Sequence[int]:
        """Whom ``target`` names."""
        if not isinstance(target, str):
            raise UsageError(f"the target of an observation is the name of an actor, not {target!r}")
        index = self._index.get(target)
        if index is not None:
            return (index,)
        if target in _EVERYBODY:
            return range(len(self._actors))
        wanted_class, _, wanted_name = target.partition(".")
        found = [
            index
            for index, (name, actor_class) in enumerate(self._actors)
            if actor_class == wanted_class and wanted_name in ("*", name)
        ]
        if not found:
            known = ", ".join(name for name, _ in self._actors) or "none"
            raise UsageError(f"no actor {target!r} in this trial (its actors: {known})")
        return found

    def _describe(self, index: int) -> str:
        name, actor_class = self._actors[index]
        return f"the observation of actor {name!r} (class {actor_class!r})"

    def _names(self, actors_map: list[int]) -> str:
        return ", ".join(
            repr(name) for (name, _), payload in zip(self._actors, actors_map, strict=True) if payload == _NOTHING
        )


def _as_list(observations: Any) -> list[Any]:
    try:
        return list(observations)
    except TypeError as error:
        raise _no_pairs(observations) from error


def _no_pairs(given: object) -> UsageError:
    return UsageError(
        "observations have to be pairs of a target and an observation, for example [('*', observation)] or the items() "
        f"of a dict, not {reprlib.repr(given)}"
    )
