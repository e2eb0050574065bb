"""What the clients of all services share: how they reach the service, and that they may be awaited.

A feature package gets a Context handed and needs no more of it than `ClientContext`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from cogment_core import rpc
from cogment_core.endpoints import Endpoint, redact_url
from cogment_core.errors import UsageError

if TYPE_CHECKING:
    import grpc.aio
    from google.protobuf.message import Message

    from cogment_core.endpoints import ServiceType
    from cogment_core.specs import CogSettings

__all__ = ["AwaitableClient", "ClientContext", "RemoteService"]

SelfT = TypeVar("SelfT", bound="AwaitableClient")


class ClientContext(Protocol):
    """What a client needs of the Context that it belongs to."""

    @property
    def user_id(self) -> str:
        """Who calls."""
        ...

    @property
    def settings(self) -> CogSettings | None:
        """The specs, None if they are not known."""
        ...

    def grpc_metadata(self) -> Sequence[tuple[str, str | bytes]]:
        """The metadata that goes with every call."""
        ...

    async def channel(self, endpoint: Endpoint, service_type: ServiceType, *, stream_of: str = "") -> grpc.aio.Channel:
        """The channel to ``endpoint``; the Context keeps it, shares it and closes it.

        Args:
            endpoint: Where the service is, or how to discover it.
            service_type: What to discover if the endpoint does not say.
            stream_of: Full name of the service, if a stream of it is to be opened: one that may last, and has to know
                soon when its server is frozen.

        Raises:
            EndpointError: The endpoint cannot be understood, or leads nowhere.
            UnavailableError: The server of a stream cannot be reached.
        """
        ...

    async def wait_closed(self) -> None:
        """Wait until the Context closes its connections."""
        ...


class AwaitableClient:
    """A client that ``await`` gives back unchanged.

    The documented factories of clients are ``async``, and existing code calls them with and without ``await``. A
    client that is awaitable itself gives both one type.
    """

    def __await__(self: SelfT) -> Generator[Any, None, SelfT]:
        return _just(self).__await__()


async def _just(value: SelfT) -> SelfT:
    return value


class RemoteService:
    """One service at one endpoint, called on behalf of a Context.

    Every call carries the Context's metadata and fails with an error of `cogment_core.errors`. The channel is asked
    for at each call, so that making a client waits for nothing, and which service a discovery endpoint leads to is
    the Context's decision.

    Args:
        context: The Context that the client belongs to.
        endpoint: Where the service is.
        service_type: What to discover if the endpoint does not say.
        name: Full name of the service in the protocol, for example ``cogmentAPI.TrialLifecycleSP``.
        make_stub: Makes the stub of the service on a channel.

    Raises:
        UsageError: ``endpoint`` is no `Endpoint`.
    """

    def __init__(
        self,
        context: ClientContext,
        endpoint: Endpoint,
        service_type: ServiceType,
        name: str,
        make_stub: Callable[[Any], Any],
    ) -> None:
        if not isinstance(endpoint, Endpoint):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(
                f"an endpoint is an Endpoint, for example Endpoint({endpoint!r}), not {type(endpoint).__name__}"
            )
        self._context = context
        self._endpoint = endpoint
        self._service_type = service_type
        self._name = name
        self._make_stub = make_stub
        self._channel: grpc.aio.Channel | None = None
        self._stub: Any = None

    @property
    def target(self) -> str:
        """Whom the calls go to, for messages."""
        return redact_url(self._endpoint.url)

    def path(self, method: str) -> str:
        """Full name of ``method``, for messages."""
        return f"/{self._name}/{method}"

    def room_for_metadata(self) -> int:
        """Bytes of metadata that a call can carry besides the Context's."""
        return rpc.METADATA_LIMIT - rpc.metadata_size(self._context.grpc_metadata())

    async def call(
        self,
        method: str,
        request: Message,
        *,
        timeout: float = rpc.UNARY_TIMEOUT,
        metadata: Sequence[tuple[str, str]] = (),
    ) -> Any:
        """Call a unary method and return its reply.

        Args:
            method: Name of the method.
            request: What to send.
            timeout: Seconds until `DeadlineError`.
            metadata: What goes with the call besides the Context's metadata.
        """
        stub = await self._connect()
        return await rpc.call_unary(
            getattr(stub, method),
            request,
            method=self.path(method),
            target=self.target,
            metadata=[*self._context.grpc_metadata(), *metadata],
            timeout=timeout,
        )

    async def iterate(self, method: str, request: Message) -> AsyncGenerator[Any, None]:
        """Call a method that replies with a stream, and iterate over it. Closing the generator cancels the call."""
        channel = await self._context.channel(self._endpoint, self._service_type, stream_of=self._name)
        stub = self._make_stub(channel)
        replies = rpc.iterate(
            getattr(stub, method),
            request,
            method=self.path(method),
            target=self.target,
            metadata=self._context.grpc_metadata(),
        )
        async with aclosing(replies):
            async for reply in replies:
                yield reply

    async def open(self, method: str, *request: Message) -> Any:
        """Begin a call of a streaming method: for those who write requests, or bound how long each message takes.

        Args:
            method: Name of the method.
            request: What to send, for a method that takes one request.

        Returns:
            The ``grpc.aio`` call. Its failures are gRPC's, see `rpc.our_errors`; it is the caller's to cancel.
        """
        stub = await self._connect()
        metadata = rpc.check_metadata(self._context.grpc_metadata())
        return getattr(stub, method)(*request, metadata=metadata)

    async def wait_closed(self) -> None:
        """Wait until the Context closes its connections: the service cannot be reached any more."""
        await self._context.wait_closed()

    async def _connect(self) -> Any:
        channel = await self._context.channel(self._endpoint, self._service_type)
        if channel is not self._channel:
            self._channel, self._stub = channel, self._make_stub(channel)
        return self._stub
