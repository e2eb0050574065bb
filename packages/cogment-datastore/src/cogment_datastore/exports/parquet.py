"""Parquet: one row per tick and actor, observation and action as nested columns."""

from __future__ import annotations

import os
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from cogment_core.checks import as_whole
from cogment_datastore.exports.columns import exchanges, identity
from cogment_datastore.exports.errors import ExportError
from cogment_datastore.exports.extras import load
from cogment_datastore.exports.files import replacing
from cogment_datastore.exports.parquet_schema import ArrowTypes
from cogment_datastore.exports.plain import Plain
from cogment_datastore.exports.selection import Selection, make_plan, read_rows
from cogment_datastore.exports.spaces import common_action, common_observation
from cogment_datastore.fields import DatastoreFields

if TYPE_CHECKING:
    from cogment_datastore.datastore import Datastore
    from cogment_datastore.exports.selection import Plan, Progress, Row

__all__ = ["write_parquet"]

_GROUP_BYTES = 64 * 1024 * 1024
"""Bytes of observations and actions after which a row group is written, however few rows it has."""

_as_row_count = as_whole(1, 2**31 - 1)


async def write_parquet(
    datastore: Datastore,
    path: str | os.PathLike[str],
    selection: Selection | None = None,
    *,
    row_group_rows: int = 10_000,
    progress: Progress | None = None,
) -> int:
    """Write a Parquet file. It needs the extra ``parquet``.

    There is one row per tick and actor, with the columns ``trial_id``, ``tick_id``, ``timestamp``, ``trial_state``,
    ``actor``, ``actor_class``, ``implementation``, and, as far as selected, ``observation``, ``action``, ``reward``,
    ``received_rewards``, ``sent_rewards``, ``received_messages`` and ``sent_messages``. Observations and actions are
    structs with the fields of their messages: enums by name, repeated fields as lists, maps as maps. What there is
    not is null. Without specs there are ``observation_serialized`` and ``action_serialized`` instead.

    Only one row group is in memory at a time. The file is there when all is written, or not at all.

    Args:
        datastore: Where to read.
        path: The file, which is replaced.
        selection: What to write; everything if None.
        row_group_rows: Rows of a row group.
        progress: Is told how far it is.

    Returns:
        The number of rows.

    Raises:
        MissingExtraError: pyarrow is not installed.
        ExportError: The selected actors have different types of messages, or a type that no columns can be made for:
            one that contains itself.
        RpcError: The datastore could not be asked, or broke off.
        DecodeError: A sample cannot be read.
        SpecsError: The specs do not have the class of an actor.
    """
    chosen = selection or Selection()
    _as_row_count("row_group_rows", row_group_rows)
    pyarrow = load("pyarrow", "parquet")
    plan = await make_plan(datastore, chosen)
    schema = _schema(pyarrow, datastore, chosen, plan)
    row_of = _RowMaker(chosen, schema.names)
    with replacing(path) as part, load("pyarrow.parquet", "parquet").ParquetWriter(part, schema) as writer:
        groups = _Groups(pyarrow, writer, schema, row_group_rows)
        async with aclosing(read_rows(datastore, chosen, plan, progress)) as rows:
            async for row in rows:
                groups.add(row_of(row), _size(row))
        groups.flush()
    return groups.row_count


class _Groups:
    """Gathers rows, and writes them in groups."""

    def __init__(self, pyarrow: Any, writer: Any, schema: Any, most_rows: int) -> None:
        self.row_count = 0
        self._pyarrow = pyarrow
        self._writer = writer
        self._schema = schema
        self._most_rows = most_rows
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def add(self, row: dict[str, Any], size: int) -> None:
        self._rows.append(row)
        self._bytes += size
        if len(self._rows) >= self._most_rows or self._bytes >= _GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        if not self._rows:
            return
        try:
            table = self._pyarrow.Table.from_pylist(self._rows, schema=self._schema)
        except (self._pyarrow.ArrowException, OverflowError) as error:
            first, last = self._rows[0], self._rows[-1]
            begin, end = (f"tick {row['tick_id']} of trial {row['trial_id']!r}" for row in (first, last))
            raise ExportError(f"something from {begin} to {end} does not fit into its column: {error}") from error
        self._writer.write_table(table, row_group_size=len(self._rows))
        self.row_count += len(self._rows)
        self._rows, self._bytes = [], 0


class _RowMaker:
    """Makes the values of a row's columns."""

    def __init__(self, selection: Selection, columns: list[str]) -> None:
        self._selection = selection
        self._payloads = [name for name in columns if name.partition("_")[0] in ("observation", "action")]
        self._has_reward = "reward" in columns
        self._plain = Plain(of_map=lambda entries: list(entries.items()))

    def __call__(self, row: Row) -> dict[str, Any]:
        values, data = identity(row), row.data
        for name in self._payloads:
            payload = getattr(data, name)
            values[name] = payload if payload is None or isinstance(payload, bytes) else self._plain(payload)
        if self._has_reward:
            values["reward"] = data.reward if data.has_reward else None
        values.update(exchanges(row, self._selection, bytes))
        return values


def _schema(pyarrow: Any, datastore: Datastore, selection: Selection, plan: Plan) -> Any:
    types = ArrowTypes(pyarrow)
    columns = types.identity()
    settings = datastore.settings
    classes = plan.actor_classes
    for name, field, common in (
        ("observation", DatastoreFields.OBSERVATION, common_observation),
        ("action", DatastoreFields.ACTION, common_action),
    ):
        if not selection.has(field):
            continue
        if settings is None:
            columns[f"{name}_serialized"] = pyarrow.binary()
        elif (descriptor := common(settings, classes)) is not None:
            columns[name] = types.of_message(descriptor, name)
    if selection.has(DatastoreFields.REWARD):
        columns["reward"] = pyarrow.float32()
    columns.update(types.exchanges(selection))
    return pyarrow.schema(columns.items())


def _size(row: Row) -> int:
    return len(row.data.observation_serialized or b"") + len(row.data.action_serialized or b"")
