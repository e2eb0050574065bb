"""Where services are: endpoints to connect to, endpoints to serve on, and the grammar of endpoint URLs.

::

    grpc://HOST[:PORT]                       that address; IPv6 in brackets; or a gRPC name such as unix:/run/x.sock
    cogment://client                         an actor that connects by itself; also the bare word ``client``
    cogment://discover[?PROPS]               what the Directory knows; its type depends on where the URL is used
    cogment://discover/TYPE[?PROPS]          the same, of that type: actor, environment, prehook, datalog, lifecycle,
                                             actservice, datastore, modelregistry, directory, other
    cogment://discover/service?__id=NUMBER   the one service that the Directory gave this number

    PROPS: NAME[=VALUE][&NAME[=VALUE]]...    percent-encoded; a name without value has an empty value;
                                             ``__authentication-token`` is the token for the Directory, not a property

White space around a URL is ignored, and so is a slash at its end. Scheme, host and TYPE may be in upper or lower case;
names and values of properties keep theirs.
"""

from __future__ import annotations

import copy
import enum
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Union
from urllib.parse import quote, unquote_plus

from cogment_core.api import directory_pb2
from cogment_core.errors import EndpointError, UsageError
from cogment_core.hints import hint
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
    "format_url",
    "parse_url",
    "redact_url",
]


class ServiceType(enum.Enum):
    """What kind of service a Directory knows. The numbers are those of the protocol."""

    LIFE_CYCLE = directory_pb2.TRIAL_LIFE_CYCLE_SERVICE
    """Starts, ends and watches trials: the Orchestrator, for a Controller."""
    CLIENT_ACTOR = directory_pb2.CLIENT_ACTOR_CONNECTION_SERVICE
    """Lets client actors join trials: the Orchestrator."""
    ACTOR = directory_pb2.ACTOR_SERVICE
    ENVIRONMENT = directory_pb2.ENVIRONMENT_SERVICE
    HOOK = directory_pb2.PRE_HOOK_SERVICE
    DATALOG = directory_pb2.DATALOG_SERVICE
    DATASTORE = directory_pb2.DATASTORE_SERVICE
    MODEL_REG = directory_pb2.MODEL_REGISTRY_SERVICE
    DIRECTORY = directory_pb2.DIRECTORY_SERVICE
    OTHER = directory_pb2.OTHER_SERVICE
    """Not a service of Cogment."""


_ID_NAME = "__id"
_TOKEN_NAME = "__authentication-token"  # noqa: S105 (the name of the property)

_TYPE_WORDS = {
    "actor": ServiceType.ACTOR,
    "environment": ServiceType.ENVIRONMENT,
    "prehook": ServiceType.HOOK,
    "datalog": ServiceType.DATALOG,
    "lifecycle": ServiceType.LIFE_CYCLE,
    "actservice": ServiceType.CLIENT_ACTOR,
    "datastore": ServiceType.DATASTORE,
    "modelregistry": ServiceType.MODEL_REG,
    "directory": ServiceType.DIRECTORY,
    "other": ServiceType.OTHER,
}
_WORD_OF_TYPE = {service_type: word for word, service_type in _TYPE_WORDS.items()}

_HOST_AND_PORT = re.compile(r"(?:\[[^\[\]/?#@\\]+\]|[^\[\]:/?#@\\,]+)(?::(?P<port>[0-9]+))?")
_GRPC_NAME = re.compile(r"(?:dns|ipv4|ipv6|unix|unix-abstract|vsock):.+")


@dataclass(frozen=True)
class GrpcUrl:
    """``grpc://ADDRESS``."""

    address: str
    """What a gRPC channel takes, usually ``host:port``."""


@dataclass(frozen=True)
class ClientUrl:
    """``cogment://client``: the actor connects to the Orchestrator."""


@dataclass(frozen=True)
class DiscoverUrl:
    """``cogment://discover``: to be looked up in the Directory."""

    service_type: ServiceType | None = None
    """Type of the service; None if the place of use says it, or a `service_id` is given."""
    service_id: int | None = None
    """The number that the Directory gave the service; then there are no type and no properties."""
    properties: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    """What the service must have been registered with."""
    token: str | None = field(default=None, repr=False)
    """Token to use with the Directory instead of the configured one."""

    @property
    def from_context(self) -> bool:
        """Whether the type, and some properties, come from the place of use."""
        return self.service_type is None and self.service_id is None


EndpointUrl = Union[GrpcUrl, ClientUrl, DiscoverUrl]
"""What an endpoint URL can say."""


class _Malformed(Exception):
    """Why a URL cannot be understood."""


def parse_url(url: str) -> EndpointUrl:
    """Read an endpoint URL (see the grammar at the top of this module).

    Where existing readers of these URLs disagree, what one of them would get wrong is refused: a property that is
    given twice means the first to one, the last to another, and is an error to a third.

    Raises:
        EndpointError: It is not an endpoint URL; says what would be.
    """
    try:
        return _parse(_text(url).strip())
    except _Malformed as problem:
        raise EndpointError(f"endpoint {redact_url(str(url))!r}: {problem}") from None


def format_url(url: EndpointUrl) -> str:
    """The URL that `parse_url` reads as ``url``. It contains the token, if there is one: not for logs."""
    if isinstance(url, GrpcUrl):
        return f"grpc://{url.address}"
    if isinstance(url, ClientUrl):
        return "cogment://client"
    pairs = dict(url.properties)
    path = ""
    if url.service_id is not None:
        path, pairs = "/service", {_ID_NAME: str(url.service_id)}
    elif url.service_type is not None:
        path = "/" + _WORD_OF_TYPE[url.service_type]
    if url.token:
        pairs[_TOKEN_NAME] = url.token
    query = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs.items())
    return f"cogment://discover{path}" + (f"?{query}" if query else "")


