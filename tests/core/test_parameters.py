"""Trial and actor parameters."""

import copy
import logging
import math
import random
from types import ModuleType, SimpleNamespace

import pytest
from google.protobuf.wrappers_pb2 import BytesValue, Int32Value, StringValue
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cogment_core.api import common_pb2
from cogment_core.errors import CogmentError, DecodeError, SpecsError, UsageError
from cogment_core.parameter_keywords import ActorKeywords, TrialKeywords
from cogment_core.parameters import ActorParameters, ActorParametersList, TrialParameters
from cogment_core.specs import ActorClass, ActorClassList

SPECS = SimpleNamespace(
    actor_classes=ActorClassList(
        ActorClass("player", StringValue, Int32Value, BytesValue), ActorClass("plain", None, Int32Value, BytesValue)
    ),
    trial=SimpleNamespace(config_type=StringValue),
    environment=SimpleNamespace(config_type=Int32Value),
)
BARE_SPECS = SimpleNamespace(
    actor_classes=ActorClassList(),
    trial=SimpleNamespace(config_type=None),
    environment=SimpleNamespace(config_type=None),
)


def actor(name, **kwargs):
    return ActorParameters(SPECS, "player", name=name, **kwargs)


def trial(*names, **kwargs):
    return TrialParameters(SPECS, actors=[actor(name) for name in names], **kwargs)


def names(actors):
    return [each.name for each in actors]


# --- Attributes


def test_unset_attributes_have_defaults():
    """Numbers are 0, texts empty, collections empty, payloads None."""
    params = TrialParameters(SPECS)
    assert (params.max_steps, params.max_inactivity, params.nb_buffered_ticks) == (0, 0, 0)
    assert (params.environment_name, params.environment_endpoint, params.environment_implementation) == ("", "", "")
    assert params.datalog_endpoint == ""
    assert params.datalog_exclude_fields == ()
    assert params.properties == {}
    assert params.actors == []
    assert params.config is None
    assert params.config_serialized is None
    assert params.environment_config is None
    assert params.environment_config_serialized is None
    assert params.environment_serialized is None
    one = ActorParameters(SPECS, "player")
    assert (one.name, one.endpoint, one.implementation) == ("", "", "")
    assert (one.initial_connection_timeout, one.response_timeout) == (0.0, 0.0)
    assert one.optional is False
    assert one.config is None
    assert one.config_serialized is None
    assert one.default_action is None
    assert one.default_action_serialized is None
    assert params.to_proto() == common_pb2.TrialParams()


TRIAL_VALUES = {
    "config": StringValue(value="c"),
    "properties": {"a": "b"},
    "max_steps": 1000,
    "max_inactivity": 30,
    "nb_buffered_ticks": -1,
    "datalog_endpoint": "grpc://localhost:9003",
    "datalog_exclude_fields": ("info", "messages"),
    "environment_config": Int32Value(value=5),
    "environment_name": "level",
    "environment_endpoint": "grpc://localhost:9001",
    "environment_implementation": "default",
    "actors": [ActorParameters(SPECS, "player", name="x")],
}
ACTOR_VALUES = {
    "name": "a",
    "endpoint": "cogment://client",
    "implementation": "random",
    "config": StringValue(value="c"),
    "initial_connection_timeout": 1.5,
    "response_timeout": 0.25,
    "optional": True,
    "default_action": Int32Value(value=7),
}


