"""The endpoint of an in-process server."""

from __future__ import annotations

from cogment_core.endpoints import Endpoint
from cogment_core.inprocess.server import InProcessServer

__all__ = ["InProcessEndpoint"]


class InProcessEndpoint(Endpoint):
    """Where an in-process server is.

    Args:
        server: The server.

    Attributes:
        server: The server.
        url: ``inprocess://`` and the server's name. It is for people only: the server is found by `server`.
    """

    in_process = True

    def __init__(self, server: InProcessServer) -> None:
        super().__init__(f"inprocess://{server.name}")
        self.server = server