def redact_url(url: str) -> str:
    """``url`` without the secrets that it may have, for logs and errors."""
    without_user = re.sub(r"//[^/@]*@", "//***@", url)
    return re.sub(rf"(?i)({_TOKEN_NAME}=)[^&#]*", r"\1***", without_user)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _Malformed(f"a URL is text, not {type(value).__name__}")
    return value


def _parse(text: str) -> EndpointUrl:
    if text.lower() == "client":
        return ClientUrl()
    if not text:
        raise _Malformed("it is empty; write for example grpc://localhost:9000 or cogment://discover")
    if " " in text or not text.isprintable():
        raise _Malformed("it has white space or control characters inside; in a property write them as %20")
    scheme, separator, rest = text.partition("://")
    if separator and scheme.lower() == "grpc":
        return _parse_grpc(rest)
    if separator and scheme.lower() == "cogment":
        return _parse_cogment(rest)
    raise _Malformed("it has to start with grpc:// or cogment://, for example grpc://localhost:9000")


def _parse_grpc(rest: str) -> GrpcUrl:
    address = rest[:-1] if rest.endswith("/") else rest
    match = _HOST_AND_PORT.fullmatch(address)
    if match is None:
        if _GRPC_NAME.fullmatch(rest):
            return GrpcUrl(rest)
        raise _Malformed("expected grpc://HOST:PORT, for example grpc://localhost:9000 or grpc://[::1]:9000")
    port = match["port"]
    if port is not None and not 0 < int(port[:6]) <= 65535:
        raise _Malformed(f"a port is a number from 1 to 65535, not {port[:6]}")
    return GrpcUrl(address)


def _parse_cogment(rest: str) -> EndpointUrl:
    if "#" in rest:
        raise _Malformed("'#' has no meaning here; in a property write it as %23")
    location, _, query = rest.partition("?")
    host, _, path = location.partition("/")
    if host.lower() == "client":
        if path or query:
            raise _Malformed("nothing may follow cogment://client")
        return ClientUrl()
    if host.lower() != "discover":
        raise _Malformed(f"unknown host {host!r}; write cogment://discover, or cogment://client for an actor")
    return _parse_discovery(path.lower().removesuffix("/"), _parse_query(query))


def _parse_discovery(path: str, properties: dict[str, str]) -> DiscoverUrl:
    token = properties.pop(_TOKEN_NAME, "") or None
    if path == "service":
        return DiscoverUrl(service_id=_service_id(properties), token=token)
    if not path:
        return DiscoverUrl(properties=properties, token=token)
    service_type = _TYPE_WORDS.get(path)
    if service_type is None:
        raise _Malformed(f"unknown service type {path!r}; {hint(path, [*_TYPE_WORDS, 'service'])}")
    return DiscoverUrl(service_type=service_type, properties=properties, token=token)


def _service_id(properties: dict[str, str]) -> int:
    text = properties.pop(_ID_NAME, None)
    if text is None:
        raise _Malformed(f"expected cogment://discover/service?{_ID_NAME}=NUMBER")
    if not re.fullmatch(r"[0-9]{1,20}", text) or not 0 < int(text) < 1 << 64:
        raise _Malformed(f"{_ID_NAME} is a number from 1 to {(1 << 64) - 1}, not {text!r}")
    if properties:
        raise _Malformed(f"{_ID_NAME} says which service it is, so these have no meaning: {', '.join(properties)}")
    return int(text)


def _parse_query(query: str) -> dict[str, str]:
    properties: dict[str, str] = {}
    for pair in filter(None, query.split("&")):
        name, value = map(_decoded, (pair.partition("=")[0], pair.partition("=")[2]))
        if not name:
            raise _Malformed(f"property {pair!r} has no name; write NAME=VALUE")
        if name in properties:
            raise _Malformed(f"property {name!r} is given twice")
        properties[name] = value
    return properties


def _decoded(text: str) -> str:
    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        raise _Malformed(f"{text!r} is not percent-encoded UTF-8") from None


class Endpoint:
    """Where a service is, and how to connect to it securely.

    The connection uses TLS if ``use_ssl`` is true or ``private_key`` is set.

    Args:
        url: Where it is; see the grammar at the top of this module. By default the Directory is asked.
        use_ssl: Whether to use TLS.

    Attributes:
        url: See above.
        use_ssl: See above.
        private_key: PEM-encoded private key of this client, or None.
        root_certificates: PEM-encoded certificates of the authorities to trust; None for the system's.
        certificate_chain: PEM-encoded certificate chain of this client, or None.
    """

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
        private_key_file: str | Path | None = None,
        root_certificates_file: str | Path | None = None,
        certificate_chain_file: str | Path | None = None,
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

    def with_url(self, url: str) -> Self:
        """A copy with another URL, and the same way to connect."""
        result = copy.copy(self)
        result.url = url
        return result

    def __repr__(self) -> str:
        return f"{type(self).__name__}({redact_url(str(self.url))!r}, use_ssl={self.using_ssl()})"


def _read_pem(what: str, path: str | Path | None) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise EndpointError(f"{what}: {str(path)!r} cannot be read as a PEM file: {error}") from error


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
