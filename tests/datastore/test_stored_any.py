"""Telling a whole ``Any`` from the value of one."""

from __future__ import annotations

import re

import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.wrappers_pb2 import BytesValue, Int32Value, StringValue
from hypothesis import given
from hypothesis import strategies as st
from stored_trials import Move, Point, inner, whole

from cogment_datastore.stored_any import read_any

NAMES = st.from_regex(re.compile(r"[A-Za-z_]\w{0,8}(\.[A-Za-z_]\w{0,8}){0,3}", re.ASCII), fullmatch=True)


def packed(message: object, prefix: str = "type.googleapis.com/") -> AnyMessage:
    """``message`` in an ``Any``."""
    result = AnyMessage()
    result.Pack(message, type_url_prefix=prefix)
    return result


@pytest.mark.parametrize("prefix", ["type.googleapis.com/", "example.com/types/", "types/"])
@pytest.mark.parametrize("message", [StringValue(value="x"), StringValue(), Point(x=1), Move(direction=-3)])
def test_whole_any_of_a_known_type(message: object, prefix: str) -> None:
    """What our server keeps comes back as it was sent, whatever the prefix of its type URL."""
    sent = packed(message, prefix)
    assert read_any(sent.SerializeToString()) == sent


@given(name=NAMES, value=st.binary(max_size=20))
def test_whole_any_of_an_unknown_type(name: str, value: bytes) -> None:
    """A type that is not known here, with the usual prefix, is a type all the same."""
    sent = AnyMessage(type_url=f"type.googleapis.com/{name}", value=value)
    assert read_any(sent.SerializeToString()) == sent


@given(st.text() | st.from_regex(r"(https?://)?[a-z.]{0,12}/[a-z./]{0,12}", fullmatch=True))
def test_texts_are_not_taken_for_types(text: str) -> None:
    """A text that the existing server kept is a value, also when it looks like a path or an address."""
    stored = StringValue(value=text).SerializeToString()
    assert read_any(stored) == AnyMessage(value=stored)


@given(st.binary(max_size=40))
def test_anything_else_is_a_value(stored: bytes) -> None:
    """Whatever is stored can be read: no bytes raise, and what is no ``Any`` is the value, to the byte."""
    read = read_any(stored)
    if read.type_url:
        assert read.SerializeToString() == stored
    else:
        assert read.value == stored


@pytest.mark.parametrize(
    "stored",
    [
        inner("no type"),
        b"",
        Int32Value(value=7).SerializeToString(),
        BytesValue(value=b"\x01\x02").SerializeToString(),
        packed(StringValue(value="x")).SerializeToString() + b"\x18\x01",  # an unknown field
        AnyMessage(type_url="data_for_tests.Point", value=Point(x=1).SerializeToString()).SerializeToString(),
        AnyMessage(type_url="/", value=b"x").SerializeToString(),
        AnyMessage(type_url="type.googleapis.com/", value=b"x").SerializeToString(),
        AnyMessage(type_url="type.googleapis.com/not a name", value=b"x").SerializeToString(),
        AnyMessage(type_url="example.com/data_for_tests.Point", value=b"\xff\xff").SerializeToString(),
        AnyMessage(type_url="example.com/no.such.Type", value=b"x").SerializeToString(),
    ],
)
def test_what_is_no_whole_any_is_the_value(stored: bytes) -> None:
    """Without a type URL that makes sense the bytes are those of the message that was sent."""
    assert read_any(stored) == AnyMessage(value=stored)


def test_the_value_is_the_message_in_both_forms() -> None:
    """One way to read works with both servers: parse the value."""
    for stored in (whole("both"), inner("both")):
        assert StringValue.FromString(read_any(stored).value) == StringValue(value="both")
