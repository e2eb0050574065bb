"""A certificate authority for development, and certificates of it: to try TLS with, not to trust anybody by."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cogment_core.errors import UsageError

__all__ = ["CERTIFIED", "make_certificates"]

CERTIFIED = ("server", "client")
"""What gets a key and a certificate. Both are for both ends of a connection: a Cogment server is a client of others."""

_AUTHORITY = "ca"


def make_certificates(folder: str | os.PathLike[str], hosts: Sequence[str], days: int, *, force: bool = False) -> None:
    """Make ``ca.pem``, ``server.pem`` and ``client.pem``, with their keys as ``.key``, in a folder.

    Keys can be read by their owner only.

    Args:
        folder: Where to; made if it is not there.
        hosts: Names and addresses of the machines that the certificates are for.
        days: How long they are valid.
        force: Whether to replace what is there.

    Raises:
        UsageError: There is something already, a host is none, or the files cannot be written.
    """
    names = [_name(host) for host in hosts]
    if not names:
        raise UsageError("certificates need at least one host")
    path = Path(folder)
    files = _make(names, days)
    there = [name for name in files if (path / name).exists()]
    if there and not force:
        raise UsageError(f"there is {', '.join(there)} in {str(path)!r} already; say so (--force) to replace it")
    try:
        path.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            _write(path / name, content)
    except OSError as error:
        raise UsageError(f"certificates cannot be written: {error}") from error


def _make(names: Sequence[x509.GeneralName], days: int) -> dict[str, bytes]:
    """The contents of all files, by name."""
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _authority(authority_key, days)
    files = {f"{_AUTHORITY}.key": _pem_of(authority_key), f"{_AUTHORITY}.pem": _text_of(authority)}
    for whose in CERTIFIED:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(whose, key, names, authority, authority_key, days)
        files |= {f"{whose}.key": _pem_of(key), f"{whose}.pem": _text_of(certificate)}
    return files


def _authority(key: ec.EllipticCurvePrivateKey, days: int) -> x509.Certificate:
    subject = _subject("Cogment development authority")
    uses = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = (
        _builder(subject, subject, key, days)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(uses, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def _certificate(
    whose: str,
    key: ec.EllipticCurvePrivateKey,
    names: Sequence[x509.GeneralName],
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    days: int,
) -> x509.Certificate:
    both_ends = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key())
    builder = (
        _builder(_subject(f"Cogment development {whose}"), authority.subject, key, days)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(both_ends, critical=False)
        .add_extension(issuer, critical=False)
    )
    return builder.sign(authority_key, hashes.SHA256())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))  # clocks differ
        .not_valid_after(now + datetime.timedelta(days=days))
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _name(host: str) -> x509.GeneralName:
    host = host.strip()
    with contextlib.suppress(ValueError):
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    if not host or not host.isascii() or any(it.isspace() or it in ":/@?#," for it in host):
        raise UsageError(f"a host is a name or an IP address, not {host!r}")
    return x509.DNSName(host)


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _text_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _write(path: Path, content: bytes) -> None:
    """Write a file anew; a key with nobody else being able to read it, at any time."""
    path.unlink(missing_ok=True)
    mode = 0o600 if path.suffix == ".key" else 0o644
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode), "wb") as file:
        file.write(content)
