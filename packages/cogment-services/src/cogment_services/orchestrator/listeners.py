"""The gRPC servers of an Orchestrator."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable

from cogment_services.listener import Listener, Service
from cogment_services.tls import Tls

__all__ = ["Listeners"]


class Listeners:
    """One server for Controllers and one for client actors, or one for both.

    Args:
        lifecycle: What serves Controllers.
        client_actors: What serves client actors.
        host: Address to listen on.
        port: Port for Controllers; 0 lets the system choose; None for no server.
        actor_port: Port for client actors; None, or the same number, for one server.
        tls: For mutual TLS.
    """

    def __init__(
        self,
        lifecycle: Service,
        client_actors: Service,
        *,
        host: str,
        port: int | None,
        actor_port: int | None,
        tls: Tls | None,
    ) -> None:
        self._lifecycle: Listener | None = None
        self._client_actors: Listener | None = None
        if port is None:
            return
        if actor_port is None or actor_port == port:
            self._lifecycle = self._client_actors = Listener([lifecycle, client_actors], host, port, tls)
        else:
            self._client_actors = Listener([client_actors], host, actor_port, tls)
            self._lifecycle = Listener([lifecycle], host, port, tls)

    @property
    def port(self) -> int:
        """The port that Controllers are listened to at; 0 if they are not."""
        return 0 if self._lifecycle is None else self._lifecycle.port

    @property
    def actor_port(self) -> int:
        """The port that client actors are listened to at; 0 if they are not."""
        return 0 if self._client_actors is None else self._client_actors.port

    async def start(self) -> None:
        """Listen, if that is wanted: at both ports or at none.

        Raises:
            EndpointError: A port cannot be had.
        """
        try:
            for listener in self._listeners():
                await listener.start()
        except BaseException:
            await self.close(0.0)
            raise

    async def announce_end(self) -> None:
        """Tell those who ask for the health of the servers that they go."""
        await _all(listener.announce_end() for listener in self._listeners())

    async def close(self, grace: float) -> None:
        """Stop listening; calls in progress have ``grace`` seconds to end."""
        await _all(listener.close(grace) for listener in self._listeners())

    def _listeners(self) -> Iterable[Listener]:
        both = (self._client_actors, self._lifecycle)
        return list(dict.fromkeys(listener for listener in both if listener is not None))


async def _all(steps: Iterable[Awaitable[None]]) -> None:
    await asyncio.gather(*steps)
