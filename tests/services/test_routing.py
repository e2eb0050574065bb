"""Receiver patterns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogment_services.orchestrator.routing import Roster

words = st.text(alphabet="ab.*", min_size=1, max_size=4)
casts = st.lists(st.tuples(words, words), min_size=1, max_size=6, unique_by=lambda actor: actor[0])
patterns = st.one_of(words, st.tuples(words, words).map(".".join))


def reference(actors: list[tuple[str, str]], pattern: str) -> tuple[int, ...]:
    """The rules, in their order, word for word."""
    everyone = range(len(actors))
    exact = tuple(index for index in everyone if actors[index][0] == pattern)
    if exact:
        return exact
    if pattern == "*":
        return tuple(everyone)
    if "." not in pattern:
        return ()
    actor_class, name = pattern.split(".", 1)
    of_class = [index for index in everyone if actors[index][1] == actor_class]
    if name == "*":
        return tuple(of_class)
    return tuple(index for index in of_class if actors[index][0] == name)


@given(casts, patterns)
def test_a_pattern_addresses_whom_the_rules_say(actors: list[tuple[str, str]], pattern: str) -> None:
    """An exact name first, then everyone, a class, an actor of a class; a pattern is split at its first dot."""
    assert Roster(actors).receivers(pattern) == reference(actors, pattern)


@given(casts, patterns)
def test_nobody_is_addressed_twice(actors: list[tuple[str, str]], pattern: str) -> None:
    """Receivers are distinct, in the order of the trial parameters, and exist."""
    receivers = Roster(actors).receivers(pattern)
    assert list(receivers) == sorted(set(receivers))
    assert all(0 <= index < len(actors) for index in receivers)


@given(casts)
def test_every_actor_can_be_addressed_by_its_name(actors: list[tuple[str, str]]) -> None:
    """Even one that is called like a pattern."""
    roster = Roster(actors)
    assert [roster.receivers(name) for name, _ in actors] == [(index,) for index in range(len(actors))]


@pytest.mark.parametrize("pattern", ["", ".", "nobody", "player", "*.*", "judge.x", "player.", ".*", "player.x.y"])
def test_what_is_no_receiver_addresses_nobody(pattern: str) -> None:
    """There is no error in it: the Orchestrator complains and goes on."""
    assert Roster([("x", "player"), ("y", "judge")]).receivers(pattern) == ()


def test_a_class_that_is_called_like_a_wildcard_is_a_class() -> None:
    """``*.*`` means the class named ``*``."""
    assert Roster([("x", "*"), ("y", "player")]).receivers("*.*") == (0,)
