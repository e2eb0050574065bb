"""Which addresses trials may use, and that nobody else's are connected to."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from cogment_core.errors import EndpointError
from cogment_services.addresses import Address, as_ip, check_address
from cogment_services.addresses import Resolver as NameResolver

__all__ = ["Destination", "EndpointPolicy", "Gate", "allow_public_addresses"]

LOOKUP_TIMEOUT = 5.0
"""Seconds that the system has to look up the name of a host."""

LOOKUP_LIFE = 5.0
"""Seconds that its answer is used."""

MOST_NAMES = 1000
"""Names whose addresses are remembered."""

EndpointPolicy = Callable[[str], None]
"""Called with the address of each gRPC endpoint; raises `EndpointError` if the Orchestrator may not connect to it."""

# No "%": gRPC decodes it, so that what is checked here would not be what it connects to.
_ADDRESS = re.compile(r"(?:\[([^\]%]+)\]|([^:%]+))(?::([0-9]+))?")
_DEFAULT_PORT = 443
"""What gRPC takes without a port."""


def allow_public_addresses(address: str) -> None:
    """The default policy: any ``host:port``, except addresses where clouds keep the secrets of machines.

    The addresses behind a name are checked, too, see `Gate`.

    Raises:
        EndpointError: ``address`` is something else, for example ``unix:/run/some.sock``.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise EndpointError(f"endpoint 'grpc://{address}': trials may only use endpoints like grpc://host:port")
    ip = as_ip(match[1] or match[2])
    if ip is not None:
        _check(address, ip)


def _check(address: str, ip: Address) -> None:
    if ip.is_unspecified:
        return  # another way to write this machine
    try:
        check_address(ip, local=True)
    except EndpointError:
        raise _forbidden(address) from None


def _forbidden(address: str) -> EndpointError:
    return EndpointError(
        f"endpoint 'grpc://{address}': trials may not use link-local, multicast, reserved and cloud metadata addresses"
    )


@dataclass(frozen=True)
class Destination:
    """What to connect to."""

    address: str
    """What a gRPC channel takes: IP addresses, unless the policy allows something else."""
    authority: str = ""
    """The name that its certificate has to be for, if that is not the address."""
    problem: str = ""
    """Why it cannot be connected to; empty if it can."""


class Gate:
    """Checks addresses that trials are to use, and fixes them.

    A name is looked up once, here. What is connected to are the addresses that were checked, not what the name leads to
    a moment later: whoever owns a name can let it lead anywhere.

    Args:
        policy: Which addresses are allowed.
        own_ports: The ports of the Orchestrator itself, which takes part in no trial.
    """

    def __init__(self, policy: EndpointPolicy, own_ports: Callable[[], Collection[int]]) -> None:
        self._policy = policy
        self._own_ports = own_ports
        self._names = NameResolver()
        self._answers: dict[str, tuple[float, Sequence[Address] | str | None]] = {}

    async def admit(self, address: str) -> Destination:
        """What to connect to for ``address``.

        Raises:
            EndpointError: It is not allowed.
        """
        self._policy(address)
        match = _ADDRESS.fullmatch(address)
        if match is None:
            return Destination(address)  # the policy knows what it does
        host, port = match[1] or match[2], int(match[3] or _DEFAULT_PORT)
        literal = as_ip(host)
        if literal is not None or _is_localhost(host):
            self._check_own(address, port, [literal or ipaddress.ip_address("127.0.0.1")])
            return Destination(address)
        found = await self._look_up(host)
        if found is None:
            raise _forbidden(address)
        if isinstance(found, str):
            return Destination(address, problem=found)
        self._check_own(address, port, found)
        return Destination(_target(found, port), authority=address)

    def _check_own(self, address: str, port: int, ips: Sequence[Address]) -> None:
        if port in self._own_ports() and any(_is_of_this_machine(ip) for ip in ips):
            raise EndpointError(f"endpoint 'grpc://{address}' is this Orchestrator itself, which is no part of trials")

    async def _look_up(self, host: str) -> Sequence[Address] | str | None:
        """The addresses of ``host``; if there are none, why; None if there is one that is not allowed."""
        now = asyncio.get_running_loop().time()
        answer = self._answers.get(host)
        if answer is None or answer[0] <= now:
            if len(self._answers) >= MOST_NAMES:
                self._answers.clear()
            found = await self._ask(host)
            self._answers[host] = answer = (now + LOOKUP_LIFE, found)
        return answer[1]

    async def _ask(self, host: str) -> Sequence[Address] | str | None:
        try:
            # Loopback is allowed: components on the machine of the Orchestrator are the usual case.
            return await asyncio.wait_for(self._names.resolve(host, 0, local=True), LOOKUP_TIMEOUT) or "no address"
        except asyncio.TimeoutError:
            return f"host {host!r} was not found within {LOOKUP_TIMEOUT:g} s"
        except OSError as error:
            return f"host {host!r} is not known: {error}"
        except EndpointError:
            return None


def _is_localhost(host: str) -> bool:
    """Whether ``host`` is this machine by definition (RFC 6761)."""
    return host.rstrip(".").lower() == "localhost"


def _is_of_this_machine(ip: Address) -> bool:
    if ip.is_loopback or ip.is_unspecified:
        return True
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(ip), 0))
    except OSError:
        return False
    return True


def _target(ips: Sequence[Address], port: int) -> str:
    """What gRPC connects to for these addresses. It takes one kind; what listens on IPv6 takes IPv4, too, as a rule."""
    four = [f"{ip}:{port}" for ip in ips if ip.version == 4]
    return f"ipv4:{','.join(four)}" if four else f"ipv6:{','.join(f'[{ip}]:{port}' for ip in ips)}"
