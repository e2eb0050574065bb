"""The tree of errors."""

import copy
import inspect
import pickle

import grpc
import grpc.aio
import pytest

from cogment_core import errors
from cogment_core.errors import (
    CogmentError,
    DeadlineError,
    NotFoundError,
    RefusedError,
    RpcError,
    UnavailableError,
    from_grpc,
)

METADATA = grpc.aio.Metadata(("reason", "because"))


def grpc_error(code, details="no such trial"):
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), METADATA, details)


def test_every_error_is_a_cogment_error():
    """One `except` clause catches all."""
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), CogmentError)
    classes = {
        name for name, value in vars(errors).items() if inspect.isclass(value) and value.__module__ == errors.__name__
    }
    assert classes == set(errors.__all__)


def test_an_error_needs_exactly_a_message():
    """As existing code raises it."""
    assert str(CogmentError("what went wrong")) == "what went wrong"
    with pytest.raises(TypeError):
        CogmentError()
    with pytest.raises(TypeError):
        CogmentError("a", "b")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, UnavailableError),
        (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineError),
        (grpc.StatusCode.NOT_FOUND, NotFoundError),
        (grpc.StatusCode.INVALID_ARGUMENT, RefusedError),
        (grpc.StatusCode.ALREADY_EXISTS, RefusedError),
        (grpc.StatusCode.PERMISSION_DENIED, RefusedError),
        (grpc.StatusCode.UNAUTHENTICATED, RefusedError),
        (grpc.StatusCode.FAILED_PRECONDITION, RefusedError),
        (grpc.StatusCode.OUT_OF_RANGE, RefusedError),
        (grpc.StatusCode.UNIMPLEMENTED, RefusedError),
        (grpc.StatusCode.UNKNOWN, RpcError),
        (grpc.StatusCode.INTERNAL, RpcError),
        (grpc.StatusCode.CANCELLED, RpcError),
    ],
)
def test_the_status_of_a_call_decides_the_error(code, kind):
    """What the caller can do decides the class; code, details and metadata are kept."""
    error = from_grpc(
        grpc_error(code), method="/cogmentAPI.TrialLifecycleSP/GetTrialInfo", target="grpc://localhost:9000"
    )
    assert type(error) is kind
    assert error.code() is code
    assert error.details() == "no such trial"
    assert error.trailing_metadata() == METADATA
    assert str(error) == f"GetTrialInfo at grpc://localhost:9000: {code.name}: no such trial"


def test_failed_calls_are_still_grpc_errors():
    """Existing `except grpc.aio.AioRpcError` clauses catch them."""
    error = from_grpc(grpc_error(grpc.StatusCode.UNAVAILABLE))
    assert isinstance(error, grpc.aio.AioRpcError)
    assert isinstance(error, grpc.RpcError)
    assert str(error) == "UNAVAILABLE: no such trial"
    assert str(from_grpc(grpc_error(grpc.StatusCode.INTERNAL, ""))) == "INTERNAL: no details"


def test_an_error_of_ours_is_not_wrapped_again():
    """It goes through as it is."""
    error = from_grpc(grpc_error(grpc.StatusCode.NOT_FOUND))
    assert from_grpc(error, target="elsewhere") is error


def test_errors_survive_pickling_and_copying():
    """They cross process boundaries with what they say."""
    error = from_grpc(grpc_error(grpc.StatusCode.NOT_FOUND), method="/s/Get", target="grpc://localhost:9000")
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is NotFoundError
        assert str(other) == str(error)
        assert other.code() is grpc.StatusCode.NOT_FOUND
    plain = pickle.loads(pickle.dumps(errors.SpecsError("what")))
    assert (type(plain), str(plain)) == (errors.SpecsError, "what")
