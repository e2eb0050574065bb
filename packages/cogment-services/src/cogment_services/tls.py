"""TLS: the files of one service, for those who connect to it and for those it connects to."""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import grpc

from cogment_core.endpoints import Endpoint
from cogment_core.errors import UsageError
from cogment_core.logs import logger

__all__ = ["Tls", "load_tls"]

Stamp = tuple[tuple[int, int], ...]
"""When files were changed, and how long they are."""


@dataclass(frozen=True)
class TlsFiles:
    """Where what a service needs for TLS is."""

    private_key: Path
    trust_chain: Path
    root_cert: Path | None

    def stamp(self) -> Stamp:
        """What changes when a file does.

        Raises:
            OSError: A file is not there.
        """
        paths = (self.private_key, self.trust_chain, self.root_cert)
        stats = [path.stat() for path in paths if path is not None]
        return tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)

    def check(self) -> None:
        """See whether the key and the certificate belong together: they are replaced one after the other.

        Raises:
            OSError: They do not, or cannot be read (`ssl.SSLError` is an `OSError`).
        """
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.trust_chain, self.private_key)

    def load(self) -> Tls:
        """What is in the files.

        Raises:
            UsageError: One of them cannot be read.
        """
        texts = {
            entry.name: None if (path := getattr(self, entry.name)) is None else _read(entry.name, path)
            for entry in fields(self)
        }
        return Tls(texts["private_key"] or "", texts["trust_chain"] or "", texts["root_cert"], files=self)


@dataclass(frozen=True)
class Tls:
    """Who a service is, and whom it trusts; all in PEM."""

    private_key: str = field(repr=False)
    """Its private key."""
    trust_chain: str
    """Its certificate, and those that vouch for it."""
    root_cert: str | None = None
    """The certificate of the authority that peers have to be certified by, in both directions (mutual TLS). Without it
    everybody may connect, and the system's authorities say whom it may connect to."""
    files: TlsFiles | None = field(default=None, repr=False, compare=False)
    """Where this is from; None if it cannot change."""

    @property
    def is_mutual(self) -> bool:
        """Whether peers have to show a certificate."""
        return self.root_cert is not None

    def server_credentials(self) -> grpc.ServerCredentials:
        """What a server needs to let peers connect; with `files`, it takes note when they change."""
        if self.files is None:
            return grpc.ssl_server_credentials(self._pairs(), self._roots(), require_client_auth=self.is_mutual)
        reloading: Any = _Reloading(self.files)  # the stubs of grpcio do not know that None means "as before"
        return grpc.dynamic_ssl_server_credentials(
            self.configuration(), reloading, require_client_authentication=self.is_mutual
        )

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """The same, for one connection."""
        return grpc.ssl_server_certificate_configuration(self._pairs(), self._roots())

    def outgoing(self) -> Endpoint:
        """An endpoint that shows how to connect to others; it leads nowhere itself."""
        endpoint = Endpoint(use_ssl=True)
        if self.is_mutual:
            endpoint.private_key = self.private_key
            endpoint.certificate_chain = self.trust_chain
            endpoint.root_certificates = self.root_cert
        return endpoint

    def _pairs(self) -> list[tuple[bytes, bytes]]:
        return [(self.private_key.encode(), self.trust_chain.encode())]

    def _roots(self) -> bytes | None:
        return None if self.root_cert is None else self.root_cert.encode()


class _Reloading:
    """Asked by gRPC at each new connection, in a thread of its own: gives it what is new, None if nothing is.

    Only then: with a new configuration for each connection, gRPC crashes now and then (measured).
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._known = self._stamp()
        self._complained: Stamp | None = None
        self._lock = threading.Lock()

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        with self._lock:
            stamp = self._stamp()
            return None if stamp == self._known else self._reload(stamp)

    def _stamp(self) -> Stamp:
        try:
            return self._files.stamp()
        except OSError:
            return ()

    def _reload(self, stamp: Stamp) -> grpc.ServerCertificateConfiguration | None:
        """Keep to what there was as long as the new files are no pair."""
        try:
            self._files.check()
            configuration = self._files.load().configuration()
        except (OSError, UsageError) as error:
            if self._complained != stamp:
                logger.warning("the files for TLS have changed, but cannot be used yet: %s", error)
            self._complained = stamp
            return None
        self._known = stamp
        logger.info("new connections use the new files for TLS")
        return configuration


def load_tls(private_key: str | None, root_cert: str | None, trust_chain: str | None) -> Tls | None:
    """What is in these files, None without files.

    Args:
        private_key: Path of the private key.
        root_cert: Path of the authority's certificate; None to let peers without certificate connect.
        trust_chain: Path of the certificate, and those that vouch for it.

    Raises:
        UsageError: One of them is missing, cannot be read, or the key and the certificate do not belong together.
    """
    if not private_key and not trust_chain and not root_cert:
        return None
    if not private_key or not trust_chain:
        needed = "TLS needs a private_key and a trust_chain, and for mutual TLS a root_cert"
        raise UsageError(f"{needed}; missing: {'trust_chain' if private_key else 'private_key'}")
    files = TlsFiles(Path(private_key), Path(trust_chain), Path(root_cert) if root_cert else None)
    tls = files.load()
    try:
        files.check()
    except OSError as error:
        text = f"private_key {private_key!r} and trust_chain {trust_chain!r} are no key and its certificate: {error}"
        raise UsageError(text) from error
    return tls


def _read(name: str, path: Path) -> str:
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name}: {str(path)!r} cannot be read as a PEM file: {error}") from error
    if "-----BEGIN" not in text:
        raise UsageError(f"{name}: {str(path)!r} is no PEM file: it has no '-----BEGIN' line")
    return text