@pytest.mark.parametrize("late", [False, True])
def test_every_attribute_can_be_given_at_construction_or_later(late):
    """What is set is read back, and lands in its field of the protocol's message."""
    params = TrialParameters(SPECS) if late else TrialParameters(SPECS, **TRIAL_VALUES)
    one = ActorParameters(SPECS, "player") if late else ActorParameters(SPECS, "player", **ACTOR_VALUES)
    for target, values in ((params, TRIAL_VALUES), (one, ACTOR_VALUES)):
        for name, value in values.items():
            if late:
                setattr(target, name, value)
            assert getattr(target, name) == value
    assert params.to_proto() == common_pb2.TrialParams(
        trial_config=common_pb2.SerializedMessage(content=StringValue(value="c").SerializeToString()),
        properties={"a": "b"},
        datalog=common_pb2.DatalogParams(endpoint="grpc://localhost:9003", exclude_fields=["info", "messages"]),
        environment=common_pb2.EnvironmentParams(
            name="level",
            endpoint="grpc://localhost:9001",
            implementation="default",
            config=common_pb2.SerializedMessage(content=Int32Value(value=5).SerializeToString()),
        ),
        actors=[common_pb2.ActorParams(name="x", actor_class="player")],
        max_steps=1000,
        max_inactivity=30,
        nb_buffered_ticks=-1,
    )
    assert one.to_proto() == common_pb2.ActorParams(
        name="a",
        actor_class="player",
        endpoint="cogment://client",
        implementation="random",
        config=common_pb2.SerializedMessage(content=StringValue(value="c").SerializeToString()),
        initial_connection_timeout=1.5,
        response_timeout=0.25,
        optional=True,
        default_action=common_pb2.SerializedMessage(content=Int32Value(value=7).SerializeToString()),
    )


def test_none_resets_to_the_default():
    """An attribute that is set to None, or an empty one, is as if it had never been set, also on the wire."""
    params = TrialParameters(SPECS, **TRIAL_VALUES)
    for name in TRIAL_VALUES:
        setattr(params, name, None)
    assert params == TrialParameters(SPECS)
    params.environment_name = ""
    params.datalog_exclude_fields = []
    assert params.to_proto() == common_pb2.TrialParams()
    one = ActorParameters(SPECS, "player", **ACTOR_VALUES)
    for name in ACTOR_VALUES:
        setattr(one, name, None)
    assert one == ActorParameters(SPECS, "player")
    assert TrialParameters(SPECS, max_steps=None, actors=None) == TrialParameters(SPECS)


def test_the_keywords_for_type_checkers_are_the_attributes():
    """What editors complete is what there is."""
    assert set(TrialKeywords.__annotations__) == set(TrialParameters.fields)
    assert set(ActorKeywords.__annotations__) == set(ActorParameters.fields) - {"class_name", "actor_class"}


@pytest.mark.parametrize("name", ["max_stps", "_proto", "has_specs", "serialize", "__class__", "nonsense"])
def test_an_unknown_keyword_is_refused(name):
    """Only attributes are keywords: neither private names nor methods are."""
    with pytest.raises(UsageError, match=name):
        TrialParameters(SPECS, **{name: 1})
    with pytest.raises(UsageError, match=name):
        ActorParameters(SPECS, "player", **{name: 1})


def test_an_unknown_attribute_is_refused_with_the_closest_one():
    """A misspelt assignment would be a setting without effect; private names stay free."""
    params = trial("a")
    with pytest.raises(UsageError, match="did you mean 'max_steps'"):
        params.max_stps = 5
    with pytest.raises(UsageError, match="did you mean 'endpoint'"):
        params.actors[0].endpont = "cogment://client"
    with pytest.raises(AttributeError):
        _ = params.max_stps
    params._mine = 5
    assert params._mine == 5


class Index:
    """An integer of another type, as numpy's are."""

    def __init__(self, value):
        self.value = value

    def __index__(self):
        return self.value


@pytest.mark.parametrize(
    ("name", "lowest", "highest"),
    [("max_steps", 0, 2**32 - 1), ("max_inactivity", 0, 2**32 - 1), ("nb_buffered_ticks", -(2**63), 2**63 - 1)],
)
def test_whole_numbers_are_checked(name, lowest, highest):
    """Any integer type in the range of the wire is accepted; bool, fractions, texts and the rest are not."""
    params = TrialParameters(None, **{name: 5})
    for good in (lowest, highest, Index(7)):
        setattr(params, name, good)
        assert getattr(params, name) == getattr(good, "value", good)
        assert type(getattr(params, name)) is int
    before = getattr(params, name)
    for wrong in (lowest - 1, highest + 1, True, 1.0, math.nan, "5", [5], Index(highest + 1)):
        with pytest.raises(UsageError, match=f"{name} has to be a whole number from {lowest} to {highest}"):
            setattr(params, name, wrong)
    assert getattr(params, name) == before


