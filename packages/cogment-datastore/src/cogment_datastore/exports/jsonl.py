"""JSON Lines: one JSON object per tick and actor, each on a line of its own."""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Callable, Generator
from contextlib import aclosing, contextmanager
from typing import IO, TYPE_CHECKING, Any

from cogment_datastore.exports.columns import exchanges, identity
from cogment_datastore.exports.files import replacing
from cogment_datastore.exports.plain import Plain
from cogment_datastore.exports.selection import Selection, make_plan, read_rows
from cogment_datastore.fields import DatastoreFields

if TYPE_CHECKING:
    from cogment_datastore.datastore import Datastore
    from cogment_datastore.exports.selection import Progress, Row

__all__ = ["write_jsonl"]


async def write_jsonl(
    datastore: Datastore,
    target: str | os.PathLike[str] | IO[str],
    selection: Selection | None = None,
    *,
    progress: Progress | None = None,
) -> int:
    """Write JSON Lines, in UTF-8.

    Each line has the keys ``trial_id``, ``tick_id``, ``timestamp`` (nanoseconds since the Unix epoch),
    ``trial_state``, ``actor``, ``actor_class``, ``implementation``, and, as far as selected, ``observation``,
    ``action``, ``reward``, ``received_rewards``, ``sent_rewards``, ``received_messages`` and ``sent_messages``.
    What there is not is ``null``. Messages have all of their fields under the names of the proto file, enums by name,
    bytes in Base64, and ``"NaN"``, ``"Infinity"`` and ``"-Infinity"`` for numbers that JSON does not know. Without
    specs there are ``observation_serialized`` and ``action_serialized`` instead, in Base64.

    Args:
        datastore: Where to read.
        target: The file to write, which is replaced when all is written, or a stream for texts, which is left open.
        selection: What to write; everything if None.
        progress: Is told how far it is.

    Returns:
        The number of lines.

    Raises:
        RpcError: The datastore could not be asked, or broke off: what is written is not complete.
        DecodeError: A sample cannot be read.
        SpecsError: The specs do not have the class of an actor.
    """
    chosen = selection or Selection()
    plan = await make_plan(datastore, chosen)
    line_of = _line_maker(chosen, datastore.has_specs())
    count = 0
    with _opened(target) as stream:
        async with aclosing(read_rows(datastore, chosen, plan, progress)) as rows:
            async for row in rows:
                stream.write(line_of(row))
                count += 1
    return count


@contextmanager
def _opened(target: str | os.PathLike[str] | IO[str]) -> Generator[IO[str], None, None]:
    if isinstance(target, (str, os.PathLike)):
        with replacing(target) as path, open(path, "w", encoding="utf-8", newline="\n") as stream:
            yield stream
    else:
        yield target


def _line_maker(selection: Selection, has_specs: bool) -> Callable[[Row], str]:
    plain = Plain(of_bytes=_base64, of_float=_number, of_map=lambda entries: {str(k): it for k, it in entries.items()})
    encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode

    def payload(message: Any) -> Any:
        return None if message is None else plain(message)

    def line(row: Row) -> str:
        values, data = identity(row), row.data
        if selection.has(DatastoreFields.OBSERVATION):
            if has_specs:
                values["observation"] = payload(data.observation)
            else:
                values["observation_serialized"] = _base64(data.observation_serialized)
        if selection.has(DatastoreFields.ACTION):
            if has_specs:
                values["action"] = payload(data.action)
            else:
                values["action_serialized"] = _base64(data.action_serialized)
        if selection.has(DatastoreFields.REWARD):
            values["reward"] = _number(data.reward) if data.has_reward else None
        for name, entries in exchanges(row, selection, _base64).items():
            values[name] = [{key: _number(it) for key, it in entry.items()} for entry in entries]
        return encode(values) + "\n"

    return line


def _base64(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode("ascii")


def _number(value: Any) -> Any:
    """``value``, or, if it is a number that JSON does not know, its name."""
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
