"""What both ends of an in-process call share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import grpc
import grpc.aio

from cogment_core.inprocess.inbox import Inbox

__all__ = ["Exchange", "Metadatum", "Status", "as_pairs"]


class Metadatum(NamedTuple):
    """One pair of metadata, as servicers get it."""

    key: str
    value: str | bytes


class Status(NamedTuple):
    """How a call ended."""

    code: grpc.StatusCode
    details: str = ""
    trailing_metadata: tuple[Metadatum, ...] = ()


class Exchange:
    """One call in progress: its messages in both directions, and its end.

    The call has *ended* when its status is known: from the handler, the deadline, the client, or the server's stop;
    the first wins. It is *settled* when the client, too, has taken all messages that were sent before: only then does
    the client see the status, as over gRPC.

    Args:
        method: Full name of the method.
        metadata: From the client.
        timeout: Seconds until the deadline; None for no deadline.
    """

    def __init__(self, method: str, metadata: tuple[Metadatum, ...], timeout: float | None) -> None:
        self.loop = loop = asyncio.get_running_loop()
        self.method = method
        self.metadata = metadata
        self.to_server: Inbox[Any] = Inbox(loop, _nothing)
        self.to_client: Inbox[Any] = Inbox(loop, self._settle)
        self.handler: asyncio.Task[None] | None = None
        """The task of the servicer's method; None if there is none."""
        self.status: Status | None = None
        self.cancelled_by_client = False
        self.initial_metadata: asyncio.Future[tuple[Metadatum, ...]] = loop.create_future()
        self.settled: asyncio.Future[Status] = loop.create_future()
        self._done_callbacks: list[Callable[[], object]] = []
        self._timer: asyncio.TimerHandle | None = None
        self.deadline: float | None = None
        if timeout is not None:
            self.deadline = loop.time() + timeout
            self._timer = loop.call_at(self.deadline, self._expire)

    def complete(self, status: Status) -> None:
        """End the call from the servicer's side. The client still gets what was sent before."""
        if self.status is None:
            self._end(status)
            self.to_client.close()
            self._settle()

    def break_off(self, status: Status) -> None:
        """End the call at once: what was sent is dropped, and the handler is cancelled."""
        if self.status is None:
            self._end(status)
            self.to_client.fail(None)
            self._settle()
            if self.handler is not None:
                self.handler.cancel()

    def cancel(self, details: str) -> bool:
        """End the call from the client's side. Returns False if it was settled already."""
        if self.settled.done():
            return False
        self.cancelled_by_client = True
        status = Status(grpc.StatusCode.CANCELLED, details)
        self.break_off(status)
        if not self.settled.done():  # the servicer has completed the call, the client has not taken everything
            self.status = status
            self.to_client.fail(None)
        return True

    def error(self) -> grpc.aio.AioRpcError | None:
        """What a client that asks for the result gets instead of it, None if the call ended well or goes on."""
        if self.status is None or self.status.code is grpc.StatusCode.OK:
            return None
        initial = self.initial_metadata.result()
        code, details, trailing = self.status
        return grpc.aio.AioRpcError(code, grpc.aio.Metadata(*initial), grpc.aio.Metadata(*trailing), details)

    def time_remaining(self) -> float | None:
        """Seconds until the deadline, None if there is none."""
        return None if self.deadline is None else max(0.0, self.deadline - self.loop.time())

    def send_initial_metadata(self, metadata: tuple[Metadatum, ...] = ()) -> bool:
        """Returns False if it was sent before."""
        if self.initial_metadata.done():
            return False
        self.initial_metadata.set_result(metadata)
        return True

    def when_settled(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` when the call is settled; now if it is."""
        if self.settled.done():
            callback()
        else:
            self._done_callbacks.append(callback)

    def _end(self, status: Status) -> None:
        self.status = status
        if self._timer is not None:
            self._timer.cancel()
        self.send_initial_metadata()
        self.to_server.fail(None)

    def _expire(self) -> None:
        self.break_off(Status(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"))

    def _settle(self) -> None:
        if self.status is None or not self.to_client.is_over or self.settled.done():
            return
        self.settled.set_result(self.status)
        callbacks, self._done_callbacks = self._done_callbacks, []
        for callback in callbacks:
            callback()


def as_pairs(metadata: Iterable[tuple[str, str | bytes]] | None) -> tuple[Metadatum, ...]:
    """The pairs of ``metadata``, checked as far as both transports agree on what is allowed.

    Raises:
        ValueError: A key is not in lower case, or bytes are under a key that does not end in ``-bin``.
    """
    pairs = tuple(Metadatum(key, value) for key, value in metadata or ())
    for key, value in pairs:
        if key != key.lower() or isinstance(value, bytes) != key.endswith("-bin"):
            raise ValueError(f"metadata was invalid: {key!r} with a value of type {type(value).__name__}")
    return pairs


def _nothing() -> None:
    pass
