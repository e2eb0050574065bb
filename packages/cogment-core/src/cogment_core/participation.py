"""From the first to the last message of one participant in a trial.

`Participation` joins the three things that live side by side: the call that carries the messages, the session that the
user sees, and the user's function. It is the same for served actors, served environments and client actors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from cogment_core.api import common_pb2
from cogment_core.duplex import Duplex
from cogment_core.errors import CogmentError, ProtocolError
from cogment_core.logs import logger
from cogment_core.sessions.base import Session
from cogment_core.sessions.link import Link
from cogment_core.stream import Receipt

__all__ = ["CANCEL_GRACE", "INIT_TIMEOUT", "RETURN_GRACE", "Participation", "Seat"]

INIT_TIMEOUT = 30.0
"""Seconds that the Orchestrator has to send the initial data."""

RETURN_GRACE = 10.0
"""Seconds that the user's function has, once the connection is lost, to come back to its loop of events. A function that
does is free to take its time afterwards; one that waits for something else is cancelled, for it may wait forever."""

CANCEL_GRACE = 5.0
"""Seconds that a cancelled function of the user has to end."""


@dataclass(frozen=True)
class Seat:
    """A place in a trial that was taken."""

    session: Session
    """What the user's function is called with."""
    impl: Callable[[Any], Awaitable[object]]
    """The user's function."""
    leave: Callable[[], None]
    """To be called once the function is done."""

    async def run(self) -> None:
        """Call the user's function."""
        try:
            await self.impl(self.session)
        finally:
            self.leave()


Join = Callable[[Any, Link], Seat]
"""Takes the initial data and the link, and makes the session."""


class Participation:
    """One participant's part in a trial.

    Args:
        what: Who takes part in what, for the log.
        duplex: The call that carries the messages.
        reply: Makes a message without data of a given communication state.
        join: Called with the initial data, as soon as it is there.
        linger: Seconds to wait, after this side has said everything, for the other side to complete the call. A caller
            needs some: dropping its call could drop what is on the way.
    """

    def __init__(
        self,
        what: str,
        duplex: Duplex[Any, Any],
        *,
        reply: Callable[..., Any],
        join: Join,
        linger: float = 0.0,
    ) -> None:
        self._what = what
        self._duplex = duplex
        self._reply = reply
        self._join = join
        self._linger = linger
        self._link = Link(duplex.send)
        self._callback: asyncio.Task[None] | None = None
        self._joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._error: Exception | None = None

    async def run(self) -> None:
        """Take part until the user's function has returned and what it sent is out.

        Raises:
            CogmentError: The Orchestrator broke the protocol, or the call broke before the initial data.
            Exception: Whatever the user's function raises.
        """
        receiving = asyncio.get_running_loop().create_task(self._receive())
        try:
            if await self._wait_for_initial_data(receiving):
                await self._wait_for_callback(receiving)
                await self._duplex.close()
                if self._linger and not receiving.done():
                    await asyncio.wait({receiving}, timeout=self._linger)
        except asyncio.CancelledError:
            await self._cancel_callback()
            raise
        finally:
            self._duplex.abandon()
            receiving.cancel()
            await asyncio.wait({receiving})
        if self._error is not None:
            raise self._error

    def connection_lost(self, reason: str) -> None:
        """The call is gone, in a way that it does not show itself."""
        self._link.lose(reason)
        self._duplex.abandon()

    async def _receive(self) -> None:
        """Receive until the Orchestrator has nothing more to say; a break of the call is the session's news."""
        try:
            await self._duplex.receive(self._on_message)
        except CogmentError as error:
            if self._callback is None and not self._link.is_over:
                self._error = self._error or error
            self._link.lose(f"the connection to the Orchestrator broke ({error})")
        else:
            self._link.lose("the Orchestrator stopped sending without ending the trial")

    def _on_message(self, message: Any) -> None:
        try:
            if self._callback is not None:
                self._link.receive(message)
            else:
                self._on_first_message(message)
        except Exception as error:
            # Nonsense from the peer ends this session, and must not reach whoever delivers the messages.
            self._error = error
            self.connection_lost(str(error))

    def _on_first_message(self, message: Any) -> None:
        receipt = self._link.stream.receive(message.state, message.WhichOneof("data"))
        if receipt is Receipt.INIT:
            seat = self._join(message.init_input, self._link)
            self._callback = asyncio.get_running_loop().create_task(seat.run())
            self._joined.set_result(None)
        elif receipt is Receipt.ECHO:
            self._duplex.send(self._reply(state=common_pb2.HEARTBEAT))
        elif receipt is Receipt.ACKNOWLEDGE:
            self._duplex.send(self._reply(state=common_pb2.LAST_ACK))
        elif receipt is Receipt.ENDED:
            logger.info("%s: the trial ended before it started: %s", self._what, message.details or "no reason given")

    async def _wait_for_initial_data(self, receiving: asyncio.Task[None]) -> bool:
        """Returns whether the user's function runs."""
        await asyncio.wait({receiving, self._joined}, timeout=INIT_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        if self._callback is None and not receiving.done():
            self._error = ProtocolError(f"{self._what}: no initial data within {INIT_TIMEOUT:g} s")
        return self._callback is not None

    async def _wait_for_callback(self, receiving: asyncio.Task[None]) -> None:
        """Wait for the user's function, and pass on what it raises."""
        callback = self._callback
        assert callback is not None
        await asyncio.wait({receiving, callback}, return_when=asyncio.FIRST_COMPLETED)
        if not callback.done() and not self._link.is_over and not await self._comes_back(callback):
            await self._cancel_callback()
            return
        await asyncio.wait({callback})
        if callback.cancelled():
            raise CogmentError(f"{self._what}: the implementation was cancelled from within")
        callback.result()
        if self._link.stream.can_send:
            logger.warning("%s: the implementation returned before the end of the trial", self._what)

    async def _comes_back(self, callback: asyncio.Task[None]) -> bool:
        """Whether the user's function takes note of the lost connection in time."""
        left = asyncio.get_running_loop().create_task(self._link.left.wait())
        try:
            await asyncio.wait({callback, left}, timeout=RETURN_GRACE, return_when=asyncio.FIRST_COMPLETED)
        finally:
            left.cancel()
        return callback.done() or self._link.left.is_set()

    async def _cancel_callback(self) -> None:
        callback = self._callback
        if callback is None or callback.done():
            return
        callback.cancel()
        await asyncio.wait({callback}, timeout=CANCEL_GRACE)
        if not callback.done():
            logger.error("%s: the implementation goes on after it was cancelled", self._what)
