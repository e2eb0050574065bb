"""Messages that are written and read by hand are those of the protocol."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from cogment_core.api.model_registry_pb2 import (
    CreateVersionRequestChunk,
    ModelVersionInfo,
    RetrieveVersionDataReplyChunk,
)
from cogment_core.chunk_frames import parse_reply, parse_request, serialized_body, serialized_reply

SIZES = [0, 1, 127, 128, 129, 16_000, 16_383, 16_384, 2**21 - 1, 2**21, 2**21 + 5]


def body(data: bytes) -> CreateVersionRequestChunk:
    """The message of an upload that carries ``data``."""
    return CreateVersionRequestChunk(body=CreateVersionRequestChunk.Body(data_chunk=data))


def data_of(parsed: CreateVersionRequestChunk | memoryview) -> bytes:
    """The data in a message of an upload, however it was read."""
    if isinstance(parsed, memoryview):
        return bytes(parsed)
    assert parsed.WhichOneof("msg") == "body"
    return parsed.body.data_chunk


def assert_is_of_the_protocol(data: bytes) -> None:
    """Both messages carry ``data``, in both ways."""
    request, reply = body(data), RetrieveVersionDataReplyChunk(data_chunk=data)
    assert CreateVersionRequestChunk.FromString(serialized_body(data)) == request
    assert data_of(parse_request(request.SerializeToString())) == data
    assert data_of(parse_request(serialized_body(data))) == data
    assert serialized_reply(data) == reply.SerializeToString()
    assert bytes(parse_reply(reply.SerializeToString())) == data


def test_data_of_any_size() -> None:
    """Data around the sizes at which lengths get longer is carried."""
    for size in SIZES:
        assert_is_of_the_protocol(b"\x0a" * size)


@given(st.binary(max_size=300))
def test_any_data(data: bytes) -> None:
    """Data of any content is carried."""
    assert_is_of_the_protocol(data)


def test_large_data_is_not_copied() -> None:
    """What is read is a view into the message."""
    assert isinstance(parse_reply(RetrieveVersionDataReplyChunk(data_chunk=b"abc").SerializeToString()), memoryview)
    assert isinstance(parse_request(body(b"abc").SerializeToString()), memoryview)


@given(st.lists(st.binary(max_size=5), max_size=3), st.booleans())
def test_unusual_replies_are_read_as_protobuf_reads_them(pieces: list[bytes], with_unknown: bool) -> None:
    """Repeated and unknown fields, and messages without data, are understood as protobuf does: the last one counts."""
    message = b"".join(b"\x0a" + bytes([len(piece)]) + piece for piece in pieces) + (
        b"\x10\x07" if with_unknown else b""
    )
    assert bytes(parse_reply(message)) == RetrieveVersionDataReplyChunk.FromString(message).data_chunk


MESSAGES = st.one_of(
    st.binary(max_size=8).map(lambda data: body(data).SerializeToString()),
    st.text(max_size=4).map(
        lambda name: CreateVersionRequestChunk(
            header=CreateVersionRequestChunk.Header(version_info=ModelVersionInfo(model_id=name))
        ).SerializeToString()
    ),
    st.sampled_from([b"", b"\x12\x00", b"\x1a\x01x", b"\x12\x02\x10\x07", b"\x12\x04\x0a\x00\x0a\x00"]),
)


@given(st.lists(MESSAGES, max_size=3).map(b"".join))
def test_unusual_requests_are_read_as_protobuf_reads_them(message: bytes) -> None:
    """Headers, bodies without data, and several of them in one message are understood as protobuf does."""
    expected, parsed = CreateVersionRequestChunk.FromString(message), parse_request(message)
    if isinstance(parsed, memoryview):
        assert expected == body(bytes(parsed))
    else:
        assert parsed == expected


@given(st.binary(max_size=12))
def test_what_is_no_message_is_refused_as_protobuf_refuses_it(message: bytes) -> None:
    """Arbitrary bytes are decoded if protobuf decodes them, to the same, and an error otherwise."""
    for parse, kind in ((parse_request, CreateVersionRequestChunk), (parse_reply, RetrieveVersionDataReplyChunk)):
        try:
            expected = kind.FromString(message)
        except DecodeError:
            with pytest.raises(DecodeError):
                parse(message)
            continue
        parsed = parse(message)
        if isinstance(expected, RetrieveVersionDataReplyChunk):
            assert bytes(parsed) == expected.data_chunk
        else:
            assert (body(bytes(parsed)) if isinstance(parsed, memoryview) else parsed) == expected
