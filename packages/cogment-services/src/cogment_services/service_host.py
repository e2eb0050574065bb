"""What a server is reached by: callers in its own process, and over gRPC if it has a port."""

from __future__ import annotations

from collections.abc import Sequence

from cogment_core.channels import Options
from cogment_core.inprocess import InProcessEndpoint, InProcessServer
from cogment_services.listener import Listener, Service
from cogment_services.tls import Tls

__all__ = ["ServiceHost"]


class ServiceHost:
    """Serves the same services in process, at once, and over gRPC, from `start` on.

    Args:
        name: What to call it in the log and in endpoints.
        services: What is served.
        host: Address to listen on.
        port: Port to listen on; 0 lets the system choose; None for no gRPC.
        tls: For mutual TLS.
        options: gRPC options besides, or instead of, the usual ones.
    """

    def __init__(
        self,
        name: str,
        services: Sequence[Service],
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        tls: Tls | None = None,
        options: Options = (),
    ) -> None:
        self.in_process = InProcessServer(name)
        """The server for callers in this process."""
        for service in services:
            service.mount(self.in_process)
        self._listener = None if port is None else Listener(services, host, port, tls, options)

    @property
    def endpoint(self) -> InProcessEndpoint:
        """Where it is for callers in this process and event loop."""
        return InProcessEndpoint(self.in_process)

    @property
    def port(self) -> int:
        """The port that it listens on; 0 if it does not listen."""
        return 0 if self._listener is None else self._listener.port

    @property
    def listening(self) -> str:
        """Where it can be reached, as tooling looks for it."""
        return f"[port:{self.port}]"

    async def start(self) -> None:
        """Listen, if there is a port to listen on.

        Raises:
            EndpointError: The port cannot be had, or what there is for TLS cannot be used.
        """
        if self._listener is not None:
            await self._listener.start()

    async def announce_end(self) -> None:
        """Tell those who ask for its health that it goes."""
        await self.announce(serving=False)

    async def announce(self, *, serving: bool) -> None:
        """Tell those who ask for its health whether it serves."""
        if self._listener is not None:
            await self._listener.announce(serving=serving)

    async def close(self, grace: float) -> None:
        """Take no more calls; those in progress have ``grace`` seconds to end."""
        if self._listener is not None:
            await self._listener.close(grace)
        await self.in_process.stop()
