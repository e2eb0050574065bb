"""Who can reach a server: this machine only, unless it is told otherwise and can tell its peers."""

from __future__ import annotations

import ipaddress

from cogment_core.errors import UsageError
from cogment_core.logs import logger
from cogment_services.tls import Tls

__all__ = ["check_exposure", "check_metrics_exposure", "is_loopback", "warn_if_open"]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``, an address or a name."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False  # a name: who knows what it stands for


def check_exposure(host: str, tls: Tls | None, *, insecure: bool) -> None:
    """Refuse to listen where strangers can connect.

    The protocol has no passwords: with mutual TLS, a certificate tells who may connect, otherwise nothing does.

    Args:
        host: Address to listen on.
        tls: What there is for TLS.
        insecure: Whether to listen all the same.

    Raises:
        UsageError: Others than this machine could connect, and nothing would tell who they are.
    """
    if insecure or is_loopback(host) or (tls is not None and tls.is_mutual):
        return
    lacks = "TLS" if tls is None else "a --root_cert that peers have to be certified by"
    raise UsageError(
        f"--host {host} lets others than this machine connect, and without {lacks} whoever does can use the server; "
        "give --private_key, --trust_chain and --root_cert ('cogment certs' makes some), or --insecure if the network "
        "itself is safe"
    )


def check_metrics_exposure(host: str, *, insecure: bool) -> None:
    """Refuse to serve metrics where strangers can read them: there is neither TLS nor a password in front of them.

    Args:
        host: Address to serve them on.
        insecure: Whether to serve them all the same.

    Raises:
        UsageError: Others than this machine could read them.
    """
    if not insecure and not is_loopback(host):
        raise UsageError(
            f"--prometheus_host {host} lets others than this machine read the metrics, which have neither TLS nor a "
            "password; say --insecure if the network itself is safe"
        )


def warn_if_open(host: str, tls: Tls | None) -> None:
    """Say in the log that strangers can connect, if they can."""
    if not is_loopback(host) and (tls is None or not tls.is_mutual):
        how = "without TLS" if tls is None else "without asking for certificates"
        logger.warning("listening on %s %s: whoever reaches this address can use it", host, how)
