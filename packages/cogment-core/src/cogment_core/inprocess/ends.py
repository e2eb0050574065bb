"""The two ends of an in-process call as `cogment_core.duplex.Duplex`."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc

from cogment_core import outbox
from cogment_core.errors import UnavailableError, from_grpc
from cogment_core.inprocess.inbox import Inbox

if TYPE_CHECKING:
    from cogment_core.inprocess.calls import StreamStreamCall
    from cogment_core.inprocess.exchange import Exchange

__all__ = ["ClientEnd", "ServerEnd"]


class _End(ABC):
    """What both ends share: an inbox of their own, and the peer's to send to."""

    def __init__(self, exchange: Exchange, own: Inbox[Any], peers: Inbox[Any]) -> None:
        self._exchange = exchange
        self._own = own
        self._peers = peers
        self.send = peers.put

    async def receive(self, on_message: Callable[[Any], None]) -> None:
        """See `cogment_core.duplex.Duplex.receive`."""
        self._own.subscribe(on_message)
        await self._own.wait_until_over()

    async def drain(self) -> None:
        """Wait until few enough messages wait for the peer."""
        while not self._peers.has_room:
            taken = self._peers.taken
            try:
                await asyncio.wait_for(self._peers.room(), outbox.WRITE_TIMEOUT)
            except asyncio.TimeoutError:
                if taken == self._peers.taken:
                    self._lose(f"the peer did not take a message for {outbox.WRITE_TIMEOUT:g} s")

    async def close(self) -> None:
        """See `cogment_core.duplex.Duplex.close`."""
        await self.drain()

    def abandon(self) -> None:
        """See `cogment_core.duplex.Duplex.abandon`."""
        self._lose("the call was abandoned")

    @abstractmethod
    def _lose(self, reason: str) -> None:
        """End the call, because of ``reason``."""


class ClientEnd(_End):
    """The caller's end."""

    def __init__(self, exchange: Exchange, call: StreamStreamCall) -> None:
        super().__init__(exchange, exchange.to_client, exchange.to_server)
        self._call = call  # a call that nobody holds is cancelled

    async def receive(self, on_message: Callable[[Any], None]) -> None:
        """See `cogment_core.duplex.Duplex.receive`."""
        self._own.subscribe(on_message)
        try:
            await self._own.wait_until_over()
            await asyncio.shield(self._exchange.settled)
        except BaseException:
            self._exchange.cancel("the receiver has failed")
            raise
        if self._exchange.cancelled_by_client:
            raise _unavailable("the call was cancelled")
        if (error := self._exchange.error()) is not None:
            raise from_grpc(error, method=self._exchange.method)

    async def close(self) -> None:
        """Half-close after all that was sent."""
        await super().close()
        self._peers.close()

    def _lose(self, reason: str) -> None:
        self._own.fail(_unavailable(reason))
        self._exchange.cancel(reason)


class ServerEnd(_End):
    """The servicer's end."""

    def __init__(self, exchange: Exchange) -> None:
        super().__init__(exchange, exchange.to_server, exchange.to_client)

    def _lose(self, reason: str) -> None:
        # What was handed over already is the client's; only the handler can complete the call.
        self._own.fail(_unavailable(reason))
        self._peers.close()


def _unavailable(text: str) -> UnavailableError:
    return UnavailableError(grpc.StatusCode.UNAVAILABLE, text)
