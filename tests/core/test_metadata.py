"""Metadata of calls."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogment_core.errors import CogmentError, UsageError
from cogment_core.metadata import GrpcMetadata


def test_pairs_are_kept_in_order_with_keys_in_lower_case():
    """Repeated keys are kept; gRPC wants keys in lower case."""
    metadata = GrpcMetadata()
    assert metadata.add("Key", "b") is None
    metadata.add("key", "a")
    metadata.add("data-BIN", b"\x00\xff")
    assert metadata.to_grpc_metadata() == [("key", "b"), ("key", "a"), ("data-bin", b"\x00\xff")]


def test_basic_authentication_is_an_authorization():
    """User name and password become RFC 7617 credentials, in UTF-8."""
    metadata = GrpcMetadata()
    metadata.add_http_basic_auth("Aladdin", "open: sesame é")
    [(key, value)] = metadata.to_grpc_metadata()
    scheme, credentials = value.split(" ")
    assert (key, scheme) == ("authorization", "basic")
    assert base64.b64decode(credentials).decode() == "Aladdin:open: sesame é"


def test_a_user_name_with_a_colon_is_refused():
    """Its end could not be told from the password."""
    with pytest.raises(UsageError, match="colon"):
        GrpcMetadata().add_http_basic_auth("a:b", "c")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("grpc-timeout", "1"),
        ("GRPC-timeout", "1"),
        ("data-bin", "text"),
        ("Data-BIN", "text"),
        ("key", b"bytes"),
        ("key", 5),
        ("key", None),
        ("key", "new\nline"),
        ("key", "é"),
        ("", "value"),
        ("a key", "value"),
        (":authority", "value"),
        ("ключ", "value"),
    ],
)
def test_what_grpc_cannot_send_is_refused(key, value):
    """A wrong key or value is an error where it is added, not where it is sent; the value is not shown."""
    metadata = GrpcMetadata()
    with pytest.raises(CogmentError) as caught:
        metadata.add(key, value)
    assert isinstance(caught.value, UsageError)
    if isinstance(value, str) and len(value) > 1:
        assert value not in str(caught.value).replace(repr(key), "")
    assert metadata.to_grpc_metadata() == []


@given(st.text(), st.text() | st.binary())
def test_any_pair_is_kept_or_refused(key, value):
    """Nothing but `UsageError` comes of a wrong pair, and nothing is changed on the way."""
    metadata = GrpcMetadata()
    try:
        metadata.add(key, value)
    except UsageError:
        assert metadata.to_grpc_metadata() == []
    else:
        assert metadata.to_grpc_metadata() == [(key.lower(), value)]


def test_copies_and_lists_are_independent():
    """A copy, and the list that is sent, do not share later changes."""
    metadata = GrpcMetadata()
    metadata.add("a", "1")
    copied = metadata.copy()
    copied.add("b", "2")
    metadata.to_grpc_metadata().append(("c", "3"))
    assert metadata.to_grpc_metadata() == [("a", "1")]
    assert copied.to_grpc_metadata() == [("a", "1"), ("b", "2")]


def test_values_are_not_shown():
    """The representation names the keys only."""
    metadata = GrpcMetadata()
    metadata.add_http_basic_auth("me", "s3cret")
    metadata.add("token", "s3cret")
    assert repr(metadata) == "GrpcMetadata(authorization, token)"
