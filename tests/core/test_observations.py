"""From the observations that users give to what travels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import DoubleValue, StringValue
from hypothesis import given
from hypothesis import strategies as st

from cogment_core.errors import CogmentError, UsageError
from cogment_core.sessions.observations import ObservationPacker

ACTORS = [("ann", "player"), ("bob", "player"), ("jim", "judge")]
A, B, J = StringValue(value="a"), StringValue(value="b"), DoubleValue(value=1)


def packer(actors: Any = ACTORS) -> ObservationPacker:
    spaces = {"player": StringValue, "judge": DoubleValue}
    return ObservationPacker(actors, [spaces[kind] for _, kind in actors])


PLAYERS = ACTORS[:2]


# --- targets ----------------------------------------------------------------------------------------------------------


def test_names_are_targets():
    """Each actor gets what is under its name, in any order."""
    payloads, actors_map = packer().pack([("jim", J), ("bob", B), ("ann", A)])
    assert [payloads[index] for index in actors_map] == [message.SerializeToString() for message in (A, B, J)]


@pytest.mark.parametrize("target", ["*", "*.*"])
def test_a_star_is_everybody(target: str):
    """``*`` sends one payload to all."""
    assert packer(PLAYERS).pack([(target, A)]) == ([A.SerializeToString()], [0, 0])


def test_a_class_is_a_target():
    """``class.*`` is all actors of a class, ``class.name`` one of them."""
    payloads, actors_map = packer().pack([("player.*", A), ("judge.jim", J)])
    assert (len(payloads), actors_map) == (2, [0, 0, 1])


def test_a_name_with_a_dot_is_a_name():
    """The exact name comes first, so an actor whose name has dots can be addressed."""
    actors = [("player.ann", "player"), ("ann", "player"), ("a.b.c", "player")]
    payloads, actors_map = packer(actors).pack([("player.ann", A), ("ann", B), ("player.a.b.c", A)])
    assert (len(payloads), actors_map) == (2, [0, 1, 0])


def test_the_same_object_travels_once():
    """Observations are told apart by identity: one object for many is one payload, equal objects are two."""
    payloads, actors_map = packer(PLAYERS).pack([("ann", A), ("bob", A)])
    assert (len(payloads), actors_map) == (1, [0, 0])
    payloads, actors_map = packer(PLAYERS).pack([("ann", A), ("bob", StringValue(value="a"))])
    assert (len(payloads), actors_map) == (2, [0, 1])


def test_any_iterable_of_pairs_will_do():
    """Lists, tuples, generators and the items of a dict; pairs may be lists."""

    def generate() -> Iterator[tuple[str, Any]]:
        for name in ("ann", "bob"):
            yield name, StringValue(value=name)  # nothing else holds the message

    given: list[Any] = [generate(), {"ann": A, "bob": B}.items(), (["ann", A], ["bob", B]), iter([("*", A)])]
    for observations in given:
        payloads, actors_map = packer(PLAYERS).pack(observations)
        assert len(set(actors_map)) == len(payloads)
    payloads, _ = packer(PLAYERS).pack(generate())
    assert payloads == [StringValue(value=name).SerializeToString() for name in ("ann", "bob")]


def test_a_trial_without_actors_needs_no_observations():
    """Nobody to observe: nothing, and ``*``, are right."""
    assert packer([]).pack([]) == ([], [])
    assert packer([]).pack([("*", A)]) == ([], [])


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("observations", "complaint"),
    [
        ([], "no observation for 'ann', 'bob', 'jim'"),
        ([("ann", A)], "no observation for 'bob', 'jim'"),
        ([("*", A), ("ann", A)], "the only one"),
        ([("ann", A), ("*", A)], "the only one"),
        ([("ann", A), ("ann", B), ("bob", B), ("jim", J)], "two observations for actor 'ann'"),
        ([("ann", A), ("player.*", B), ("jim", J)], "two observations for actor 'ann'"),
        ([("player.ann", A), ("ann", A), ("bob", A), ("jim", J)], "two observations for actor 'ann'"),
        ([("ann", A), ("bob", B), ("jim", J), ("eve", A)], "no actor 'eve' in this trial"),
        ([("player.jim", A)], "no actor 'player.jim' in this trial"),
        ([("ghost.*", A)], "no actor 'ghost.*' in this trial"),
        ([("a.b.c", A)], "no actor 'a.b.c' in this trial"),
        ([("", A)], "no actor '' in this trial"),
        ([(3, A)], "the name of an actor, not 3"),
        ([(None, A)], "the name of an actor, not None"),
        ([(["ann"], A)], r"the name of an actor, not \['ann'\]"),
        ([("ann", J)], "observation of actor 'ann' .*StringValue.*not 'google.protobuf.DoubleValue'"),
        ([("*", A)], "observation of actor 'jim' .*DoubleValue.*not 'google.protobuf.StringValue'"),
        ([("ann", "text")], "observation of actor 'ann' .*StringValue.*not 'str'"),
        ([("*", None)], "observation of actor 'ann' .*not 'NoneType'"),
        (None, "pairs"),
        (3, "pairs"),
        ("*", "pairs"),
        (A, "pairs"),
        (["*"], "pairs"),
        ([A], "pairs"),
        ([("ann", A, B)], "pairs"),
        ({"ann": A, "bob": B, "jim": J}, "pairs"),
        ({"ab": A}, "pairs"),
        ((item for item in ["*"]), "pairs"),
    ],
)
def test_wrong_observations_are_errors(observations: Any, complaint: str):
    """What is wrong with the observations is a CogmentError that says so."""
    with pytest.raises(UsageError, match=complaint):
        packer().pack(observations)


def test_messages_of_the_same_type_from_another_module_are_right():
    """One protobuf type can be several Python classes."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, wrappers_pb2

    pool = descriptor_pool.DescriptorPool()
    file = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(file)
    pool.Add(file)
    twin = message_factory.GetMessageClass(pool.FindMessageTypeByName("google.protobuf.StringValue"))
    assert twin is not StringValue
    payloads, _ = packer(PLAYERS).pack([("*", twin(value="a"))])
    assert payloads == [A.SerializeToString()]


