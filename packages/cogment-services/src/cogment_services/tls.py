"""Mutual TLS: the files of one service, for those who connect to it and for those it connects to."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cogment_core.endpoints import Endpoint, ServedEndpoint
from cogment_core.errors import UsageError

__all__ = ["Tls", "load_tls"]


@dataclass(frozen=True)
class Tls:
    """Who a service is, and whom it trusts; all in PEM."""

    private_key: str = field(repr=False)
    """Its private key."""
    trust_chain: str
    """Its certificate, and those that vouch for it."""
    root_cert: str
    """The certificate of the authority that peers have to be certified by, in both directions."""

    def secure(self, served: ServedEndpoint) -> None:
        """Let only certified peers connect to ``served``."""
        served.private_key_certificate_chain_pairs = [(self.private_key, self.trust_chain)]
        served.root_certificates = self.root_cert

    def outgoing(self) -> Endpoint:
        """An endpoint that shows how to connect to others; it leads nowhere itself."""
        endpoint = Endpoint(use_ssl=True)
        endpoint.private_key = self.private_key
        endpoint.certificate_chain = self.trust_chain
        endpoint.root_certificates = self.root_cert
        return endpoint


def load_tls(private_key: str | None, root_cert: str | None, trust_chain: str | None) -> Tls | None:
    """What is in these files, None without files.

    Raises:
        UsageError: One of them is missing, or cannot be read.
    """
    files = {"private_key": private_key, "root_cert": root_cert, "trust_chain": trust_chain}
    missing = [name for name, path in files.items() if not path]
    if len(missing) == len(files):
        return None
    if missing:
        raise UsageError(
            f"TLS needs all three of private_key, root_cert and trust_chain; missing: {', '.join(missing)}"
        )
    return Tls(**{name: _read(name, path or "") for name, path in files.items()})


def _read(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name}: {path!r} cannot be read as a PEM file: {error}") from error
