"""Messages that are written and read by hand are those of the protocol."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cogment_core.api.model_registry_pb2 import CreateVersionRequestChunk, RetrieveVersionDataReplyChunk
from cogment_model_registry.wire import parse_reply, serialized_body

SIZES = [0, 1, 127, 128, 129, 16_000, 16_383, 16_384, 2**21 - 1, 2**21, 2**21 + 5]


def assert_is_of_the_protocol(data: bytes) -> None:
    """Both messages carry ``data``."""
    request = CreateVersionRequestChunk.FromString(serialized_body(data))
    assert request.WhichOneof("msg") == "body"
    assert request.body.data_chunk == data
    assert bytes(parse_reply(RetrieveVersionDataReplyChunk(data_chunk=data).SerializeToString())) == data


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


@given(st.lists(st.binary(max_size=5), max_size=3), st.booleans())
def test_unusual_messages_are_read_as_protobuf_reads_them(pieces: list[bytes], with_unknown: bool) -> None:
    """Repeated and unknown fields, and messages without data, are understood as protobuf does: the last one counts."""
    message = b"".join(b"\x0a" + bytes([len(piece)]) + piece for piece in pieces) + (
        b"\x10\x07" if with_unknown else b""
    )
    assert bytes(parse_reply(message)) == RetrieveVersionDataReplyChunk.FromString(message).data_chunk
