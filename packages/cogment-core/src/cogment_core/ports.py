"""Whether a port can be listened on, and if not, why."""

from __future__ import annotations

import errno
import os
import socket

from cogment_core.errors import EndpointError

__all__ = ["check_port"]


def check_port(host: str | None, port: int) -> None:
    """Check that ``port`` is free at all addresses of ``host``; None stands for all interfaces.

    gRPC is content with one of several addresses, and never says why it got none.

    Raises:
        EndpointError: It is not, or ``host`` is not an address of this machine.
    """
    # gRPC takes "localhost" for both, whatever the machine's own list of hosts says.
    names = ("127.0.0.1", "::1") if host == "localhost" else (host.strip("[]") if host else None,)
    try:
        addresses = [
            address
            for name in names
            for address in socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        ]
    except OSError as error:
        raise EndpointError(f"cannot listen at {host!r}: this host is not known ({error})") from error
    failures = [failure for address in addresses if (failure := _bind_failure(*address)) is not None]
    for failure in failures:
        if failure.errno == errno.EADDRINUSE:
            raise EndpointError(
                f"port {port} is in use by another server: stop that one, or choose another port "
                f"(0 lets the system choose a free one)"
            ) from failure
        if failure.errno == errno.EACCES:
            raise EndpointError(f"port {port} needs privileges: choose one from 1024 up") from failure
    if len(failures) == len(addresses):
        raise EndpointError(f"cannot listen at {host!r}: it is not an address of this machine ({failures[0]})")


def _bind_failure(family: int, kind: int, protocol: int, _name: str, address: tuple[object, ...]) -> OSError | None:
    try:
        with socket.socket(family, kind, protocol) as probe:
            if family == socket.AF_INET6:
                # As gRPC does: "::" stands for all addresses of both versions.
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            if os.name == "posix":
                # Connections of an earlier server that are still closing do not count.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error
    return None