def test_texts_are_checked():
    """Text is `str` that can be sent; a failure leaves the parameters as they were."""
    params = TrialParameters(None)
    for wrong in (5, b"name", ["name"], "\ud800"):
        with pytest.raises(UsageError, match="environment_name has to be text"):
            params.environment_name = wrong
        with pytest.raises(UsageError, match="name has to be text"):
            ActorParameters(None, "player", name=wrong)
    assert params == TrialParameters(None)


def test_seconds_are_checked():
    """Anything that is a finite number of seconds counts, text included; infinity has another spelling."""
    one = ActorParameters(None, "player")
    for good, value in ((1, 1.0), (0.5, 0.5), ("3.5", 3.5), (-1, -1.0)):
        one.response_timeout = good
        assert one.response_timeout == value
    for wrong in ("soon", [1], math.inf, math.nan, 1e300, 10**400, object()):
        with pytest.raises(UsageError, match=r"response_timeout has to be .*seconds"):
            one.response_timeout = wrong
    assert one.response_timeout == -1


def test_flags_are_checked():
    """`optional` is True or False, not merely something."""
    one = ActorParameters(None, "player")
    for wrong in (1, "yes", []):
        with pytest.raises(UsageError, match="optional has to be True or False"):
            one.optional = wrong


def test_properties_are_live():
    """What is done to `properties` counts; assigning replaces them, also by themselves."""
    params = TrialParameters(None, properties={"a": "1"})
    params.properties["b"] = "2"
    assert params.properties == {"a": "1", "b": "2"}
    params.properties = params.properties
    assert dict(params.properties) == {"a": "1", "b": "2"}
    params.properties = {"c": "3"}
    assert dict(params.to_proto().properties) == {"c": "3"}


@pytest.mark.parametrize("wrong", [{"a": 1}, {1: "a"}, 5, "text", {"a": None}, {"\ud800": ""}])
def test_wrong_properties_change_nothing(wrong):
    """Names and values are texts."""
    params = TrialParameters(None, properties={"a": "1"})
    with pytest.raises(UsageError, match="properties"):
        params.properties = wrong
    assert params.properties == {"a": "1"}


def test_excluded_fields_are_a_tuple():
    """Any iterable of texts may be assigned; a single text is one field, not letters."""
    params = TrialParameters(None, datalog_exclude_fields=(name for name in ["info", "rewards"]))
    assert params.datalog_exclude_fields == ("info", "rewards")
    params.datalog_exclude_fields = "actions"
    assert params.datalog_exclude_fields == ("actions",)
    for wrong in (5, [1], ["ok", None]):
        with pytest.raises(UsageError, match="datalog_exclude_fields"):
            params.datalog_exclude_fields = wrong
    assert params.datalog_exclude_fields == ("actions",)


# --- Payloads


def test_payloads_are_copies():
    """Changes to what was given or read are not reflected."""
    config = StringValue(value="before")
    params = TrialParameters(SPECS, config=config)
    config.value = "after"
    params.config.value = "after"
    assert params.config.value == "before"
    assert params.config_serialized == StringValue(value="before").SerializeToString()


def test_an_empty_payload_is_one():
    """A message that serializes to nothing is not None."""
    params = TrialParameters(SPECS, config=StringValue(), environment_config=Int32Value())
    assert params.config == StringValue()
    assert params.config_serialized == b""
    assert params.environment_config == Int32Value()
    assert ActorParameters(SPECS, "player", config_serialized=b"").config == StringValue()


def test_serialized_forms_are_the_same_payload():
    """Both names of the environment's serialized config, and the object form, are one."""
    content = Int32Value(value=3).SerializeToString()
    for name in ("environment_serialized", "environment_config_serialized"):
        params = TrialParameters(SPECS, **{name: bytearray(content)})
        assert params.environment_config == Int32Value(value=3)
        assert params.environment_serialized == params.environment_config_serialized == content
    with pytest.raises(UsageError, match="environment_serialized has to be bytes"):
        params.environment_serialized = "text"


def test_a_payload_of_another_type_is_refused():
    """Configs and default actions have to be what the specs say, and messages at all."""
    params = TrialParameters(SPECS)
    one = ActorParameters(SPECS, "player")
    for target, name in ((params, "config"), (params, "environment_config"), (one, "config"), (one, "default_action")):
        for wrong in (BytesValue(), b"bytes", 5):
            with pytest.raises(CogmentError, match=name):
                setattr(target, name, wrong)
        assert getattr(target, name) is None


