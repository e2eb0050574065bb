"""Flat columns: one for each scalar in observations and actions, however deep it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from cogment_datastore.exports.columns import identity
from cogment_datastore.exports.descriptors import NUMBERS, is_map, is_message, is_repeated, message_of
from cogment_datastore.exports.plain import Plain
from cogment_datastore.exports.spaces import common_action, common_observation
from cogment_datastore.fields import DatastoreFields

if TYPE_CHECKING:
    from cogment_datastore.datastore import Datastore
    from cogment_datastore.exports.selection import Plan, Row, Selection

__all__ = ["Column", "FlatRows"]

_SCALARS = {**NUMBERS, FieldDescriptor.CPPTYPE_BOOL: "bool"}


@dataclass(frozen=True)
class Column:
    """A column of a flat table."""

    name: str
    """Its name, for example ``observation.position.x``."""

    dtype: str
    """The NumPy type of a value, or of the values in a list."""

    is_list: bool = False
    """Whether each value is a list of numbers."""

    nullable: bool = False
    """Whether values can be missing: they are None then."""

    path: tuple[str, ...] = ()
    """Where the value is."""


_IDENTITY = (
    Column("trial_id", "object"),
    Column("tick_id", "uint64"),
    Column("timestamp", "datetime64[ns]"),
    Column("trial_state", "object"),
    Column("actor", "object"),
    Column("actor_class", "object"),
    Column("implementation", "object"),
)


class FlatRows:
    """Makes flat rows.

    Args:
        datastore: Where they come from.
        selection: What they have.
        plan: Which trials they are of.

    Attributes:
        columns: The columns.

    Raises:
        SpecsError: The specs do not have the class of an actor.
        ExportError: The selected actors have different types of messages.
    """

    def __init__(self, datastore: Datastore, selection: Selection, plan: Plan) -> None:
        self._plain = Plain()
        self._payloads: list[str] = []
        self.columns = [*_IDENTITY]
        for name, field, common in (
            ("observation", DatastoreFields.OBSERVATION, common_observation),
            ("action", DatastoreFields.ACTION, common_action),
        ):
            if not selection.has(field):
                continue
            if datastore.settings is None:
                self._payloads.append(f"{name}_serialized")
                self.columns.append(Column(f"{name}_serialized", "object", nullable=True, path=(f"{name}_serialized",)))
            elif (descriptor := common(datastore.settings, plan.actor_classes)) is not None:
                self._payloads.append(name)
                self.columns += _leaves(descriptor, (name,), ())
        if selection.has(DatastoreFields.REWARD):
            self.columns.append(Column("reward", "float32", nullable=True, path=("reward",)))

    def values(self, row: Row) -> list[Any]:
        """The values of ``row``, one for each column."""
        data = row.data
        nested: dict[str, Any] = {"reward": data.reward if data.has_reward else None}
        for name in self._payloads:
            payload = getattr(data, name)
            nested[name] = payload if payload is None or isinstance(payload, bytes) else self._plain(payload)
        said = list(identity(row).values())
        return [*said, *(_value(nested, column.path) for column in self.columns[len(said) :])]


def _value(nested: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if nested is None:
            return None
        nested = nested[key]
    return nested


def _leaves(descriptor: Descriptor, path: tuple[str, ...], within: tuple[str, ...]) -> Iterator[Column]:
    for field in descriptor.fields:
        yield from _leaves_of_field(field, (*path, field.name), (*within, descriptor.full_name))


def _leaves_of_field(field: FieldDescriptor, path: tuple[str, ...], within: tuple[str, ...]) -> Iterator[Column]:
    name = ".".join(path)
    if is_message(field) and not is_repeated(field) and message_of(field).full_name not in within:
        yield from _leaves(message_of(field), path, within)
        return
    dtype = "object" if is_map(field) or is_message(field) else _SCALARS.get(field.cpp_type, "object")
    # Whole observations and actions can be missing, and with them everything in them.
    yield Column(name, dtype, is_list=is_repeated(field) and dtype != "object", nullable=True, path=path)
