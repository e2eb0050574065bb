"""What the commands of ``cogment client directory`` do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import click
from google.protobuf.json_format import MessageToDict, MessageToJson

from cogment_core.api.directory_pb2 import (
    DeregisterRequest,
    FullServiceData,
    InquireRequest,
    RegisterRequest,
    ServiceDetails,
    ServiceEndpoint,
)
from cogment_core.endpoints import DiscoverUrl, ServiceType, format_url, parse_url
from cogment_core.errors import EndpointError
from cogment_services.cli.directory_connection import DirectoryOptions, connect
from cogment_services.cli.properties import format_properties
from cogment_services.cli.terminal import count_of, one_line

__all__ = ["deregister", "inquire", "register", "wait_for_ready"]

_ADDED = {"__registration_source": "Cogment-Command_Line"}


async def register(
    options: DirectoryOptions,
    *,
    host: str,
    port: int,
    protocol: str,
    ssl_required: bool,
    type_word: str,
    properties: dict[str, str],
    permanent: bool,
) -> None:
    """Register a service, and write its number and its secret."""
    if not type_word:
        raise click.UsageError("--type is missing")
    if ssl_required and protocol != "grpc":
        raise click.UsageError("--ssl_required goes with --protocol=grpc only")
    properties = {**properties, **_ADDED, "__version": version("cogment-services")}
    request = RegisterRequest(
        endpoint=ServiceEndpoint(protocol=_protocol(protocol, ssl_required), host=host, port=port),
        details=ServiceDetails(type=_number(type_word), properties=properties),
        permanent=permanent,
    )
    async with connect(options) as connection:
        reply = await connection.ask("Register", request)
    click.echo(MessageToJson(reply, indent=None) if options.as_json else f"[{reply.service_id}]\t[{reply.secret}]")


async def deregister(options: DirectoryOptions, *, service_id: int, secret: str) -> None:
    """Let the Directory forget a service."""
    async with connect(options) as connection:
        reply = await connection.ask("Deregister", DeregisterRequest(service_id=service_id, secret=secret))
    if options.as_json:
        click.echo(MessageToJson(reply, indent=None))


async def inquire(
    options: DirectoryOptions, *, service_id: int | None, type_word: str, properties: dict[str, str]
) -> None:
    """Find services, and write what is known of them."""
    if service_id is not None:
        request = InquireRequest(service_id=service_id)
    else:
        request = InquireRequest(details=ServiceDetails(type=_number(type_word), properties=properties))
    async with connect(options) as connection:
        found = await connection.inquire(request)
    if options.as_json:
        click.echo(json.dumps({"services": [MessageToDict(data) for data in found]}))
        return
    click.echo(f"{count_of(len(found), 'service')} found")
    for data in found:
        for line in _described(data):
            click.echo(line)


async def wait_for_ready(options: DirectoryOptions) -> None:
    """Wait until the Directory can be reached."""
    async with connect(options):
        pass


def _protocol(word: str, ssl: bool) -> ServiceEndpoint.Protocol.ValueType:
    if word == "cogment":
        return ServiceEndpoint.COGMENT
    return ServiceEndpoint.GRPC_SSL if ssl else ServiceEndpoint.GRPC


def _number(word: str) -> Any:
    """The number of a type of service; that of any type for an empty word."""
    if not word:
        return 0
    try:
        url = parse_url(f"cogment://discover/{word}")
    except EndpointError:
        url = None
    if not isinstance(url, DiscoverUrl) or url.service_type is None:
        known = ", ".join(_word(kind.value) for kind in ServiceType)
        raise click.UsageError(f"--type: there is no type {word!r} (there are: {known})")
    return url.service_type.value


def _word(number: int) -> str:
    """The word for a type of service; its number, if this version does not know it."""
    try:
        return format_url(DiscoverUrl(service_type=ServiceType(number))).rpartition("/")[2]
    except ValueError:
        return str(number)


def _described(data: FullServiceData) -> Iterator[str]:
    """An entry, as lines. All of it is what somebody registered: it may be anything."""
    endpoint = data.endpoint
    if endpoint.protocol == ServiceEndpoint.COGMENT:
        where = f"cogment://{endpoint.host}"
    else:
        host = f"[{endpoint.host}]" if ":" in endpoint.host and not endpoint.host.startswith("[") else endpoint.host
        where = f"grpc://{host}:{endpoint.port}"
    yield f"service {data.service_id}"
    yield f"  endpoint: {one_line(where)}{' (TLS)' if endpoint.protocol == ServiceEndpoint.GRPC_SSL else ''}"
    yield f"  type: {_word(data.details.type)}"
    yield f"  permanent: {'yes' if data.permanent else 'no'}"
    for name, value in sorted(data.details.properties.items()):
        yield f"  property: {one_line(format_properties({name: value}))}"