def test_a_payload_that_the_specs_do_not_have_is_refused():
    """Where the specs have no type, there is nothing to set or read."""
    params = TrialParameters(BARE_SPECS)
    for name in ("config", "environment_config"):
        with pytest.raises(SpecsError, match=r"no .*config_type"):
            setattr(params, name, StringValue())
    with pytest.raises(SpecsError, match="'plain' has no config_type"):
        ActorParameters(SPECS, "plain", config=StringValue())
    params.config_serialized = b"\x0a\x01c"
    with pytest.raises(SpecsError):
        _ = params.config


def test_payloads_without_specs():
    """Without specs any message can be set, and only the serialized forms can be read."""
    params = TrialParameters(None, config=StringValue(value="c"))
    one = ActorParameters(None, "whatever", config=BytesValue(value=b"c"), default_action=Int32Value(value=1))
    assert not params.has_specs()
    assert not one.has_specs()
    assert TrialParameters(SPECS).has_specs()
    assert params.config_serialized == StringValue(value="c").SerializeToString()
    assert one.default_action_serialized == Int32Value(value=1).SerializeToString()
    for target, name in ((params, "config"), (one, "config"), (one, "default_action")):
        with pytest.raises(SpecsError, match="cog_settings"):
            getattr(target, name)
    assert params.environment_config is None
    with pytest.raises(UsageError):
        params.config = "text"


def test_a_payload_that_cannot_be_read_is_a_decode_error():
    """Bytes that are not the specs' message say so when they are read, not before."""
    params = TrialParameters(SPECS, config_serialized=b"\xff")
    with pytest.raises(DecodeError, match=r"TrialParameters\.config"):
        _ = params.config


# --- Actors


def test_the_class_of_an_actor_is_fixed():
    """`class_name` and `actor_class` are the same, and neither can be assigned."""
    for one in (ActorParameters(SPECS, "player"), ActorParameters(SPECS, actor_class="player")):
        assert one.class_name == one.actor_class == "player"
        assert one.actor_class_spec is SPECS.actor_classes.player
        for name in ("class_name", "actor_class"):
            for value in ("plain", None):
                with pytest.raises(UsageError, match="cannot be changed"):
                    setattr(one, name, value)
    assert ActorParameters(None, "x").actor_class_spec is None
    assert ActorParameters(SPECS, class_name="player", actor_class="player").class_name == "player"


@pytest.mark.parametrize(
    "arguments",
    [{}, {"class_name": ""}, {"class_name": 5}, {"actor_class": b"x"}, {"class_name": "a", "actor_class": "b"}],
)
def test_an_actor_needs_one_class(arguments):
    """The class is text, given once."""
    with pytest.raises(UsageError):
        ActorParameters(SPECS, **arguments)


def test_a_class_that_is_not_in_the_specs_is_warned_about(caplog):
    """The trial may run with other specs, so it is no error until a payload of it is touched."""
    with caplog.at_level(logging.WARNING, "cogment.sdk"):
        one = ActorParameters(SPECS, "plyer", config_serialized=b"")
    assert "did you mean 'player'" in caplog.text
    with pytest.raises(SpecsError, match="plyer"):
        _ = one.config
    with pytest.raises(SpecsError, match="plyer"):
        one.default_action = Int32Value()


def test_items_are_live_and_puts_are_copies():
    """Editing what is in the list counts; editing what was put in does not."""
    one = actor("a")
    params = TrialParameters(SPECS, actors=[one])
    one.name = "changed"
    assert params.actors[0].name == "a"
    params.actors[0].name = "b"
    for each in params.actors:
        each.endpoint = "cogment://client"
    params.actors["b"].optional = True
    assert params.to_proto().actors[0] == common_pb2.ActorParams(
        name="b", actor_class="player", endpoint="cogment://client", optional=True
    )


