"""TLS: the files of one service, for those who connect to it and for those it connects to."""

from __future__ import annotations

import ssl
import threading
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import grpc

from cogment_core.endpoints import Endpoint
from cogment_core.errors import UsageError
from cogment_core.logs import logger

__all__ = ["Tls", "load_tls"]

Stamp = tuple[tuple[int, int], ...]
"""When files were changed, and how long they are."""


class TlsFiles:
    """Where what a service needs for TLS is, and what was in these files when they were last of use.

    They are replaced while it runs, one after the other: what cannot be used yet changes nothing.

    Args:
        private_key: The file of its private key.
        trust_chain: That of its certificate.
        root_cert: That of the authority; None for none.
    """

    def __init__(self, private_key: Path, trust_chain: Path, root_cert: Path | None) -> None:
        self._private_key = private_key
        self._trust_chain = trust_chain
        self._root_cert = root_cert
        self._lock = threading.Lock()  # gRPC asks in threads of its own
        self._known: Tls | None = None
        self._stamp: Stamp = ()
        self._complained: Stamp | None = None

    def latest(self) -> Tls:
        """What is in the files now; if that cannot be used, what there was before.

        Raises:
            UsageError: They cannot be used, and there was nothing before.
        """
        with self._lock:
            if self._known is None:
                self._known = self._load(self._now())
            elif (now := self._now()) not in (self._stamp, self._complained):
                self._renew(now)
            return self._known

    def _renew(self, now: Stamp) -> None:
        try:
            self._known = self._load(now)
        except UsageError as error:
            self._complained = now
            logger.warning("the files for TLS have changed, but cannot be used yet: %s", error)
        else:
            logger.info("new connections use the new files for TLS")

    def _now(self) -> Stamp:
        paths = (self._private_key, self._trust_chain, self._root_cert)
        try:
            stats = [path.stat() for path in paths if path is not None]
        except OSError:
            return ()  # loading them says which one it is
        return tuple((stat.st_mtime_ns, stat.st_size) for stat in stats)

    def _load(self, stamp: Stamp) -> Tls:
        """What is in the files, which have not changed since ``stamp``.

        Raises:
            UsageError: One of them cannot be used, or they do not belong together.
        """
        private_key = _read("private_key", self._private_key)
        trust_chain = _read("trust_chain", self._trust_chain)
        root_cert = None if self._root_cert is None else _read("root_cert", self._root_cert)
        _check_pair(self._private_key, self._trust_chain)
        if root_cert is not None:
            _check_root(self._root_cert, root_cert)
        if self._now() != stamp:
            raise UsageError("the files for TLS are being replaced")
        _warn_of_dates(self._trust_chain, trust_chain)
        self._stamp, self._complained = stamp, None
        return Tls(private_key, trust_chain, root_cert, files=self)


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

    def latest(self) -> Tls:
        """The same, as it is in the files now."""
        return self if self.files is None else self.files.latest()

    def server_credentials(self) -> grpc.ServerCredentials:
        """What a server needs to let peers connect; with `files`, it takes note when they change."""
        if self.files is None:
            return grpc.ssl_server_credentials(self._pairs(), self._roots(), require_client_auth=self.is_mutual)
        reloading: Any = _Reloading(self)  # the stubs of grpcio do not know that None means "as before"
        return grpc.dynamic_ssl_server_credentials(
            self.configuration(), reloading, require_client_authentication=self.is_mutual
        )

    def configuration(self) -> grpc.ServerCertificateConfiguration:
        """The same, for one connection."""
        return grpc.ssl_server_certificate_configuration(self._pairs(), self._roots())

    def outgoing(self) -> Endpoint:
        """An endpoint that shows how to connect to others; it leads nowhere itself. It changes as the files do."""
        return _Outgoing(self)

    def _pairs(self) -> list[tuple[bytes, bytes]]:
        return [(self.private_key.encode(), self.trust_chain.encode())]

    def _roots(self) -> bytes | None:
        return None if self.root_cert is None else self.root_cert.encode()


class _Reloading:
    """Asked by gRPC at each new connection, in a thread of its own: gives it what is new, None if nothing is.

    Only then: with a new configuration for each connection, gRPC crashes now and then (measured).
    """

    def __init__(self, tls: Tls) -> None:
        self._given = tls
        self._lock = threading.Lock()

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        with self._lock:
            latest = self._given.latest()
            if latest is self._given:
                return None
            self._given = latest
            return latest.configuration()


class _Outgoing(Endpoint):
    """How a service connects to others."""

    def __init__(self, tls: Tls) -> None:
        super().__init__(use_ssl=True)
        self._tls = tls
        if tls.is_mutual:
            self.private_key = tls.private_key
            self.certificate_chain = tls.trust_chain
            self.root_certificates = tls.root_cert

    def current(self) -> Endpoint:
        """The same, with what the files contain now."""
        latest = self._tls.latest()
        return self if latest is self._tls else _Outgoing(latest).with_url(self.url)


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
    return TlsFiles(Path(private_key), Path(trust_chain), Path(root_cert) if root_cert else None).latest()


def _check_pair(private_key: Path, trust_chain: Path) -> None:
    def ask_nobody() -> str:
        # Without this, OpenSSL asks for the passphrase on the terminal, and waits.
        raise UsageError(
            f"private_key: {str(private_key)!r} has a passphrase, and nobody is here to give it: remove it"
        )

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(trust_chain, private_key, password=ask_nobody)
    except OSError as error:  # `ssl.SSLError` is one
        text = f"private_key {str(private_key)!r} and trust_chain {str(trust_chain)!r} are no key and its certificate"
        raise UsageError(f"{text}: {error}") from error


def _check_root(path: Path | None, text: str) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except OSError as error:
        raise UsageError(f"root_cert: there is no whole certificate in {str(path)!r}: {error}") from error


def _warn_of_dates(path: Path, chain: str) -> None:
    """Peers only say that they cannot connect."""
    from cryptography import x509

    try:
        certificate = x509.load_pem_x509_certificate(chain.encode())
    except ValueError:  # it is pickier than OpenSSL, which has taken it
        return
    now, begin, end = datetime.now(timezone.utc), certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if end <= now:
        logger.warning("the certificate in %s expired on %s: nobody will connect", path, end)
    elif begin > now:
        logger.warning("the certificate in %s is not valid before %s: nobody will connect", path, begin)


def _read(name: str, path: Path) -> str:
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{name}: {str(path)!r} cannot be read as a PEM file: {error}") from error
    if "-----BEGIN" not in text:
        raise UsageError(f"{name}: {str(path)!r} is no PEM file: it has no '-----BEGIN' line")
    return text
