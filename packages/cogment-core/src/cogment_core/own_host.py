"""The address of this machine, as others reach it."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from cogment_core.endpoints import Endpoint, GrpcUrl, parse_url

__all__ = ["is_here", "is_loopback", "own_host"]

LOOKUP_TIMEOUT = 3.0
"""Seconds that the system has to look up a name."""

_ELSEWHERE = ((socket.AF_INET, "198.18.0.1"), (socket.AF_INET6, "2001:db8::1"))
"""Addresses that are nobody's (RFC 2544 and 3849): nothing is sent there."""


async def own_host(directory: Endpoint) -> str | None:
    """The address of this machine that the ``directory`` sees, or if that is on this machine itself, others.

    Returns:
        An IP address; that of the loopback interface only if the Directory is there and there is no other; None if this
        machine has no address.
    """
    towards = await _towards(directory)
    found = towards if towards is not None and not is_loopback(towards) else None
    for family, address in _ELSEWHERE:
        found = found or _source(family, (address, 9))
    return found or towards


async def is_here(directory: Endpoint) -> bool:
    """Whether the ``directory`` is reached without leaving this machine; also if that cannot be told."""
    towards = await _towards(directory)
    return towards is None or is_loopback(towards)


async def _towards(directory: Endpoint) -> str | None:
    """The address of this machine that connections to the ``directory`` come from."""
    if directory.in_process:
        return "127.0.0.1"
    url = parse_url(directory.url)
    host, _, port = url.address.rpartition(":") if isinstance(url, GrpcUrl) else ("", "", "")
    if not host or not port.isdecimal():
        return None
    looking = asyncio.get_running_loop().getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_DGRAM)
    try:
        addresses = await asyncio.wait_for(looking, LOOKUP_TIMEOUT)
    except (OSError, asyncio.TimeoutError):
        return None  # there are other ways
    for family, _, _, _, address in addresses:
        if (source := _source(family, address)) is not None:
            return source
    return None


def _source(family: int, address: tuple[object, ...]) -> str | None:
    """The address that datagrams to ``address`` would come from; connecting sends none."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(address)
            source = str(probe.getsockname()[0])
    except OSError:
        return None
    ip = ipaddress.ip_address(source.partition("%")[0])
    return None if ip.is_unspecified or ip.is_link_local else str(ip)


def is_loopback(host: str) -> bool:
    """Whether ``host``, a name or an address, stands for this machine alone."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.rstrip(".").lower() == "localhost"