def test_items_stay_live_when_the_list_changes_around_them():
    """An item goes with its actor through inserts, removals, reversal and sorting."""
    params = trial("a", "b", "c")
    b = params.actors["b"]
    params.actors.insert(0, actor("z"))
    del params.actors["a"]
    params.actors.reverse()
    params.actors.sort(key=lambda each: each.name)
    b.name = "B"
    assert names(params.actors) == ["B", "c", "z"]
    assert params.actors.pop("B") == b
    b.name = "gone"
    assert names(params.actors) == ["c", "z"]


def test_names_are_looked_up_anew_each_time():
    """Renaming, adding and removing actors never makes a lookup wrong; the first of a name wins."""
    params = trial("a", "b")
    assert params.actors["b"].name == "b"
    params.actors[1].name = "c"
    params.actors.append(actor("b", implementation="new"))
    assert params.actors["b"].implementation == "new"
    params.actors.insert(0, actor("b", implementation="first"))
    assert params.actors["b"].implementation == "first"
    assert params.actors.index_of("c") == 2
    with pytest.raises(CogmentError, match=r"no actor is called 'x'.*known: a, b, b, c"):
        params.actors["x"]
    params.actors["a"] = actor("replaced")
    assert names(params.actors) == ["b", "replaced", "c", "b"]


def test_wrong_keys_and_items_are_refused():
    """Keys are indexes, names or slices, items are `ActorParameters`; errors leave the list as it was."""
    params = trial("a", "b")
    for index in (2, -3):
        with pytest.raises(IndexError, match=f"no actor #{index}: the trial has 2"):
            params.actors[index]
        with pytest.raises(IndexError):
            del params.actors[index]
        with pytest.raises(IndexError):
            params.actors[index] = actor("x")
    for key in (1.0, None, b"a"):
        with pytest.raises(UsageError):
            params.actors[key]
    for wrong in ({"name": "x"}, None, "x", common_pb2.ActorParams()):
        with pytest.raises(UsageError, match="ActorParameters"):
            params.actors.append(wrong)
        with pytest.raises(UsageError):
            params.actors.extend([actor("ok"), wrong])
        with pytest.raises(UsageError):
            params.actors = [actor("ok"), wrong]
    with pytest.raises(ValueError, match="1 actors cannot be assigned to a slice of 2"):
        params.actors[::-1] = [actor("x")]
    with pytest.raises(ValueError, match="not in list"):
        params.actors.remove(actor("x"))
    for wrong in (5, actor("x")):
        with pytest.raises(UsageError, match="actors has to be a list of ActorParameters"):
            params.actors = wrong
    assert names(params.actors) == ["a", "b"]


@pytest.mark.parametrize(
    "same",
    [
        lambda actors: actors,
        lambda actors: (each for each in actors),
        lambda actors: list(actors),
        lambda actors: actors[:],
        lambda actors: map(lambda each: each, actors),
    ],
)
def test_actors_can_be_assigned_from_themselves(same):
    """The new content is taken before the old one goes."""
    params = trial("a", "b")
    params.actors = same(params.actors)
    assert names(params.actors) == ["a", "b"]
    params.actors.extend(same(params.actors))
    params.actors += same(params.actors[:1])
    params.actors[1:1] = same(params.actors)
    assert names(params.actors) == ["a", *"ababa", *"baba"]


def test_swapping_and_shuffling():
    """Items are replaced, not overwritten, so that exchanging them works."""
    params = trial(*"abcdef")
    params.actors[0], params.actors[5] = params.actors[5], params.actors[0]
    assert names(params.actors) == list("fbcdea")
    random.Random(1).shuffle(params.actors)
    assert sorted(names(params.actors)) == list("abcdef")


def test_actor_lists_compare_by_value():
    """Equality, membership, `index`, `count` and `remove` look at values; names are members too."""
    params = trial("a", "b", "a")
    assert params.actors == trial("a", "b", "a").actors
    assert params.actors == [actor("a"), actor("b"), actor("a")]
    assert [actor("a"), actor("b"), actor("a")] == params.actors
    assert params.actors != [actor("a")]
    assert params.actors != (1, 2)
    assert actor("b") in params.actors
    assert actor("c") not in params.actors
    assert "b" in params.actors
    assert "c" not in params.actors
    assert params.actors.count(actor("a")) == 2
    assert params.actors.index(actor("a"), 1) == 2
    params.actors.remove(actor("a"))
    assert names(params.actors) == ["b", "a"]
    for unhashable in (params, params.actors, params.actors[0]):
        with pytest.raises(TypeError):
            hash(unhashable)


