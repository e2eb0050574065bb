"""Client channels and servers, from endpoints.

The options were chosen by measuring ``grpc.aio`` 1.62 and 1.85; what each prevents stands beside it.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import Any

import grpc
import grpc.aio

from cogment_core.endpoints import Endpoint, GrpcUrl, ServedEndpoint, parse_url, redact_url
from cogment_core.errors import EndpointError, UsageError
from cogment_core.exiting import exit_cleanly
from cogment_core.inprocess import InProcessEndpoint
from cogment_core.lasting import LastingChannel
from cogment_core.ports import check_port
from cogment_core.tracking import TrackingChannel

__all__ = [
    "BULK_OPTIONS",
    "CLIENT_OPTIONS",
    "IDEMPOTENT",
    "MESSAGE_LIMIT",
    "SERVER_OPTIONS",
    "WATCHFUL_CLIENT_OPTIONS",
    "ChannelPool",
    "Options",
    "bind",
    "create_server",
    "identity",
    "open_channel",
    "open_lasting",
]

Options = Sequence[tuple[str, Any]]

MESSAGE_LIMIT = 64 * 1024 * 1024
"""Longest message that is taken, in bytes.

gRPC's 4 MiB are too few for observations with pictures, and sending is not limited, so that users met the limit as a
broken call in the middle of a trial. It bounds what one message of a hostile peer can cost: parsed, up to 57 times as
much memory.
"""

_IDEMPOTENT_METHODS = {
    "ServiceActorSP": ("Version", "Status"),
    "EnvironmentSP": ("Version", "Status"),
    "TrialHooksSP": ("Version", "Status"),
    "DatalogSP": ("Version", "Status"),
    "ClientActorSP": ("Version", "Status"),
    "TrialLifecycleSP": ("GetTrialInfo", "Version", "Status"),
    "TrialDatastoreSP": ("RetrieveTrials", "Version", "Status"),
    "ModelRegistrySP": ("RetrieveModels", "RetrieveVersionInfos", "Version", "Status"),
    "DirectorySP": ("Version", "Status"),
}

IDEMPOTENT = json.dumps(
    {
        "methodConfig": [
            {
                "name": [
                    {"service": f"cogmentAPI.{service}", "method": method}
                    for service, methods in _IDEMPOTENT_METHODS.items()
                    for method in methods
                ],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.2s",
                    "maxBackoff": "1s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)
"""gRPC service config: calls that only ask are made again, for about a second, when the server cannot be reached."""

_COMMON: Options = (
    ("grpc.max_receive_message_length", MESSAGE_LIMIT),
    # Equal: between two different limits, metadata is refused at random.
    ("grpc.max_metadata_size", 8192),
    ("grpc.absolute_max_metadata_size", 8192),
    # Pings go on while no messages do: otherwise a dead peer is found 40 s after an idle spell.
    ("grpc.http2.max_pings_without_data", 0),
)

_CLIENT: Options = (
    *_COMMON,
    # A server that comes back is found within a second, not two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # In truth the time that connecting may take; it does not slow reconnecting down.
    ("grpc.min_reconnect_backoff_ms", 5000),
    ("grpc.enable_retries", 1),
    ("grpc.service_config", IDEMPOTENT),
)

CLIENT_OPTIONS: Options = (
    *_CLIENT,
    ("grpc.keepalive_time_ms", 330_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # This one governs, whatever keepalive_timeout says; 60 s by default.
    ("grpc.http2.ping_timeout_ms", 20_000),
)
"""Options of a channel to any server.

gRPC servers with stock options allow a ping each 5 minutes and close the connection of a client that pings more often,
while its streams are idle: with a ping each 5 s, after 25 s (measured). So a client of ours asks a silent server after
five and a half minutes whether it still lives, unless it knows that the server is one of ours (`open_lasting`). Servers
of ours ask their clients each 5 s, see `SERVER_OPTIONS`.
"""

WATCHFUL_CLIENT_OPTIONS: Options = (
    *_CLIENT,
    ("grpc.keepalive_time_ms", 5000),
    ("grpc.keepalive_timeout_ms", 3000),
    ("grpc.http2.ping_timeout_ms", 3000),
)
"""Options of a channel whose server is known to be lost within 8 s.

