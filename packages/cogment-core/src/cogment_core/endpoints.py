"""Endpoints: where a service is, and where to serve. `cogment_core.endpoint_urls` has the grammar of their URLs."""

from __future__ import annotations

import copy
import operator
import os
import re
from typing import TYPE_CHECKING

from cogment_core.checks import wrong
from cogment_core.endpoint_urls import (
    ClientUrl,
    DiscoverUrl,
    EndpointUrl,
    GrpcUrl,
    ServiceType,
    format_url,
    parse_url,
    redact_url,
)
from cogment_core.errors import EndpointError, UsageError
from cogment_core.logs import logger

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "ClientUrl",
    "DiscoverUrl",
    "Endpoint",
    "EndpointUrl",
    "GrpcUrl",
    "ServedEndpoint",
    "ServiceType",
    "as_served_endpoint",
    "format_url",
    "parse_url",
    "redact_url",
]


class Endpoint:
    """Where a service is, and how to connect to it securely.

    The connection uses TLS if ``use_ssl`` is true or ``private_key`` is set.

    Args:
        url: Where it is; see `cogment_core.endpoint_urls`. By default the Directory is asked.
        use_ssl: Whether to use TLS.

    Attributes:
        url: See above.
        use_ssl: See above.
        private_key: PEM-encoded private key of this client, or None.
        root_certificates: PEM-encoded certificates of the authorities to trust; None for the system's.
        certificate_chain: PEM-encoded certificate chain of this client, or None.
    """

    in_process = False
    """Whether it is a server in this process, which is not found by its URL."""

    def __init__(self, url: str = "cogment://discover", use_ssl: bool = False) -> None:
        self.url = url
        self.use_ssl = use_ssl
        self.private_key: str | None = None
        self.root_certificates: str | None = None
        self.certificate_chain: str | None = None

    def using_ssl(self) -> bool:
        """Whether connections use TLS."""
        return self.use_ssl or self.private_key is not None

    def set_from_files(
        self,
        private_key_file: str | os.PathLike[str] | None = None,
        root_certificates_file: str | os.PathLike[str] | None = None,
        certificate_chain_file: str | os.PathLike[str] | None = None,
    ) -> None:
        """Use TLS, with what these PEM files contain; what is None is unset.

        Raises:
            EndpointError: A file cannot be read; nothing is changed then.
        """
        private_key = _read_pem("private_key_file", private_key_file)
        root_certificates = _read_pem("root_certificates_file", root_certificates_file)
        certificate_chain = _read_pem("certificate_chain_file", certificate_chain_file)
        self.private_key = private_key
        self.root_certificates = root_certificates
        self.certificate_chain = certificate_chain
        # Who names only an authority wants TLS too: plain text would betray that silently.
        self.use_ssl = self.use_ssl or any((private_key, root_certificates, certificate_chain))

    def current(self) -> Endpoint:
        """The same endpoint as it is to be connected to now: kinds of endpoints exist whose certificates change."""
        return self

    def with_url(self, url: str) -> Self:
        """A copy with another URL, and the same way to connect."""
        result = copy.copy(self)
        result.url = url
        return result

    def __repr__(self) -> str:
        return f"{type(self).__name__}({redact_url(str(self.url))!r}, use_ssl={self.using_ssl()})"


def _read_pem(what: str, path: str | os.PathLike[str] | None) -> str | None:
    if path is None:
        return None
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise EndpointError(f"{what}: {os.fspath(path)!r} cannot be read as a PEM file: {error}") from error


class ServedEndpoint:
    """Where to serve, and how to let others connect securely.

    Connections use TLS if ``private_key_certificate_chain_pairs`` is set.

    Args:
        port: TCP port to listen on; 0 lets the system choose a free one.
        host: Address or name of the interface to listen on, for example ``127.0.0.1``; None for all interfaces.

    Raises:
        UsageError: ``port`` is not a port.

    Attributes:
        host: See above.
        private_key_certificate_chain_pairs: Pairs of a PEM-encoded private key and a PEM-encoded certificate chain
            of this server, or None.
        root_certificates: PEM-encoded certificates of the authorities that clients have to be certified by; None to
            let clients without certificate connect.
    """

    def __init__(self, port: int = 0, host: str | None = None) -> None:
        self.port = port
        self.host = host
        self.private_key_certificate_chain_pairs: list[tuple[str, str]] | None = None
        self.root_certificates: str | None = None

    @property
    def port(self) -> int:
        """TCP port to listen on; 0 lets the system choose a free one."""
        return self._port

    @port.setter
    def port(self, port: int) -> None:
        self._port = _as_port(port)

    @property
    def address(self) -> str:
        """What a gRPC server listens on: ``host:port``."""
        host = self.host or "::"
        return f"[{host}]:{self.port}" if ":" in host and not host.startswith("[") else f"{host}:{self.port}"

    def using_ssl(self) -> bool:
        """Whether connections use TLS."""
        return self.private_key_certificate_chain_pairs is not None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.address!r}, use_ssl={self.using_ssl()})"


def _as_port(port: object) -> int:
    if isinstance(port, str):
        logger.deprecated("a port given as text: give the number")
        number = int(port) if re.fullmatch(r"[0-9]{1,6}", port.strip()) else -1
    else:
        try:
            number = -1 if isinstance(port, bool) else operator.index(port)  # type: ignore[arg-type]
        except TypeError:
            number = -1
    if not 0 <= number <= 65535:
        raise UsageError(f"a port is a number from 0 to 65535, not {port!r}")
    return number


def as_served_endpoint(given: object) -> ServedEndpoint:
    """``given`` if it says where to listen; None for a port that the system chooses.

    Raises:
        UsageError: It does not.
    """
    if given is None:
        return ServedEndpoint()
    if not isinstance(given, ServedEndpoint):
        raise wrong("served_endpoint", "a ServedEndpoint, for example ServedEndpoint(port=9001)", given)
    return given
