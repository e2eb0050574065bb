"""Trials for tests: their specs, their parameters, and samples as datastores keep them."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import StringValue

from cogment_core.api import common_pb2
from cogment_core.api.trial_datastore_pb2 import (
    StoredTrialActorSample,
    StoredTrialActorSampleMessage,
    StoredTrialActorSampleReward,
    StoredTrialSample,
)
from cogment_core.specs import ActorClass, ActorClassList, ConfigSpec

F = descriptor_pb2.FieldDescriptorProto
_SCALARS = {"int32": F.TYPE_INT32, "float": F.TYPE_FLOAT, "double": F.TYPE_DOUBLE, "bool": F.TYPE_BOOL}
_SCALARS |= {"string": F.TYPE_STRING, "bytes": F.TYPE_BYTES, "uint64": F.TYPE_UINT64, "int64": F.TYPE_INT64}


def field(name: str, number: int, kind: str, *, repeated: bool = False, optional: bool = False) -> Any:
    """The descriptor of a field; ``kind`` is a scalar type, ``enum NAME``, or the name of a message type."""
    result = F(name=name, number=number, label=F.LABEL_REPEATED if repeated else F.LABEL_OPTIONAL)
    if kind.startswith("enum "):
        result.type, result.type_name = F.TYPE_ENUM, f".data_for_tests.{kind[5:]}"
    elif kind in _SCALARS:
        result.type = _SCALARS[kind]
    else:
        result.type, result.type_name = F.TYPE_MESSAGE, f".{kind}"
    result.proto3_optional = optional
    return result


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name="data_for_tests.proto", package="data_for_tests", syntax="proto3")
    file.dependency.append("google/protobuf/struct.proto")
    color = file.enum_type.add(name="Color")
    for number, name in enumerate(("RED", "GREEN", "BLUE")):
        color.value.add(name=name, number=number)
    point = file.message_type.add(name="Point")
    point.field.extend([field("x", 1, "float"), field("y", 2, "float")])
    move = file.message_type.add(name="Move")
    move.field.extend([field("direction", 1, "int32")])
    view = file.message_type.add(name="View")
    view.field.extend(
        [
            field("position", 1, "data_for_tests.Point"),
            field("pixels", 2, "float", repeated=True),
            field("color", 3, "enum Color"),
            field("label", 4, "string"),
            field("others", 5, "data_for_tests.Point", repeated=True),
            field("picture", 6, "bytes"),
            field("lives", 7, "int32", optional=True),
            field("big", 8, "uint64"),
            field("done", 10, "bool"),
        ]
    )
    view.field[6].oneof_index = 0
    view.oneof_decl.add(name="_lives")
    entry = view.nested_type.add(name="CountsEntry")
    entry.field.extend([field("key", 1, "string"), field("value", 2, "int32")])
    entry.options.map_entry = True
    view.field.append(field("counts", 9, "data_for_tests.View.CountsEntry", repeated=True))
    numbers = file.message_type.add(name="Numbers")
    numbers.field.extend(
        [
            field("position", 1, "data_for_tests.Point"),
            field("pixels", 2, "float", repeated=True),
            field("lives", 3, "int32"),
        ]
    )
    node = file.message_type.add(name="Node")
    node.field.extend([field("value", 1, "int32"), field("children", 2, "data_for_tests.Node", repeated=True)])
    holder = file.message_type.add(name="Holder")
    holder.field.extend([field("anything", 1, "google.protobuf.Struct")])
    return file


struct_pb2.Struct()  # its file has to be in the pool
_POOL = descriptor_pool.Default()
_FILE = _POOL.AddSerializedFile(_file().SerializeToString()) or _POOL.FindFileByName("data_for_tests.proto")


def message_type(name: str) -> Any:
    """The class of one of the messages above."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"data_for_tests.{name}"))


Point, Move, View, Numbers, Node, Holder = (
    message_type(name) for name in ("Point", "Move", "View", "Numbers", "Node", "Holder")
)


