"""The classes that a ``cog_settings`` module is made of."""

import copy
import pickle
from types import SimpleNamespace

import pytest
from google.protobuf.wrappers_pb2 import BytesValue, Int32Value, StringValue

from cogment_core.errors import SpecsError
from cogment_core.specs import ActorClass, ActorClassList, actor_class_of

PLAYER = ActorClass(name="player", config_type=StringValue, action_space=Int32Value, observation_space=BytesValue)
# Named like a method, as a class may be.
GET = ActorClass("get", None, Int32Value, BytesValue)
CLASSES = ActorClassList(PLAYER, GET)


def test_an_actor_class_says_its_types():
    """Existing generated modules construct it with these keywords, and read these attributes."""
    assert PLAYER.name == "player"
    assert PLAYER.config_type is StringValue
    assert PLAYER.action_space is Int32Value
    assert PLAYER.observation_space is BytesValue
    assert GET.config_type is None


def test_actor_classes_are_found_by_attribute_name_and_order():
    """All documented and undocumented ways of access give the same object."""
    assert CLASSES.player is PLAYER
    assert CLASSES["player"] is PLAYER
    assert CLASSES["get"] is GET
    assert CLASSES.get("player") is PLAYER
    assert CLASSES.get_class_by_index(1) is GET
    assert list(CLASSES) == [PLAYER, GET]
    assert len(CLASSES) == 2


def test_membership_is_about_classes_only():
    """Names of methods are not actor classes."""
    assert "player" in CLASSES
    assert "get" in CLASSES
    assert "get_class_by_index" not in CLASSES


def test_an_unknown_class_is_an_attribute_error_that_lists_the_known():
    """By attribute and by name; `get` gives the default instead."""
    for access in (lambda: CLASSES.plyer, lambda: CLASSES["plyer"]):
        with pytest.raises(AttributeError, match=r"'plyer' is not in the specs.*player"):
            access()
    assert CLASSES.get("plyer") is None
    assert CLASSES.get("plyer", PLAYER) is PLAYER
    assert not hasattr(CLASSES, "plyer")


def test_actor_classes_can_be_copied_and_pickled():
    """Protocols that look for special attributes do not take them for actor classes."""
    assert copy.copy(CLASSES)["player"] is PLAYER
    assert "player" in copy.deepcopy(CLASSES)
    assert pickle.loads(pickle.dumps(CLASSES)).player.action_space is Int32Value


def test_the_sdk_asks_for_classes_with_an_error_of_its_own():
    """`actor_class_of` says whether there are no specs, or not this class."""
    settings = SimpleNamespace(actor_classes=CLASSES)
    assert actor_class_of(settings, "player") is PLAYER
    with pytest.raises(SpecsError, match=r"'plyer' is not in the specs.*player"):
        actor_class_of(settings, "plyer")
    with pytest.raises(SpecsError, match="cog_settings"):
        actor_class_of(None, "player")
