"""What a Context connects to: channels, the Directory, and what that leads to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import grpc.aio

    from cogment_core.channels import ChannelPool
    from cogment_core.directory import Directory
    from cogment_core.endpoints import Endpoint, ServiceType
    from cogment_core.resolution import Resolver

__all__ = ["Connections"]

# Imported where it is used is what only those need who connect: every program makes a Context.


class Connections:
    """The connections of one Context.

    Args:
        directory_endpoint: Its Directory; None for none.
        directory_token: What that lets us in with.
        metadata: What goes with every call to it.
    """

    def __init__(
        self,
        directory_endpoint: Endpoint | None,
        directory_token: str | None,
        metadata: Sequence[tuple[str, str | bytes]],
    ) -> None:
        self._directory_endpoint = directory_endpoint
        self._directory_token = directory_token
        self._metadata = metadata
        self._channels: ChannelPool | None = None
        self._directory: Directory | None = None
        self._resolver: Resolver | None = None

    async def channel(self, endpoint: Endpoint, service_type: ServiceType, stream_of: str) -> grpc.aio.Channel:
        """See `Context.channel`."""
        from cogment_core.resolution import Resolver

        if self._resolver is None:
            self._resolver = Resolver(self.own_directory())
        return await self._resolver.connect(
            endpoint, service_type, lambda address: self._open(address, service_type, stream_of)
        )

    async def _open(self, address: Endpoint, service_type: ServiceType, stream_of: str) -> grpc.aio.Channel:
        from cogment_core.channels import BULK_OPTIONS
        from cogment_core.endpoints import ServiceType

        pool = self._pool()
        if stream_of:
            return await pool.lasting(address, stream_of)
        return pool.get(address, BULK_OPTIONS if service_type is ServiceType.MODEL_REG else ())

    def directory(self, endpoint: Endpoint | str, token: str | None) -> Directory:
        """The client of a Directory.

        Raises:
            EndpointError: The endpoint is no address.
            UsageError: An argument is of a wrong kind.
        """
        from cogment_core.directory import Directory

        return Directory(endpoint, token, channels=self._pool(), metadata=self._metadata)

    def own_directory(self) -> Directory | None:
        """The client of the Context's Directory; None if it has none."""
        if self._directory is None and self._directory_endpoint is not None:
            self._directory = self.directory(self._directory_endpoint, self._directory_token)
        return self._directory

    async def close(self) -> None:
        """Close all connections. Does nothing the second time."""
        await self._pool().close()

    async def wait_closed(self) -> None:
        """Wait until `close` is called."""
        await self._pool().wait_closed()

    def _pool(self) -> ChannelPool:
        from cogment_core.channels import ChannelPool

        if self._channels is None:
            self._channels = ChannelPool()
        return self._channels