Only for servers that allow it, or that send something on their streams at least each 10 s, for example the answers to
heartbeats: that makes stock servers patient.
"""

SERVER_OPTIONS: Options = (
    *_COMMON,
    ("grpc.keepalive_time_ms", 5000),
    ("grpc.keepalive_timeout_ms", 3000),
    ("grpc.http2.ping_timeout_ms", 3000),
    ("grpc.keepalive_permit_without_calls", 1),
    # What clients may do. The name that grpcio documents, with ``min_recv_ping``, is ignored.
    ("grpc.http2.min_ping_interval_without_data_ms", 2000),
    # Otherwise two servers share a port, and the calls to it, without any error.
    ("grpc.so_reuseport", 0),
    # Connections that say nothing must not use up the file descriptors.
    ("grpc.server_handshake_timeout_ms", 5000),
    ("grpc.max_allowed_incoming_connections", 2000),
    ("grpc.max_connection_idle_ms", 300_000),
)
"""Options of a server."""

BULK_OPTIONS: Options = (
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 4 * 1024**2),
)
"""Options besides, of both ends of streams of large messages.

gRPC finds out how much can be under way, and takes that much ahead of the reader: 100 MiB and more when the machine is
busy (measured). Two chunks of a model ahead are as fast.
"""


# --- clients ----------------------------------------------------------------------------------------------------------


def open_channel(endpoint: Endpoint, *, options: Options = ()) -> grpc.aio.Channel:
    """A new channel to ``endpoint``. It is the caller's to close.

    Args:
        endpoint: An address, or the endpoint of an in-process server.
        options: gRPC options besides, or instead of, those of `CLIENT_OPTIONS`.

    Raises:
        EndpointError: It is no address; or what it has for TLS is no PEM, or half of a pair.
    """
    if isinstance(endpoint, InProcessEndpoint):
        return endpoint.server.channel()
    url = parse_url(endpoint.url)
    if not isinstance(url, GrpcUrl):
        raise EndpointError(f"{redact_url(endpoint.url)!r} is not an address to connect to, as 'grpc://HOST:PORT' is")
    merged = _merged(CLIENT_OPTIONS, options)
    exit_cleanly()
    if not endpoint.using_ssl():
        return TrackingChannel(grpc.aio.insecure_channel(url.address, merged))
    return TrackingChannel(grpc.aio.secure_channel(url.address, _channel_credentials(endpoint), merged))


def _channel_credentials(endpoint: Endpoint) -> grpc.ChannelCredentials:
    roots = _pem("root_certificates", endpoint.root_certificates)
    private_key = _pem("private_key", endpoint.private_key)
    chain = _pem("certificate_chain", endpoint.certificate_chain)
    if (private_key is None) != (chain is None):  # gRPC would end the process
        given, missing = ("private_key", "certificate_chain") if chain is None else ("certificate_chain", "private_key")
        raise EndpointError(f"{given} is set, and {missing} is not: a client shows both, or none")
    return grpc.ssl_channel_credentials(roots, private_key, chain)


def open_lasting(
    endpoint: Endpoint, plain: Callable[[], grpc.aio.Channel] | None = None, *, options: Options = ()
) -> LastingChannel:
    """A new connection to an address, for calls that last. It is the caller's to close.

    Args:
        endpoint: The address.
        plain: Opens the channel to a server that allows no watchful one; None for one that nobody else uses.
        options: gRPC options besides.
    """
    unrepeated: Options = (*options, ("grpc.enable_retries", 0))
    return LastingChannel(
        partial(open_channel, endpoint, options=(*WATCHFUL_CLIENT_OPTIONS, *unrepeated)),
        plain or partial(open_channel, endpoint, options=unrepeated),
        redact_url(endpoint.url),
    )


class ChannelPool:
    """Channels that are shared by all who go to the same endpoint, and closed together.

    It belongs to the event loop and the process that it is first used in.

    Args:
        options: gRPC options for `open_channel`.
    """

    def __init__(self, options: Options = ()) -> None:
        self._options = options
        self._channels: dict[Hashable, grpc.aio.Channel] = {}
        self._lasting: dict[Hashable, LastingChannel] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0
        self._closed = asyncio.Event()

    def get(self, endpoint: Endpoint, options: Options = ()) -> grpc.aio.Channel:
        """The channel to ``endpoint`` with these options.

        Args:
            endpoint: An address, or the endpoint of an in-process server.
            options: gRPC options besides, or instead of, those of the pool.

        Raises:
            EndpointError: See `open_channel`.
            UsageError: The pool is closed, or belongs to another event loop or process.
        """
        if self._closed.is_set():
            raise UsageError(f"the connections are closed: {redact_url(endpoint.url)!r} cannot be reached any more")
        self._check_place()
        key = (identity(endpoint), tuple(options))
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = open_channel(endpoint, options=(*self._options, *options))
        return channel

    async def lasting(self, endpoint: Endpoint, service: str) -> grpc.aio.Channel:
        """The channel to ``endpoint`` for calls that last: they know within seconds when their server is frozen.

        Args:
            endpoint: An address, or the endpoint of an in-process server.
            service: Full name of the service that is called, for example ``cogmentAPI.ClientActorSP``.

        Raises:
            EndpointError: See `open_channel`.
            UsageError: See `get`.
            UnavailableError: The server cannot be reached.
        """
        plain = self.get(endpoint)
        if isinstance(endpoint, InProcessEndpoint):
            return plain
        key = identity(endpoint)
        if key not in self._lasting:
            self._lasting[key] = open_lasting(endpoint, lambda: plain)
        return await self._lasting[key].get(service)

    async def close(self) -> None:
        """Close all channels; calls in progress are cancelled. Does nothing the second time."""
        if self._channels:
            self._check_place()
        self._closed.set()
        lasting, self._lasting = self._lasting, {}
        channels, self._channels = self._channels, {}
        for connection in lasting.values():
            await connection.close()
        for channel in channels.values():
            await channel.close()

    async def wait_closed(self) -> None:
        """Wait until `close` is called."""
        await self._closed.wait()

    def _check_place(self) -> None:
        if self._pid not in (0, os.getpid()):  # first: in a forked child no event loop runs
            raise UsageError(
                "gRPC connections do not survive a fork: start processes with multiprocessing's 'spawn' method, and "
                "make the Context in the process that uses it"
            )
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise UsageError("connections can only be made within a running event loop") from None
        if self._loop is None:
            self._loop, self._pid = loop, os.getpid()
        elif self._loop is not loop:
            raise UsageError(
                "these connections belong to another event loop: make one Context for each event loop, and use it "
                "within one asyncio.run()"
            )


def identity(endpoint: Endpoint) -> Hashable:
    """What endpoints have in common that lead to the same place in the same way."""
    if isinstance(endpoint, InProcessEndpoint):
        return endpoint.server
    secrets = (endpoint.root_certificates, endpoint.private_key, endpoint.certificate_chain)
    return (parse_url(endpoint.url), endpoint.using_ssl(), secrets)


# --- servers ----------------------------------------------------------------------------------------------------------


def create_server(*, options: Options = ()) -> grpc.aio.Server:
    """A new server, to be given servicers, bound, started and stopped.

    Args:
        options: gRPC options besides, or instead of, those of `SERVER_OPTIONS`.
    """
    exit_cleanly()
    return grpc.aio.server(options=_merged(SERVER_OPTIONS, options))


def bind(
    server: grpc.aio.Server, served_endpoint: ServedEndpoint, credentials: grpc.ServerCredentials | None = None
) -> int:
    """Let ``server`` listen at ``served_endpoint`` once it is started.

    Args:
        server: The server.
        served_endpoint: Where to listen, and how to let others connect.
        credentials: How to let others connect, in the place of what ``served_endpoint`` has.

    Returns:
        The port.

    Raises:
        EndpointError: The port cannot be had, or what the endpoint has for TLS cannot be used.
    """
    check_port(served_endpoint.host, served_endpoint.port)
    if credentials is None and served_endpoint.using_ssl():
        credentials = _server_credentials(served_endpoint)
    address = served_endpoint.address
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        hint = "" if credentials is None else "; are all keys and certificates whole, and do they belong together?"
        raise EndpointError(f"cannot listen at {address}: {error}{hint}") from error


def _server_credentials(served_endpoint: ServedEndpoint) -> grpc.ServerCredentials:
    pairs = served_endpoint.private_key_certificate_chain_pairs
    if not pairs:
        raise EndpointError(
            "private_key_certificate_chain_pairs is empty: TLS needs at least one pair, None turns it off"
        )
    what = "private_key_certificate_chain_pairs"
    encoded = [(_required_pem(what, key), _required_pem(what, chain)) for key, chain in pairs]
    roots = _pem("root_certificates", served_endpoint.root_certificates)
    return grpc.ssl_server_credentials(encoded, roots, require_client_auth=roots is not None)


# --- both -------------------------------------------------------------------------------------------------------------


def _merged(options: Options, overrides: Options) -> list[tuple[str, Any]]:
    return list({**dict(options), **dict(overrides)}.items())


def _pem(what: str, text: str | None) -> bytes | None:
    return None if text is None else _required_pem(what, text)


def _required_pem(what: str, text: str) -> bytes:
    if "-----BEGIN" not in text:
        raise EndpointError(f"{what} is not PEM-encoded: there is no '-----BEGIN' line in it")
    return text.encode()