class ListModel(RuleBasedStateMachine):
    """Drives the actors of a trial and a plain list of their names through the same operations."""

    index = st.integers(-7, 7)
    name = st.sampled_from("abcdefgh")
    several = st.lists(name, max_size=4)
    part = st.builds(slice, st.none() | index, st.none() | index, st.none() | st.sampled_from([-2, -1, 1, 2, 3]))

    def __init__(self):
        super().__init__()
        self.params = TrialParameters(SPECS)
        self.actors = self.params.actors
        self.model = []

    def both(self, on_actors, on_model):
        """Both operations fail alike, or give the same names."""
        try:
            expected = on_model()
        except (IndexError, ValueError) as error:
            with pytest.raises(type(error)):
                on_actors()
        else:
            result = on_actors()
            if isinstance(result, ActorParameters):
                result = result.name
            elif isinstance(result, list):
                result = names(result)
            assert result == expected

    @rule(index=index, name=name)
    def insert(self, index, name):
        self.both(lambda: self.actors.insert(index, actor(name)), lambda: self.model.insert(index, name))

    @rule(name=name)
    def append(self, name):
        self.both(lambda: self.actors.append(actor(name)), lambda: self.model.append(name))

    @rule(index=index)
    def pop(self, index):
        self.both(lambda: self.actors.pop(index), lambda: self.model.pop(index))

    @rule(name=name)
    def remove(self, name):
        self.both(lambda: self.actors.remove(actor(name)), lambda: self.model.remove(name))

    @rule(index=index, name=name)
    def replace(self, index, name):
        self.both(lambda: self.actors.__setitem__(index, actor(name)), lambda: self.model.__setitem__(index, name))

    @rule(index=index, name=name)
    def rename(self, index, name):
        self.both(lambda: setattr(self.actors[index], "name", name), lambda: self.model.__setitem__(index, name))

    @rule(part=part)
    def get_slice(self, part):
        self.both(lambda: self.actors[part], lambda: self.model[part])

    @rule(part=part, several=several)
    def set_slice(self, part, several):
        self.both(
            lambda: self.actors.__setitem__(part, (actor(name) for name in several)),
            lambda: self.model.__setitem__(part, several),
        )

    @rule(part=part)
    def delete_slice(self, part):
        self.both(lambda: self.actors.__delitem__(part), lambda: self.model.__delitem__(part))

    @rule(index=index)
    def delete(self, index):
        self.both(lambda: self.actors.__delitem__(index), lambda: self.model.__delitem__(index))

    @rule(several=several)
    def extend(self, several):
        self.both(lambda: self.actors.extend(map(actor, several)), lambda: self.model.extend(several))

    @rule()
    def clear(self):
        self.both(self.actors.clear, self.model.clear)

    @rule()
    def reverse(self):
        self.both(self.actors.reverse, self.model.reverse)

    @rule(reverse=st.booleans())
    def sort(self, reverse):
        self.both(
            lambda: self.actors.sort(key=lambda each: each.name, reverse=reverse),
            lambda: self.model.sort(reverse=reverse),
        )

    @rule(name=name)
    def find(self, name):
        self.both(lambda: self.actors.index(actor(name)), lambda: self.model.index(name))
        self.both(lambda: self.actors.count(actor(name)), lambda: self.model.count(name))
        assert (name in self.actors) == (name in self.model)

    @rule()
    def over_the_wire(self):
        self.params.deserialize(self.params.serialize())

    @invariant()
    def same(self):
        assert names(self.actors) == self.model
        assert len(self.actors) == len(self.model)
        assert names(reversed(self.actors)) == self.model[::-1]
        assert self.actors + self.model[:0] == self.model[:0] + self.actors == self.actors.copy() == self.actors
        assert [each.name for each in self.params.to_proto().actors] == self.model
        assert self.params.actors is self.actors