def test_without_specs_any_message_is_right():
    """Without specs observations of any type are taken, if they are protobuf messages."""
    pack = ObservationPacker(ACTORS, [None] * 3).pack
    assert pack([("player.*", J), ("jim", A)])[1] == [0, 0, 1]
    with pytest.raises(UsageError, match="a protobuf message, not 'NoneType'"):
        pack([("*", None)])


# --- all of it --------------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["ann", "bob", "jim", "eve", "player.ann", "x.y", "*", "*.*", "player", "judge"])
TARGETS = st.one_of(NAMES, st.builds("{}.{}".format, st.sampled_from(["player", "judge", "ghost"]), NAMES))
MESSAGES = [StringValue(value=str(index)) for index in range(3)]


@given(
    names=st.lists(NAMES, unique=True, max_size=5),
    classes=st.lists(st.sampled_from(["player", "judge"]), min_size=5, max_size=5),
    pairs=st.lists(st.tuples(TARGETS, st.sampled_from(MESSAGES)), max_size=5),
)
def test_observations_reach_whom_they_name(names: list[str], classes: list[str], pairs: list[Any]):
    """Either every actor gets exactly the one observation whose target names it, or there is an error."""
    actors = list(zip(names, classes, strict=False))

    def meant(target: str, name: str, actor_class: str) -> bool:
        if target in names:
            return target == name
        return target in ("*", "*.*", f"{actor_class}.*", f"{actor_class}.{name}")

    for_each = [[message for target, message in pairs if meant(target, *actor)] for actor in actors]
    pack = ObservationPacker(actors, [None] * len(actors)).pack
    try:
        payloads, actors_map = pack(pairs)
    except CogmentError:
        unknown = [target for target, _ in pairs if not any(meant(target, *actor) for actor in actors)]
        alone = len(pairs) > 1 and any(target in ("*", "*.*") and target not in names for target, _ in pairs)
        assert unknown or alone or any(len(messages) != 1 for messages in for_each)
        return
    assert [[payloads[index]] for index in actors_map] == [
        [message.SerializeToString() for message in messages] for messages in for_each
    ]
