"""One look at whether a service is there.

Only fixed bytes are sent, and nothing that comes back is kept or passed on.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import Message

from cogment_core.api.common_pb2 import StatusReply, StatusRequest, VersionInfo, VersionRequest
from cogment_core.api.directory_pb2 import (
    ACTOR_SERVICE,
    CLIENT_ACTOR_CONNECTION_SERVICE,
    DATALOG_SERVICE,
    DATASTORE_SERVICE,
    DIRECTORY_SERVICE,
    ENVIRONMENT_SERVICE,
    MODEL_REGISTRY_SERVICE,
    OTHER_SERVICE,
    PRE_HOOK_SERVICE,
    TRIAL_LIFE_CYCLE_SERVICE,
    ServiceEndpoint,
    ServiceType,
)
from cogment_core.errors import EndpointError
from cogment_services.addresses import Address, Resolver
from cogment_services.directory.records import Target

__all__ = ["SERVICES", "Verdict", "is_probed_by_tcp", "probe"]

SERVICES: dict[ServiceType.ValueType, str] = {
    TRIAL_LIFE_CYCLE_SERVICE: "TrialLifecycleSP",
    CLIENT_ACTOR_CONNECTION_SERVICE: "ClientActorSP",
    ACTOR_SERVICE: "ServiceActorSP",
    ENVIRONMENT_SERVICE: "EnvironmentSP",
    PRE_HOOK_SERVICE: "TrialHooksSP",
    DATALOG_SERVICE: "DatalogSP",
    DATASTORE_SERVICE: "TrialDatastoreSP",
    MODEL_REGISTRY_SERVICE: "ModelRegistrySP",
    DIRECTORY_SERVICE: "DirectorySP",
}
"""The gRPC service of each type that has one."""

_MOST_ADDRESSES = 4
"""Addresses of a name that are tried."""

_OPTIONS = (
    # A proxy would be asked to connect to wherever the name leads for it, which nobody has checked.
    ("grpc.enable_http_proxy", 0),
    # Otherwise connections are shared, and with them what an earlier attempt has found.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", 65_536),
    ("grpc.max_metadata_size", 8192),
    ("grpc.absolute_max_metadata_size", 8192),
    ("grpc.enable_retries", 0),
)
_REQUEST = b"OPTIONS / HTTP/1.0\r\n\r\n"

_OVERALL_LOAD = "overall_load"
_FULL = 255


@dataclass(frozen=True)
class Verdict:
    """What a check found."""

    healthy: bool
    """Whether the service answered."""
    load: int = 0
    """How busy it says it is, from 0 to 255; 0 if it does not say."""
    forbidden: str = ""
    """Why it may not be connected to, if so."""


_GONE = Verdict(healthy=False)


def is_probed_by_tcp(target: Target) -> bool:
    """Whether it is only tried to connect to ``target``: what it speaks, or with whom it does, is not known."""
    return target.type == OTHER_SERVICE or target.protocol == ServiceEndpoint.GRPC_SSL


async def probe(target: Target, seconds: float, resolver: Resolver) -> Verdict:
    """Look whether there is a service at ``target``; takes ``seconds`` at most."""
    try:
        return await asyncio.wait_for(_probe(target, seconds, resolver), seconds)
    except EndpointError as error:
        return Verdict(healthy=False, forbidden=str(error))
    except (OSError, asyncio.TimeoutError):
        return _GONE


async def _probe(target: Target, seconds: float, resolver: Resolver) -> Verdict:
    addresses = (await resolver.resolve(target.host, target.port, target.local))[:_MOST_ADDRESSES]
    look = _look_by_tcp if is_probed_by_tcp(target) else _look_by_grpc
    for address in addresses:
        verdict = await look(target, address, seconds / len(addresses))
        if verdict.healthy:
            return verdict
    return _GONE


async def _look_by_tcp(target: Target, address: Address, seconds: float) -> Verdict:
    """A service that answers, or ends the connection in an orderly way, is there; one that stays silent is not."""
    try:
        await asyncio.wait_for(_exchange(str(address), target.port), seconds)
    except (OSError, asyncio.TimeoutError):
        return _GONE
    return Verdict(healthy=True)


async def _exchange(address: str, port: int) -> None:
    reader, writer = await asyncio.open_connection(address, port, limit=64)
    try:
        writer.write(_REQUEST)
        await reader.read(1)
    finally:
        writer.transport.abort()


async def _look_by_grpc(target: Target, address: Address, seconds: float) -> Verdict:
    """``Status`` says how busy the service is; services that are older, or not ours, answer one of the others."""
    host = f"[{address}]" if address.version == 6 else str(address)
    channel = grpc.aio.insecure_channel(f"ipv{address.version}:{host}:{target.port}", _OPTIONS)
    try:
        return await _ask(channel, SERVICES[target.type], seconds)
    finally:
        await channel.close()


async def _ask(channel: grpc.aio.Channel, service: str, seconds: float) -> Verdict:
    path = f"/cogmentAPI.{service}"
    first = _call(channel, f"{path}/Status", StatusRequest(names=[_OVERALL_LOAD]), StatusReply.FromString)
    status, reply = await first(seconds * 2 / 3)
    if status is None:
        return Verdict(healthy=True, load=_load(reply))
    if status is grpc.StatusCode.UNAVAILABLE:
        return _GONE
    second = _call(channel, f"{path}/Version", VersionRequest(), VersionInfo.FromString)
    status, _ = await second(seconds / 3)
    if status is grpc.StatusCode.UNIMPLEMENTED:
        status = await _ask_for_health(channel, seconds / 3)
    return Verdict(healthy=status is None)


async def _ask_for_health(channel: grpc.aio.Channel, seconds: float) -> grpc.StatusCode | None:
    health_pb2 = importlib.import_module("grpc_health.v1.health_pb2")  # few services need it
    third = _call(
        channel,
        "/grpc.health.v1.Health/Check",
        health_pb2.HealthCheckRequest(),
        health_pb2.HealthCheckResponse.FromString,
    )
    status, reply = await third(seconds)
    if status is None and reply.status != health_pb2.HealthCheckResponse.SERVING:
        return grpc.StatusCode.UNAVAILABLE
    return status


_Call = Callable[[float], Awaitable[tuple[grpc.StatusCode | None, Any]]]


def _call(channel: grpc.aio.Channel, method: str, request: Message, decode: Callable[[bytes], Any]) -> _Call:
    async def call(seconds: float) -> tuple[grpc.StatusCode | None, Any]:
        """The reply; or the status that the call failed with."""
        ask: Any = channel.unary_unary(method, request_serializer=_encoded, response_deserializer=decode)
        try:
            return None, await ask(request, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            return error.code(), None

    return call


def _encoded(message: Message) -> bytes:
    return message.SerializeToString()


def _load(reply: StatusReply) -> int:
    text = reply.statuses.get(_OVERALL_LOAD, "")
    if not (text.isascii() and text.isdigit() and len(text) <= 3):
        return 0
    return int(text) if int(text) <= _FULL else 0