def specs(observation_space: Any = View, action_space: Any = Move) -> Any:
    """Specs with the classes ``player`` and ``judge``, as a ``cog_settings`` module would have them."""
    player = ActorClass("player", None, action_space, observation_space)
    judge = ActorClass("judge", None, StringValue, StringValue)
    config = ConfigSpec(None)
    return SimpleNamespace(actor_classes=ActorClassList(player, judge), trial=config, environment=config)


def trial_params(**values: Any) -> common_pb2.TrialParams:
    """Parameters with the players ``alice`` and ``bob`` and the judge ``carol``, in an environment ``world``."""
    params = common_pb2.TrialParams(**values)
    params.environment.name = "world"
    params.actors.add(name="alice", actor_class="player", implementation="random")
    params.actors.add(name="bob", actor_class="player", implementation="trained")
    params.actors.add(name="carol", actor_class="judge")
    return params


def whole(text: str) -> bytes:
    """A message of one string as our datastore keeps it: a whole ``Any``."""
    packed = AnyMessage()
    packed.Pack(StringValue(value=text))
    return packed.SerializeToString()


def inner(text: str) -> bytes:
    """A message of one string as the existing datastore keeps it: the bytes of the message alone."""
    return StringValue(value=text).SerializeToString()


def sample_of(
    tick_id: int, *, state: common_pb2.TrialState.ValueType = common_pb2.RUNNING, reward: float | None = 1.0
) -> StoredTrialSample:
    """A sample in which ``alice`` and ``bob`` observe, act, and ``bob`` gets no reward.

    Made as the existing server makes it: payloads in the order observations, actions.
    """
    observations = [
        View(position={"x": tick_id, "y": 0.5}, label=name, pixels=[1, 2, 3]).SerializeToString()
        for name in ("alice", "bob")
    ]
    actions = [Move(direction=tick_id).SerializeToString(), Move(direction=-tick_id).SerializeToString(), b""]
    sample = StoredTrialSample(
        tick_id=tick_id,
        timestamp=1_700_000_000_000_000_000 + tick_id * 1_000_000_000,
        state=state,
        payloads=[*observations, inner("all"), *actions],
    )
    for index in range(3):
        sample.actor_samples.append(StoredTrialActorSample(actor=index, observation=index, action=3 + index))
    if reward is not None:
        sample.actor_samples[0].reward = reward
    return sample


def episode(length: int) -> list[StoredTrialSample]:
    """The samples of a trial that ended: ``length`` of them, the last without actions."""
    samples = [sample_of(tick) for tick in range(length - 1)]
    last = sample_of(length - 1, state=common_pb2.ENDED)
    last.payloads[3:] = [b"", b"", b""]
    return [*samples, last]


def recorded(payloads: Sequence[bytes]) -> StoredTrialSample:
    """A sample as the existing server keeps it.

    The environment rewarded alice with user data; bob sent alice a reward and a message, alice answered everybody, and
    the environment sent bob a message. -1 is the environment, and whatever was no actor. A received reward has no
    receiver and a sent one no sender: they read as 0.

    Args:
        payloads: User data of the environment's reward, and the three messages in that order.
    """
    sample = StoredTrialSample(tick_id=7, state=common_pb2.RUNNING, payloads=[b"", *payloads])
    alice = sample.actor_samples.add(actor=0, reward=0.75)
    alice.received_rewards.append(StoredTrialActorSampleReward(sender=-1, reward=1.0, confidence=1.0, user_data=1))
    alice.received_rewards.append(StoredTrialActorSampleReward(sender=1, reward=0.5, confidence=1.0))
    alice.received_messages.append(StoredTrialActorSampleMessage(sender=1, payload=2))
    alice.sent_messages.append(StoredTrialActorSampleMessage(receiver=-1, payload=3))
    bob = sample.actor_samples.add(actor=1)
    bob.sent_rewards.append(StoredTrialActorSampleReward(receiver=0, reward=0.5, confidence=1.0))
    bob.sent_messages.append(StoredTrialActorSampleMessage(receiver=0, payload=2))
    bob.received_messages.append(StoredTrialActorSampleMessage(sender=-1, payload=4))
    return sample