TestActorsAreAList = ListModel.TestCase
TestActorsAreAList.settings = hypothesis_settings(max_examples=40, stateful_step_count=25, deadline=None)


# --- The whole


def test_serialized_parameters_are_those_of_the_protocol():
    """`serialize` makes a `TrialParams`, the same bytes for equal parameters, and `deserialize` takes them back."""
    params = TrialParameters(SPECS, **TRIAL_VALUES)
    raw = params.serialize()
    assert params.get_serialization_type() == 3
    assert common_pb2.TrialParams.FromString(raw) == params.to_proto()
    for kind in (None, 3):
        other = TrialParameters(SPECS, max_steps=5)
        other.deserialize(raw, kind)
        assert other == params
        assert other.serialize() == raw
    other.properties = {str(number): "" for number in range(20)}
    again = TrialParameters(SPECS, **TRIAL_VALUES)
    again.properties = {str(number): "" for number in reversed(range(20))}
    assert again.serialize() == other.serialize()


def test_earlier_lists_see_deserialized_actors():
    """A list of actors that was taken before does not go stale."""
    params = trial("a")
    actors = params.actors
    params.deserialize(trial("b", "c").serialize())
    assert names(actors) == ["b", "c"]
    actors.append(actor("d"))
    assert names(params.actors) == ["b", "c", "d"]


def test_what_cannot_be_deserialized_changes_nothing():
    """Another type is a usage error, garbage a decode error."""
    params = trial("a")
    for wrong, kind, error in ((b"", 2, UsageError), ("text", None, UsageError), (b"\xff\xff", None, DecodeError)):
        with pytest.raises(error):
            params.deserialize(wrong, kind)
    assert params == trial("a")


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(raw):
    """Deserializing fails with `DecodeError` only."""
    params = TrialParameters(SPECS)
    try:
        params.deserialize(raw)
    except DecodeError:
        assert params == TrialParameters(SPECS)
    else:
        assert params.to_proto() == common_pb2.TrialParams.FromString(raw)


def test_parameters_compare_by_value():
    """Specs do not count, and a trial is not an actor."""
    assert trial("a", max_steps=5) == trial("a", max_steps=5)
    assert trial("a") != trial("b")
    assert TrialParameters(None) == TrialParameters(SPECS)
    assert trial() != actor("a")
    assert trial() != {}


def test_copies_are_independent():
    """Shallow and deep copies keep the specs, which cannot be copied, and share nothing else."""
    settings = ModuleType("cog_settings")
    settings.actor_classes, settings.trial, settings.environment = SPECS.actor_classes, SPECS.trial, SPECS.environment
    params = TrialParameters(settings, actors=[actor("a")], config=StringValue(value="c"))
    for duplicate in (copy.copy(params), copy.deepcopy(params)):
        assert duplicate == params
        assert duplicate.config.value == "c"
        duplicate.actors[0].name = "b"
        duplicate.actors.append(actor("c"))
    assert names(params.actors) == ["a"]
    one = copy.deepcopy(params.actors[0])
    one.name = "b"
    assert params.actors[0].name == "a"


def test_wrapping_a_message_does_not_copy_it():
    """`from_proto` and `to_proto` are views of one message."""
    proto = common_pb2.TrialParams(max_steps=5)
    params = TrialParameters.from_proto(SPECS, proto)
    params.max_steps = 6
    params.actors.append(params.new_actor("player", name="a"))
    assert proto.max_steps == 6
    assert proto.actors[0].name == "a"
    assert params.to_proto() is proto
    assert params.actors[0].has_specs()
    assert isinstance(params.actors, ActorParametersList)


def test_the_representation_shows_what_is_set_and_no_secrets():
    """Only what differs from the default is shown, payloads by their size, and no tokens."""
    params = TrialParameters(
        SPECS,
        max_steps=5,
        config=StringValue(value="c"),
        environment_endpoint="cogment://discover?__authentication-token=s3cret",
        actors=[actor("a")],
    )
    shown = repr(params)
    assert "s3cret" not in shown
    assert "max_steps=5" in shown
    assert "config_serialized=<3 bytes>" in shown
    assert "name='a'" in shown
    assert "max_inactivity" not in shown
    assert repr(TrialParameters(None)) == "TrialParameters()"
