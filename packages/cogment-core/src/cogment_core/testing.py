"""For tests of what is built with Cogment: servers and clients in one process, without ports.

A real stub on a real servicer, with nothing but memory between them:

    from cogment_core.api.environment_pb2_grpc import EnvironmentSPStub, add_EnvironmentSPServicer_to_server
    from cogment_core.testing import InProcessServer

    async def test_my_servicer_tells_its_version():
        async with InProcessServer() as server:
            add_EnvironmentSPServicer_to_server(MyServicer(), server)
            async with server.channel() as channel:
                reply = await EnvironmentSPStub(channel).Version(VersionRequest())
        assert reply.versions

`InProcessEndpoint` stands for such a server wherever an `Endpoint` is asked for, for example in
``context.get_controller(InProcessEndpoint(server))``.
"""

from __future__ import annotations

from cogment_core.inprocess import (
    QUEUE_LIMIT,
    InProcessChannel,
    InProcessEndpoint,
    InProcessServer,
    InProcessServicerContext,
)

__all__ = ["QUEUE_LIMIT", "InProcessChannel", "InProcessEndpoint", "InProcessServer", "InProcessServicerContext"]
