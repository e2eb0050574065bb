"""The peers of a trial: its environment and its actors, each at the other end of one stream."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from google.protobuf.message import Message

from cogment_core.api.common_pb2 import ActorRunTrialInput, ActorRunTrialOutput
from cogment_core.duplex import BACKLOG_BYTES, BACKLOG_LIMIT, Duplex, of_call
from cogment_core.errors import BacklogError, CogmentError
from cogment_core.logs import logger
from cogment_core.tasks import TaskOwner
from cogment_services.orchestrator.channels import Route

__all__ = ["RELEASE_TIMEOUT", "ActorDuplex", "ClientPeer", "Peer", "ServicePeer"]

RELEASE_TIMEOUT = 5.0
"""Seconds that a peer has to take what was sent to it before its stream was released."""

LINGER = 3600.0
"""Seconds that a released service has to complete its call: an implementation may still learn from what it saw."""


SendT = TypeVar("SendT", bound=Message)
SendT_contra = TypeVar("SendT_contra", bound=Message, contravariant=True)
RecvT = TypeVar("RecvT", bound=Message)

ActorDuplex = Duplex[ActorRunTrialInput, ActorRunTrialOutput]
"""The Orchestrator's end of an actor's stream."""


class Peer(Protocol[SendT_contra]):
    """The Orchestrator's end of a stream of a trial. No method waits."""

    def send(self, message: SendT_contra) -> None:
        """Send ``message``; a peer that does not take it counts as gone."""
        ...

    def release(self) -> None:
        """Complete the stream: nothing more will be sent, and nothing that comes is of interest."""
        ...


class ServicePeer(Generic[SendT, RecvT]):
    """A peer that the Orchestrator calls.

    Args:
        what: Who it is, for the log.
        route: How it is reached.
        service: Full name of its service.
        stub: Makes the stub of that service on a channel.
        trial_id: The trial.
        on_message: Called with each message, also with those that still come after `release`.
        on_gone: Called once with the reason if the stream ends before it was released.
        tasks: Owner of the task that receives: it is done once the peer has completed the call.
        farewells: Owner of the task that sends the last messages.
    """

    __slots__ = (
        "_duplex",
        "_farewells",
        "_on_gone",
        "_on_message",
        "_stub",
        "_task",
        "_trial_id",
        "_waiting",
        "_waiting_bytes",
        "_what",
    )

    def __init__(
        self,
        what: str,
        route: Route,
        service: str,
        stub: Callable[[Any], Any],
        trial_id: str,
        *,
        on_message: Callable[[RecvT], None],
        on_gone: Callable[[str], None],
        tasks: TaskOwner,
        farewells: TaskOwner,
    ) -> None:
        self._what = what
        self._stub = stub
        self._trial_id = trial_id
        self._on_message = on_message
        self._on_gone: Callable[[str], None] | None = on_gone
        self._farewells = farewells
        self._waiting: list[SendT] = []
        self._waiting_bytes = 0
        self._duplex: Duplex[SendT, RecvT] | None = None
        failure: Exception | None = None
        if route.local is not None:
            try:
                self._open(route.local)
            except Exception as error:
                failure = error
        self._task = tasks.spawn(self._run(route, service, failure), what=what)

    def send(self, message: SendT) -> None:
        """See `Peer.send`."""
        if self._duplex is None:
            self._wait_for_stream(message)
            return
        try:
            self._duplex.send(message)
        except BacklogError as error:
            self._gone(str(error))

    def release(self) -> None:
        """See `Peer.release`."""
        if self._on_gone is None:
            return
        self._on_gone = None
        if self._duplex is None:
            self._task.cancel()
        elif not self._task.done():
            self._farewells.spawn(self._complete(self._duplex), what=f"release of {self._what}")

    def _wait_for_stream(self, message: SendT) -> None:
        self._waiting_bytes += message.ByteSize()
        if len(self._waiting) < BACKLOG_LIMIT and self._waiting_bytes <= BACKLOG_BYTES:
            self._waiting.append(message)
        else:
            self._gone(f"{len(self._waiting)} messages, {self._waiting_bytes} bytes wait for the stream to open")

    async def _run(self, route: Route, service: str, failure: Exception | None) -> None:
        try:
            if failure is not None:
                raise failure
            async with route.channel(service) as channel:
                await self._listen(self._duplex or self._open(channel))
            reason = "the stream ended"
        except CogmentError as error:
            reason = str(error)
        except Exception as error:
            logger.exception("%s failed", self._what)
            reason = str(error)
        self._tell(reason)

    async def _listen(self, duplex: Duplex[SendT, RecvT]) -> None:
        try:
            await duplex.receive(self._on_message)
        finally:
            duplex.abandon()

    def _open(self, channel: Any) -> Duplex[SendT, RecvT]:
        self._duplex = of_call(self._stub(channel).RunTrial(metadata=(("trial-id", self._trial_id),)))
        for message in self._waiting:
            self._duplex.send(message)
        self._waiting.clear()
        return self._duplex

    def _gone(self, reason: str) -> None:
        self._task.cancel()
        self._tell(reason)

    def _tell(self, reason: str) -> None:
        on_gone, self._on_gone = self._on_gone, None
        if on_gone is not None:
            on_gone(reason)

    async def _complete(self, duplex: Duplex[SendT, RecvT]) -> None:
        try:
            await asyncio.wait_for(duplex.close(), RELEASE_TIMEOUT)
        except asyncio.TimeoutError:
            logger.info("%s does not take the end of its trial", self._what)
            duplex.abandon()
        limit = asyncio.get_running_loop().call_later(LINGER, duplex.abandon)
        self._task.add_done_callback(lambda _: limit.cancel())


class ClientPeer:
    """A peer that called the Orchestrator: a client actor that has joined.

    Args:
        duplex: The stream.
        on_gone: Called once with the reason if the stream ends before it was released.
    """

    __slots__ = ("_duplex", "_on_gone", "released")

    def __init__(self, duplex: ActorDuplex, on_gone: Callable[[str], None]) -> None:
        self._duplex = duplex
        self._on_gone: Callable[[str], None] | None = on_gone
        self.released: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the call may be completed."""

    def send(self, message: ActorRunTrialInput) -> None:
        """See `Peer.send`."""
        try:
            self._duplex.send(message)
        except BacklogError as error:
            self.gone(str(error))

    def gone(self, reason: str) -> None:
        """The stream has ended."""
        on_gone, self._on_gone = self._on_gone, None
        if on_gone is not None:
            self._duplex.abandon()
            on_gone(reason)

    def release(self) -> None:
        """See `Peer.release`."""
        self._on_gone = None
        if not self.released.done():
            self.released.set_result(None)
