"""The Arrow types of columns, from the descriptors of messages."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor

from cogment_datastore.exports.columns import EXCHANGES
from cogment_datastore.exports.descriptors import is_map, is_message, is_repeated, map_entry, message_of
from cogment_datastore.exports.errors import ExportError
from cogment_datastore.exports.selection import Selection

__all__ = ["ArrowTypes"]

_SCALARS = {
    FieldDescriptor.CPPTYPE_INT32: "int32",
    FieldDescriptor.CPPTYPE_INT64: "int64",
    FieldDescriptor.CPPTYPE_UINT32: "uint32",
    FieldDescriptor.CPPTYPE_UINT64: "uint64",
    FieldDescriptor.CPPTYPE_FLOAT: "float32",
    FieldDescriptor.CPPTYPE_DOUBLE: "float64",
    FieldDescriptor.CPPTYPE_BOOL: "bool_",
    FieldDescriptor.CPPTYPE_ENUM: "string",
}


class ArrowTypes:
    """Makes Arrow types.

    Args:
        pyarrow: The module.
    """

    def __init__(self, pyarrow: Any) -> None:
        self._pa = pyarrow

    def identity(self) -> dict[str, Any]:
        """The columns that say what a row is about."""
        pa = self._pa
        texts = ("trial_state", "actor", "actor_class", "implementation")
        return {
            "trial_id": pa.string(),
            "tick_id": pa.uint64(),
            "timestamp": pa.timestamp("ns", tz="UTC"),
            **dict.fromkeys(texts, pa.string()),
        }

    def exchanges(self, selection: Selection) -> dict[str, Any]:
        """The columns of the rewards and messages that are selected."""
        pa = self._pa
        content = pa.struct([("type_url", pa.string()), ("value", pa.binary())])
        ends = [("sender", pa.string()), ("receiver", pa.string())]
        reward = [("value", pa.float32()), ("confidence", pa.float32()), *ends, ("user_data", content)]
        message = [*ends, ("payload", content)]
        return {
            name: pa.list_(pa.struct(reward if is_reward else message))
            for name, (field, is_reward, _) in EXCHANGES.items()
            if selection.has(field)
        }

    def of_message(self, descriptor: Descriptor, path: str, within: tuple[str, ...] = ()) -> Any:
        """The struct of a message.

        Args:
            descriptor: Type of the message.
            path: Where it is, for the error.
            within: Full names of the types of the messages that it is in.

        Raises:
            ExportError: The type contains itself.
        """
        if descriptor.full_name in within:
            raise ExportError(
                f"{path} is a {descriptor.full_name} within a {descriptor.full_name}: columns cannot be nested without "
                "end; export without specs, which gives the serialized messages"
            )
        inner = (*within, descriptor.full_name)
        fields = [(field.name, self._of_field(field, f"{path}.{field.name}", inner)) for field in descriptor.fields]
        # Parquet has no structs without fields.
        return self._pa.struct(fields or [("empty", self._pa.bool_())])

    def _of_field(self, field: FieldDescriptor, path: str, within: tuple[str, ...]) -> Any:
        if is_map(field):
            key, value = map_entry(field)
            return self._pa.map_(self._of_value(key, path, within), self._of_value(value, path, within))
        value_type = self._of_value(field, path, within)
        return self._pa.list_(value_type) if is_repeated(field) else value_type

    def _of_value(self, field: FieldDescriptor, path: str, within: tuple[str, ...]) -> Any:
        if is_message(field):
            return self.of_message(message_of(field), path, within)
        if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
            return self._pa.binary() if field.type == FieldDescriptor.TYPE_BYTES else self._pa.string()
        return getattr(self._pa, _SCALARS[field.cpp_type])()
