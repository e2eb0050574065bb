"""Where others may send a server: which hosts and addresses it connects to because somebody named them.

A Directory checks what anybody has registered; an Orchestrator connects to what is in the parameters of trials.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import socket
import threading

from cogment_core.errors import EndpointError

__all__ = ["Address", "Resolver", "as_ip", "check_address", "check_host", "is_loopback"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_HOST = 253
"""Characters that the name of a host has at most."""

# Nothing that gRPC or a resolver could take for more than a name: no scheme, port, path, user or zone.
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_.])?")

_SECRET_KEEPERS = frozenset(
    ipaddress.ip_address(address) for address in ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")
)
"""Where clouds keep the secrets of their machines, besides the link-local addresses."""

_EMBEDDING = tuple(
    ipaddress.IPv6Network(network) for network in ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96", "::/96")
)
"""IPv6 addresses that end with an IPv4 address: they may be translated into it on their way (RFC 6052, 8215, 2765), or
stood for it once (RFC 4291)."""


def check_host(host: str, local: bool) -> None:
    """See to it that ``host`` is the name or the address of a machine, and none that is never allowed.

    Args:
        host: What is registered.
        local: Whether it is registered from this machine.

    Raises:
        EndpointError: It is not.
    """
    if len(host) > MAX_HOST or not (_HOST.fullmatch(host) or as_ip(host)):
        raise EndpointError("a host is the name or the IP address of a machine, without scheme, port or path")
    address = as_ip(host)
    if address is not None:
        check_address(address, local)
    elif host.rstrip(".").lower() == "localhost" and not local:
        raise EndpointError("localhost can only be registered from the machine of the Directory: use the host's name")


def check_address(address: Address, local: bool) -> None:
    """See to it that a connection to ``address`` may be made.

    Args:
        address: Where to.
        local: Whether it may be an address of this machine alone.

    Raises:
        EndpointError: It may not.
    """
    plain = _plain(address)
    if plain.is_link_local or plain.is_multicast or plain in _SECRET_KEEPERS:
        raise EndpointError("link-local, multicast and cloud metadata addresses cannot be registered")
    if plain.is_unspecified or (plain.version == 4 and plain.is_reserved):
        raise EndpointError("this address stands for no machine that could be connected to")
    if plain.is_loopback and not local:
        raise EndpointError("loopback addresses can only be registered from the machine of the Directory")


def is_loopback(address: Address) -> bool:
    """Whether ``address``, which a connection comes from, is one of this machine alone.

    Somebody elsewhere may have an address that would be translated into one: that makes it none.
    """
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, if it does: written so, or translated on the way."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.is_loopback or address.is_unspecified:
            return address
        if any(address in network for network in _EMBEDDING):
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def as_ip(host: str) -> Address | None:
    """The IP address that ``host`` is, as the resolver of the system reads it; None if it is a name."""
    if "%" in host:
        return None
    try:
        return ipaddress.ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
    except ValueError:
        pass
    try:  # "2852039166" and "0xa9.254.43518" are 169.254.169.254
        return ipaddress.IPv4Address(socket.inet_aton(host)) if re.fullmatch(r"[0-9a-fA-FxX.]+", host) else None
    except OSError:
        return None


class Resolver:
    """Asks the resolver of the system, in threads that hold up nobody: not the caller, and not the end of the process.

    Args:
        most: Look-ups that run at the same time; further ones fail.
    """

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._running = 0

    async def resolve(self, host: str, port: int, local: bool) -> list[Address]:
        """The addresses of ``host``, all of which may be connected to.

        Args:
            host: Name or address.
            port: Where the connection will go.
            local: Whether they may be addresses of this machine alone.

        Raises:
            EndpointError: One of them may not be connected to.
            OSError: There is none.
        """
        literal = as_ip(host)
        found = [literal] if literal is not None else await self._look_up(host, port)
        for address in found:
            check_address(address, local)
        return found

    async def _look_up(self, host: str, port: int) -> list[Address]:
        if self._running >= self._most:
            raise OSError("too many names are looked up at the same time")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[Address]] = loop.create_future()

        def end(found: list[Address], error: OSError | None) -> None:
            self._running -= 1
            if answer.done():  # nobody waits any more
                return
            if error is None:
                answer.set_result(found)
            else:
                answer.set_exception(error)

        def work() -> None:
            found, error = _ask_system(host, port)
            with contextlib.suppress(RuntimeError):  # the event loop is closed
                loop.call_soon_threadsafe(end, found, error)

        self._running += 1
        threading.Thread(target=work, name="directory-resolver", daemon=True).start()
        return await answer


def _ask_system(host: str, port: int) -> tuple[list[Address], OSError | None]:
    try:
        infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # labels that are empty or too long are no Unicode
        return [], error if isinstance(error, OSError) else OSError(str(error))
    texts = dict.fromkeys(str(info[4][0]).partition("%")[0] for info in infos)
    return [ipaddress.ip_address(text) for text in texts], None
