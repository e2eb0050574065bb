"""From the first to the last message of one participant in a trial.

`Participation` joins the three things that live side by side: the call that carries the messages, the session that the
user sees, and the user's function. It is the same for served actors, served environments and client actors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any

from cogment_core.api import common_pb2
from cogment_core.duplex import Duplex
from cogment_core.errors import CogmentError, ProtocolError, UsageError
from cogment_core.logs import logger
from cogment_core.sessions.base import Session
from cogment_core.sessions.link import Link
from cogment_core.stream import Receipt

__all__ = ["CANCEL_GRACE", "INIT_TIMEOUT", "RETURN_GRACE", "Join", "Participation", "Seat"]

INIT_TIMEOUT = 30.0
"""Seconds that the Orchestrator has to send the initial data."""

RETURN_GRACE = 10.0
"""Seconds that the user's function has, once the connection is lost, to come back to its loop of events.

A function that does is free to take its time afterwards; one that waits for something else is cancelled, for it may
wait forever.
"""

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
        """Call the user's function, unless the trial has ended by the time that its turn comes."""
        if self.session.is_trial_over():
            return
        running: object = self.impl(self.session)
        if not isawaitable(running):
            name = getattr(self.impl, "__name__", repr(self.impl))
            raise UsageError(f"the implementation {name!r} has to be an async function: it was called, and returned")
        await running


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
        self._callback_was_cancelled = False
        self._begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._fault: Exception | None = None

    async def run(self) -> Exception | None:
        """Take part until the user's function is done, and what it sent is out.

        Returns:
            Why the two sides could not work together, usually a `CogmentError`: the Orchestrator broke the protocol,
            asked for what is not here, or was lost before the initial data. None if they could.

        Raises:
            Exception: Whatever the user's function raises.
        """
        receiving = asyncio.get_running_loop().create_task(self._receive())
        try:
            if await self._is_joined(receiving):
                await self._wait_for_callback(receiving)
            await self._duplex.close()
            if self._linger and not receiving.done():
                await asyncio.wait({receiving}, timeout=self._linger)
        except asyncio.CancelledError:
            await self._cancel_callback()
            self._log_failure()
            raise
        finally:
            self._duplex.abandon()
            receiving.cancel()
            await asyncio.wait({receiving})
        self._pass_on_failure()
        return self._fault

    def connection_lost(self, reason: str) -> None:
        """The call is gone, in a way that it does not show itself."""
        self._lose(reason)
        self._duplex.abandon()

    # --- messages -----------------------------------------------------------------------------------------------

    async def _receive(self) -> None:
        """Receive until the Orchestrator has nothing more to say; a break of the call is the session's news."""
        try:
            await self._duplex.receive(self._on_message)
        except Exception as error:
            self._lose(f"the connection to the Orchestrator broke ({error})", error)
        else:
            reason = "the Orchestrator stopped sending without ending the trial"
            self._lose(reason, ProtocolError(f"{self._what}: {reason}"))

    def _lose(self, reason: str, fault: Exception | None = None) -> None:
        """Nothing more will come. Without a session, ``fault`` is all there is to tell."""
        if self._callback is None:
            if not self._link.is_over:
                self._fault = self._fault or fault
        elif not self._callback.done():
            self._link.lose(reason)

    def _on_message(self, message: Any) -> None:
        try:
            if self._callback is not None:
                self._link.receive(message)
            else:
                self._on_first_message(message)
        except Exception as error:
            # Nonsense from the peer ends this session, and must not reach whoever delivers the messages.
            self._fault = error
            self.connection_lost(str(error))

    def _on_first_message(self, message: Any) -> None:
        receipt = self._link.stream.receive(message.state, message.WhichOneof("data"))
        if receipt is Receipt.INIT:
            seat = self._join(message.init_input, self._link)
            self._callback = asyncio.get_running_loop().create_task(seat.run())
            self._callback.add_done_callback(lambda _: seat.leave())
            self._begun.set_result(None)
        elif receipt is Receipt.ECHO:
            self._duplex.send(self._reply(state=common_pb2.HEARTBEAT))
        elif receipt is Receipt.ACKNOWLEDGE:
            self._duplex.send(self._reply(state=common_pb2.LAST_ACK))
        elif receipt is Receipt.ENDED:
            logger.info("%s: the trial ended before it started: %s", self._what, message.details or "no reason given")
            self._begun.set_result(None)

    # --- the user's function ------------------------------------------------------------------------------------

    async def _is_joined(self, receiving: asyncio.Task[None]) -> bool:
        """Wait for the initial data. Returns whether the user's function runs."""
        waiting: set[asyncio.Future[None]] = {receiving, self._begun}
        done, _ = await asyncio.wait(waiting, timeout=INIT_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            self._fault = ProtocolError(f"{self._what}: no initial data within {INIT_TIMEOUT:g} s")
        return self._callback is not None

    async def _wait_for_callback(self, receiving: asyncio.Task[None]) -> None:
        """Wait for the user's function, for as long as it knows how the trial is."""
        callback = self._callback
        assert callback is not None
        await asyncio.wait({receiving, callback}, return_when=asyncio.FIRST_COMPLETED)
        if callback.done():
            failed = callback.cancelled() or callback.exception() is not None
            if self._link.stream.can_send and not failed:
                logger.warning("%s: the implementation returned before the end of the trial", self._what)
        elif self._link.is_over or await self._comes_back(callback):
            await asyncio.wait({callback})
        else:
            logger.warning("%s: the implementation waits for something else: it is cancelled", self._what)
            await self._cancel_callback()

    async def _comes_back(self, callback: asyncio.Task[None]) -> bool:
        """Whether the user's function takes note of the lost connection in time."""
        left = asyncio.get_running_loop().create_task(self._link.left.wait())
        try:
            await asyncio.wait({callback, left}, timeout=RETURN_GRACE, return_when=asyncio.FIRST_COMPLETED)
        finally:
            left.cancel()
        return callback.done() or self._link.left.is_set()

    async def _cancel_callback(self) -> None:
        self._callback_was_cancelled = True
        callback = self._callback
        if callback is None or callback.done():
            return
        callback.cancel()
        await asyncio.wait({callback}, timeout=CANCEL_GRACE)
        if not callback.done():
            logger.error("%s: the implementation goes on after it was cancelled", self._what)

    def _pass_on_failure(self) -> None:
        """Raise what the user's function raised."""
        callback = self._callback
        if callback is None or not callback.done():
            return
        if not callback.cancelled():
            callback.result()
        elif not self._callback_was_cancelled:
            raise CogmentError(f"{self._what}: the implementation was cancelled from within")

    def _log_failure(self) -> None:
        """Tell what the user's function raised when there is nobody to pass it on to."""
        try:
            self._pass_on_failure()
        except Exception:
            logger.exception("%s: the implementation failed", self._what)
