"""The gRPC servers of an Orchestrator."""

from __future__ import annotations

import asyncio

import grpc.aio

from cogment_core.api.orchestrator_pb2_grpc import (
    ClientActorSPServicer,
    TrialLifecycleSPServicer,
    add_ClientActorSPServicer_to_server,
    add_TrialLifecycleSPServicer_to_server,
)
from cogment_core.channels import bind, create_server
from cogment_core.endpoints import ServedEndpoint
from cogment_core.logs import logger
from cogment_core.serving import Health, guarded
from cogment_services.tls import Tls

__all__ = ["Listeners"]

LIFECYCLE = "cogmentAPI.TrialLifecycleSP"
CLIENT_ACTOR = "cogmentAPI.ClientActorSP"

LOOPBACK = ("127.0.0.1", "::1", "[::1]", "localhost")


class Listeners:
    """One server for Controllers and one for client actors, or one for both.

    Args:
        host: Address to listen on.
        port: Port for Controllers; 0 lets the system choose; None for no server.
        actor_port: Port for client actors; None, or the same number, for one server.
        tls: For mutual TLS.
    """

    def __init__(self, host: str, port: int | None, actor_port: int | None, tls: Tls | None) -> None:
        self._host = host
        self._tls = tls
        self._wanted = (port, port if actor_port is None else actor_port)
        self._servers: list[grpc.aio.Server] = []
        self._health: list[Health] = []
        self.port = 0
        """The port that Controllers are listened to at; 0 if they are not."""
        self.actor_port = 0
        """The port that client actors are listened to at; 0 if they are not."""

    async def start(self, lifecycle: TrialLifecycleSPServicer, client_actors: ClientActorSPServicer) -> None:
        """Listen, if that is wanted.

        Raises:
            EndpointError: A port cannot be had.
        """
        port, actor_port = self._wanted
        if port is None or actor_port is None:
            return
        if port == actor_port:
            server = self._server(LIFECYCLE, CLIENT_ACTOR)
            add_TrialLifecycleSPServicer_to_server(lifecycle, guarded(server))
            add_ClientActorSPServicer_to_server(client_actors, guarded(server))
            self.port = self.actor_port = bind(server, self._served(port))
        else:
            server = self._server(CLIENT_ACTOR)
            add_ClientActorSPServicer_to_server(client_actors, guarded(server))
            self.actor_port = bind(server, self._served(actor_port))
            server = self._server(LIFECYCLE)
            add_TrialLifecycleSPServicer_to_server(lifecycle, guarded(server))
            self.port = bind(server, self._served(port))
        for server in self._servers:
            await server.start()
        await self._set_health(True)
        if self._tls is None and self._host not in LOOPBACK:
            logger.warning("listening on %s without TLS: whoever reaches this address can run trials", self._host)

    async def announce_end(self) -> None:
        """Tell those who ask for the health of the servers that they go."""
        await self._set_health(False)

    async def close(self, grace: float) -> None:
        """Stop listening; calls in progress have ``grace`` seconds to end."""
        servers, self._servers = self._servers, []
        if servers:
            await asyncio.wait({asyncio.get_running_loop().create_task(server.stop(grace)) for server in servers})

    def _server(self, *services: str) -> grpc.aio.Server:
        server = create_server()
        self._servers.append(server)
        self._health.append(Health(server, services))
        return server

    def _served(self, port: int) -> ServedEndpoint:
        served = ServedEndpoint(port, self._host)
        if self._tls is not None:
            self._tls.secure(served)
        return served

    async def _set_health(self, serving: bool) -> None:
        for health in self._health:
            await health.set_serving(serving)
