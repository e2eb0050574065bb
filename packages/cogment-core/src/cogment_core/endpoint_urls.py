"""The grammar of endpoint URLs.

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

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from cogment_core.errors import EndpointError
from cogment_core.hints import hint

__all__ = [
    "ClientUrl",
    "DiscoverUrl",
    "EndpointUrl",
    "GrpcUrl",
    "ServiceType",
    "format_url",
    "parse_url",
    "redact_url",
]


class ServiceType(enum.Enum):
    """What kind of service a Directory knows. The numbers are those of the protocol's ``ServiceType``."""

    # Written out rather than taken from the generated enum: that module is not needed until a Directory is used.
    LIFE_CYCLE = 1
    """Starts, watches and ends trials (Orchestrator)."""
    CLIENT_ACTOR = 2
    """Lets client actors join trials (Orchestrator)."""
    ACTOR = 3
    """Runs actors."""
    ENVIRONMENT = 4
    """Runs environments."""
    HOOK = 5
    """Runs pre-trial hooks."""
    DATALOG = 6
    """Takes the samples of trials."""
    DATASTORE = 7
    """Hands out the samples of trials."""
    MODEL_REG = 8
    """Keeps models (Model Registry)."""
    DIRECTORY = 9
    """Knows where services are."""
    OTHER = 100
    """Anything else."""


_ID_NAME = "__id"
_TOKEN_NAME = "__authentication-token"

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

# Compiled when first used (by `re` itself), which many programs never do.
_HOST_AND_PORT = r"(?:\[[^\[\]/?#@\\]+\]|[^\[\]:/?#@\\,]+)(?::(?P<port>[0-9]+))?"
_GRPC_NAME = r"(?:dns|ipv4|ipv6|unix|unix-abstract|vsock):.+"


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


EndpointUrl = GrpcUrl | ClientUrl | DiscoverUrl
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
    from urllib.parse import quote  # not needed by most programs

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
    match = re.fullmatch(_HOST_AND_PORT, address)
    if match is None:
        if re.fullmatch(_GRPC_NAME, rest):
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
        name, _, value = (_decoded(part) for part in pair.partition("="))
        if not name:
            raise _Malformed(f"property {pair!r} has no name; write NAME=VALUE")
        if name in properties:
            raise _Malformed(f"property {name!r} is given twice")
        properties[name] = value
    return properties


def _decoded(text: str) -> str:
    from urllib.parse import unquote_plus  # not needed by most programs

    try:
        return unquote_plus(text, errors="strict")
    except UnicodeDecodeError:
        raise _Malformed(f"{text!r} is not percent-encoded UTF-8") from None
