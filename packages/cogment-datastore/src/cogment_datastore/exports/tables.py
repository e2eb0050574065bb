"""Batches of rows as pandas DataFrames, or as NumPy arrays."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from cogment_core.checks import as_whole
from cogment_datastore.exports.extras import load
from cogment_datastore.exports.flat import Column, FlatRows
from cogment_datastore.exports.selection import Selection, make_plan, read_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cogment_datastore.datastore import Datastore
    from cogment_datastore.exports.selection import Progress

__all__ = ["BATCH_ROWS", "batches", "frames"]

BATCH_ROWS = 10_000
"""Rows of a batch, unless the caller says otherwise."""

_NULLABLE = {"int32": "Int32", "int64": "Int64", "uint32": "UInt32", "uint64": "UInt64", "bool": "boolean"}
"""The pandas types that can have missing values."""

_as_row_count = as_whole(1, 2**63 - 1)


async def frames(
    datastore: Datastore,
    selection: Selection | None = None,
    *,
    batch_rows: int = BATCH_ROWS,
    progress: Progress | None = None,
) -> AsyncGenerator[Any, None]:
    """Iterate over pandas DataFrames of ``batch_rows`` rows; the last has fewer. It needs the extra ``pandas``.

    There is one row per tick and actor, with the columns ``trial_id``, ``tick_id``, ``timestamp``, ``trial_state``,
    ``actor``, ``actor_class``, ``implementation``; one for each scalar of the observation and the action, named after
    where it is, as in ``observation.position.x``; and ``reward``. Enums are names. Repeated numbers are arrays; what is
    no number, repeated messages and maps are Python objects. Missing numbers are NaN, missing integers ``<NA>``,
    other missing things None. Without specs there are ``observation_serialized`` and ``action_serialized`` instead.

    Args:
        datastore: Where to read.
        selection: What to read; everything if None.
        batch_rows: Rows of a DataFrame.
        progress: Is told how far it is.

    Yields:
        A ``pandas.DataFrame``.

    Raises:
        MissingExtraError: pandas is not installed.
        ExportError: The selected actors have different types of messages.
        RpcError: The datastore could not be asked, or broke off.
        DecodeError: A sample cannot be read.
        SpecsError: The specs do not have the class of an actor.
    """
    pandas, numpy = load("pandas", "pandas"), load("numpy", "pandas")
    async with aclosing(_chunks(datastore, selection or Selection(), batch_rows, progress)) as chunks:
        async for columns, values in chunks:
            series = [_series(pandas, numpy, column, it) for column, it in zip(columns, values, strict=True)]
            named = {column.name: it for column, it in zip(columns, series, strict=True)}
            yield pandas.DataFrame(named)


async def batches(
    datastore: Datastore,
    selection: Selection | None = None,
    *,
    batch_rows: int = BATCH_ROWS,
    progress: Progress | None = None,
) -> AsyncGenerator[dict[str, NDArray[Any]], None]:
    """Iterate over batches of NumPy arrays, of ``batch_rows`` rows; the last has fewer. It needs the extra ``pandas``.

    The columns are those of `frames`. Numbers keep their types: where one is missing it is 0, and for each column that
    can have missing values another one, for example ``has:reward``, says where there are values. Repeated numbers
    are rows of an array with two dimensions if all have the same length in the batch; otherwise each is an array.

    Args:
        datastore: Where to read.
        selection: What to read; everything if None.
        batch_rows: Rows of a batch.
        progress: Is told how far it is.

    Yields:
        The arrays by name of the column.

    Raises:
        MissingExtraError: NumPy is not installed.
        ExportError: The selected actors have different types of messages.
        RpcError: The datastore could not be asked, or broke off.
        DecodeError: A sample cannot be read.
        SpecsError: The specs do not have the class of an actor.
    """
    numpy = load("numpy", "pandas")
    async with aclosing(_chunks(datastore, selection or Selection(), batch_rows, progress)) as chunks:
        async for columns, values in chunks:
            batch: dict[str, NDArray[Any]] = {}
            for column, it in zip(columns, values, strict=True):
                batch[column.name] = _array(numpy, column, it)
                if column.nullable:
                    batch[f"has:{column.name}"] = numpy.array([value is not None for value in it], dtype=bool)
            yield batch


async def _chunks(
    datastore: Datastore, selection: Selection, batch_rows: int, progress: Progress | None
) -> AsyncGenerator[tuple[list[Column], list[list[Any]]], None]:
    """The columns, and the values of each, in chunks."""
    most = _as_row_count("batch_rows", batch_rows)
    plan = await make_plan(datastore, selection)
    flat = FlatRows(datastore, selection, plan)
    pending: list[list[Any]] = []
    async with aclosing(read_rows(datastore, selection, plan, progress)) as rows:
        async for row in rows:
            pending.append(flat.values(row))
            if len(pending) == most:
                yield flat.columns, [list(it) for it in zip(*pending, strict=True)]
                pending = []
    if pending:
        yield flat.columns, [list(it) for it in zip(*pending, strict=True)]


def _series(pandas: Any, numpy: Any, column: Column, values: list[Any]) -> Any:
    if column.is_list:
        arrays = [None if it is None else numpy.array(it, dtype=column.dtype) for it in values]
        return pandas.Series(arrays, dtype=object)
    if column.dtype == "datetime64[ns]":
        return pandas.Series(numpy.array(values, dtype="int64").astype(column.dtype)).dt.tz_localize("UTC")
    if column.nullable and column.dtype in _NULLABLE:
        return pandas.Series(pandas.array(values, dtype=_NULLABLE[column.dtype]))
    return pandas.Series(values, dtype=column.dtype)


def _array(numpy: Any, column: Column, values: list[Any]) -> Any:
    if column.is_list:
        return _array_of_lists(numpy, column, values)
    if column.dtype == "object":
        # Filled one by one: NumPy would take lists among them for dimensions.
        result = numpy.empty(len(values), dtype=object)
        for index, value in enumerate(values):
            result[index] = value
        return result
    if column.dtype == "datetime64[ns]":
        return numpy.array(values, dtype="int64").astype(column.dtype)
    return numpy.array([0 if value is None else value for value in values], dtype=column.dtype)


def _array_of_lists(numpy: Any, column: Column, values: list[Any]) -> Any:
    lengths = {len(value) for value in values if value is not None}
    if len(lengths) <= 1:
        missing = [0] * next(iter(lengths), 0)
        filled = [missing if value is None else value for value in values]
        return numpy.array(filled, dtype=column.dtype).reshape(len(values), len(missing))
    result = numpy.empty(len(values), dtype=object)
    for index, value in enumerate(values):
        result[index] = numpy.array(value or [], dtype=column.dtype)
    return result
