"""The errors that Cogment raises.

::

    CogmentError                    everything below; also what callers raise themselves with a message
    ├── UsageError                  a call that is not allowed here, or an argument that is wrong
    ├── SpecsError                  the trial does not fit the specs (``cog_settings``), or there are none
    ├── DecodeError                 received bytes are not what the specs say they are
    ├── EndpointError               an endpoint that cannot be understood or resolved
    ├── ProtocolError               a peer broke the rules of the trial protocol
    ├── BacklogError                a peer does not take messages as fast as they are sent
    └── RpcError                    a remote call failed (also a ``grpc.aio.AioRpcError``)
        ├── UnavailableError        the peer cannot be reached, or the connection was lost
        ├── DeadlineError           the peer did not answer within the deadline
        ├── NotFoundError           the peer does not know what was asked for
        └── RefusedError            the peer understood and says no
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import grpc.aio

if TYPE_CHECKING:
    from grpc.aio import Metadata

__all__ = [
    "BacklogError",
    "CogmentError",
    "DeadlineError",
    "DecodeError",
    "EndpointError",
    "NotFoundError",
    "ProtocolError",
    "RefusedError",
    "RpcError",
    "SpecsError",
    "UnavailableError",
    "UsageError",
]


class CogmentError(Exception):
    """Base of all errors of this SDK.

    Args:
        message: What went wrong and, where there is one, the way out.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)


class UsageError(CogmentError):
    """A call that is not allowed in this state, or an argument that is wrong."""


class SpecsError(CogmentError):
    """The trial does not fit the specs in ``cog_settings``, or specs are needed and there are none."""


class DecodeError(CogmentError):
    """Received bytes do not decode as the message type that the specs name."""


class EndpointError(CogmentError):
    """An endpoint URL that cannot be understood, or that leads nowhere."""


class ProtocolError(CogmentError):
    """A peer broke the rules of the trial protocol."""


class BacklogError(CogmentError):
    """A peer does not take messages as fast as they are sent: the limit of waiting messages was reached."""


class RpcError(CogmentError, grpc.aio.AioRpcError):
    """A remote call failed.

    It is a ``grpc.aio.AioRpcError`` too, so ``code()``, ``details()`` and existing ``except`` clauses work.

    Args:
        code: gRPC status of the call.
        details: What the peer, or gRPC, says about it.
        method: The remote method, for example ``/cogmentAPI.TrialLifecycleSP/StartTrial``; empty if not known.
        target: Whom the call went to, for example ``grpc://localhost:9000``; empty if not known.
        metadata: Trailing metadata of the call.
    """

    def __init__(
        self,
        code: grpc.StatusCode,
        details: str,
        *,
        method: str = "",
        target: str = "",
        metadata: Metadata | None = None,
    ) -> None:
        empty = grpc.aio.Metadata()
        grpc.aio.AioRpcError.__init__(self, code, empty, metadata or empty, details)
        self.method = method
        self.target = target

    def __str__(self) -> str:
        where = " at ".join(part for part in (self.method.rsplit("/", 1)[-1], self.target) if part)
        said = f"{self.code().name}: {self.details() or 'no details'}"
        return f"{where}: {said}" if where else said

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.code(), self.details(), self.method, self.target)


def _rebuild(kind: type[RpcError], code: grpc.StatusCode, details: str, method: str, target: str) -> RpcError:
    return kind(code, details, method=method, target=target)


class UnavailableError(RpcError):
    """The peer cannot be reached, or the connection to it was lost. Trying again may help."""

    def __str__(self) -> str:
        text = super().__str__()
        # gRPC tells the last of several reasons only: a refusal at ::1 may hide a failed handshake at 127.0.0.1.
        hint = " (is a server running at this address, and do both sides use TLS, or neither?)"
        return text + hint if "failed to connect" in text else text


class DeadlineError(RpcError):
    """The peer did not answer in time. Whether it did what was asked is not known."""


class NotFoundError(RpcError):
    """The peer does not know what was asked for."""


class RefusedError(RpcError):
    """The peer understood and refuses: the request has to change before it is tried again."""


_BY_STATUS: dict[grpc.StatusCode, type[RpcError]] = {
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.INVALID_ARGUMENT: RefusedError,
    grpc.StatusCode.ALREADY_EXISTS: RefusedError,
    grpc.StatusCode.PERMISSION_DENIED: RefusedError,
    grpc.StatusCode.UNAUTHENTICATED: RefusedError,
    grpc.StatusCode.FAILED_PRECONDITION: RefusedError,
    grpc.StatusCode.OUT_OF_RANGE: RefusedError,
    grpc.StatusCode.UNIMPLEMENTED: RefusedError,
}


def from_grpc(error: grpc.aio.AioRpcError, *, method: str = "", target: str = "") -> RpcError:
    """The error of ours that says what ``error`` says."""
    if isinstance(error, RpcError):
        return error
    kind = _BY_STATUS.get(error.code(), RpcError)
    return kind(error.code(), error.details() or "", method=method, target=target, metadata=error.trailing_metadata())
