"""The client of a Directory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from scripted_directory import COGMENT, GRPC_SSL, SECRET, ScriptedDirectory

from cogment_core.api import directory_pb2_grpc
from cogment_core.context import Context
from cogment_core.directory import Directory, DirectoryEntry, ServiceType
from cogment_core.endpoints import Endpoint
from cogment_core.errors import (
    DeadlineError,
    EndpointError,
    ProtocolError,
    RefusedError,
    UnavailableError,
    UsageError,
)
from cogment_core.inprocess import InProcessEndpoint, InProcessServer

TOKEN = "planted-token"


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedDirectory]:
    directory = await ScriptedDirectory().start()
    yield directory
    await directory.stop()


@pytest.fixture
async def directory(scripted: ScriptedDirectory, transport: str) -> AsyncIterator[Directory]:
    """The client, over each transport."""
    server = InProcessServer("directory")
    directory_pb2_grpc.add_DirectorySPServicer_to_server(scripted, server)
    client = Directory(InProcessEndpoint(server) if transport == "inprocess" else scripted.url, TOKEN)
    yield client
    await client.close()
    await server.stop(None)


# --- registering ------------------------------------------------------------------------------------------------------


async def test_a_service_is_registered_and_deregistered(scripted: ScriptedDirectory, directory: Directory):
    """One request, one reply: its number and its secret, which deregister it; each call has the token."""
    number, secret = await directory.register_host(ServiceType.MODEL_REG, "host-1", 80, True, {"a": "b"})
    (request,) = scripted.registered
    assert (request.endpoint.protocol, request.endpoint.host, request.endpoint.port) == (GRPC_SSL, "host-1", 80)
    assert (request.details.type, dict(request.details.properties), request.permanent) == (8, {"a": "b"}, False)
    await directory.deregister_service(number, secret)
    assert scripted.deregistered == [number]
    assert scripted.tokens == [TOKEN, TOKEN]


async def test_the_stream_is_ended_by_who_asked(scripted: ScriptedDirectory, directory: Directory):
    """A Directory waits for more requests: the client does not wait for the end of its replies."""
    await asyncio.wait_for(directory.register_host(ServiceType.OTHER, "h", 1), 10)
    await scripted.until(lambda: scripted.streams_ended == 1)


async def test_a_refusal_is_an_error_that_says_why(scripted: ScriptedDirectory, directory: Directory):
    """A FAILED reply is a RefusedError with the Directory's words; the token and the secret are in no error."""
    scripted.refuses = "not on a Sunday"
    with pytest.raises(RefusedError, match="not on a Sunday") as caught:
        await directory.register_host(ServiceType.ACTOR, "h", 1)
    with pytest.raises(RefusedError, match="who is that") as wrong:
        await directory.deregister_service(5, SECRET)
    for text in (str(caught.value), repr(caught.value), str(wrong.value), repr(wrong.value), repr(directory)):
        assert TOKEN not in text
        assert SECRET not in text


async def test_a_stream_that_ends_without_a_reply(scripted: ScriptedDirectory, directory: Directory):
    """It is not taken for success."""
    scripted.hangs_up = True
    with pytest.raises(ProtocolError, match="without a reply"):
        await directory.register_host(ServiceType.ACTOR, "h", 1)


async def test_a_directory_that_does_not_answer(scripted: ScriptedDirectory, directory: Directory):
    """All calls have a deadline."""
    scripted.mute = True
    with pytest.raises(DeadlineError):
        await directory.deregister_service(1, "x", timeout=0.2)
    with pytest.raises(DeadlineError):
        await directory.entries(timeout=0.2)


async def test_a_directory_that_is_not_there():
    """What cannot be reached is said at once, not at the deadline."""
    directory = Directory("grpc://127.0.0.1:9")
    start = time.monotonic()
    for call in (directory.inquire_by_id(1), directory.register_host(ServiceType.ACTOR, "h", 1)):
        with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:9"):
            await call
    assert time.monotonic() - start < 10
    await directory.close()


@pytest.mark.parametrize(
    "call",
    [
        lambda directory: directory.register_host(3, "h", 1),
        lambda directory: directory.register_host(ServiceType.ACTOR, "h", 0),
        lambda directory: directory.register_host(ServiceType.ACTOR, None, 1),
        lambda directory: directory.register_host(ServiceType.ACTOR, "h", 1, properties={"a": 1}),
        lambda directory: directory.deregister_service(0, "s"),
        lambda directory: directory.inquire_by_id(1 << 64),
        lambda directory: directory.inquire_by_type("actor"),
    ],
)
async def test_wrong_arguments(directory: Directory, call: Any):
    """What cannot be asked is a UsageError, and nothing is sent."""
    with pytest.raises(UsageError):
        await call(directory)


@pytest.mark.parametrize("token", ["zwölf", "line\nbreak", b"planted", 5])
def test_a_token_that_cannot_be_sent(token: Any):
    """It is refused when it is given, and not repeated: not even a wrong secret is for logs."""
    with pytest.raises(UsageError, match="token") as caught:
        Directory("grpc://h:1", token)
    assert str(token) not in str(caught.value)
    with pytest.raises(UsageError, match="directory_auth_token") as caught:
        Context("me", None, directory_endpoint="grpc://h:1", directory_auth_token=token)
    assert str(token) not in str(caught.value)


@pytest.mark.parametrize("endpoint", [Endpoint(), "cogment://client", "nonsense"])
def test_a_directory_cannot_be_discovered(endpoint: Any):
    """Its endpoint is an address."""
    with pytest.raises(EndpointError):
        Directory(endpoint)


# --- inquiring --------------------------------------------------------------------------------------------------------


async def test_inquiries_tell_where_and_whether_tls(scripted: ScriptedDirectory, directory: Directory):
    """By number and by type and properties; in the order of the Directory, newest first."""
    first = scripted.add(3, 1, "one", a="b")
    scripted.add(3, 2, "::1", GRPC_SSL, a="b", c="d")
    scripted.add(4, 3, "three", a="b")
    assert await directory.inquire_by_id(first) == [("grpc://one:1", False)]
    assert await directory.inquire_by_id(77) == []
    found = await directory.inquire_by_type(ServiceType.ACTOR, {"a": "b"})
    assert found == [("grpc://[::1]:2", True), ("grpc://one:1", False)]
    assert await directory.inquire_by_type(ServiceType.ACTOR, {"c": ""}) == []
    assert len(await directory.inquire_by_type(None)) == 3


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("unix:/run/x.sock", 1),
        ("a,b", 1),
        ("u@h", 1),
        ("h/x", 1),
        ("", 1),
        ("h", 0),
        ("h", 65536),
        ("a b", 1),
        ("%31", 1),
    ],
)
async def test_what_is_no_address_is_not_connected_to(
    scripted: ScriptedDirectory, directory: Directory, host: str, port: int
):
    """Anybody may register anything: gRPC would take a path, or several addresses, for a host."""
    scripted.add(3, port, host)
    assert await directory.inquire_by_type(ServiceType.ACTOR) == []
    (entry,) = await directory.entries()
    assert (entry.host, entry.port, entry.usable) == (host, port, False)
    with pytest.raises(EndpointError, match="no address"):
        _ = entry.url
    with pytest.raises(EndpointError, match="no address that could be used"):
        await directory.get_inquired_endpoint(Endpoint("cogment://discover/actor"))


async def test_a_type_of_another_version(scripted: ScriptedDirectory, directory: Directory):
    """An entry of an unknown type is shown as such."""
    number = scripted.add(42, 1, a="b")
    assert await directory.entries() == [DirectoryEntry(number, None, 1, "127.0.0.1", 1, {"a": "b"}, False)]


# --- endpoints --------------------------------------------------------------------------------------------------------


async def test_an_endpoint_becomes_an_address(scripted: ScriptedDirectory, directory: Directory):
    """It keeps what it has for TLS; an address stays what it is, and so does what is not found."""
    scripted.add(7, 1, "plain")
    scripted.add(7, 2, "secure", GRPC_SSL)
    address = Endpoint("grpc://h:1")
    assert await directory.get_inquired_endpoint(address) is address
    plain = await directory.get_inquired_endpoint(Endpoint(), ServiceType.DATASTORE)
    assert (plain.url, plain.using_ssl()) == ("grpc://plain:1", False)
    secure = Endpoint("cogment://discover/datastore")
    secure.root_certificates, secure.private_key = "roots", "key"
    found = await directory.get_inquired_endpoint(secure)
    assert (found.url, found.using_ssl(), found.root_certificates) == ("grpc://secure:2", True, "roots")
    nothing = Endpoint("cogment://discover/actor?a=b")
    assert await directory.get_inquired_endpoint(nothing) is nothing
    with pytest.raises(EndpointError, match="which type"):
        await directory.get_inquired_endpoint(Endpoint())


@pytest.mark.parametrize(("protocol", "use_ssl", "said"), [(1, True, "only without TLS"), (2, False, "only with TLS")])
async def test_tls_is_neither_given_up_nor_invented(
    scripted: ScriptedDirectory, directory: Directory, protocol: int, use_ssl: bool, said: str
):
    """An endpoint that asks for TLS is never led to a service without, nor the other way round."""
    scripted.add(7, 1, "h", protocol)
    with pytest.raises(EndpointError, match=said):
        await directory.get_inquired_endpoint(Endpoint("cogment://discover/datastore", use_ssl))


async def test_an_actor_that_joins_by_itself(scripted: ScriptedDirectory, directory: Directory):
    """Such an entry is of no use to who wants to connect."""
    scripted.add(3, 0, "client", COGMENT)
    with pytest.raises(EndpointError, match="no address"):
        await directory.get_inquired_endpoint(Endpoint("cogment://discover/actor"))
    (entry,) = await directory.entries()
    assert (entry.is_client, entry.url) == (True, "cogment://client")


async def test_the_token_in_a_url_counts_for_that_inquiry(scripted: ScriptedDirectory, directory: Directory):
    """It comes before the client's own, and is no property."""
    scripted.add(7, 1, "h")
    await directory.get_inquired_endpoint(Endpoint("cogment://discover/datastore?__authentication-token=other"))
    await directory.inquire_by_id(1)
    assert scripted.tokens == ["other", TOKEN]
    assert not scripted.inquiries[0].details.properties


# --- from a Context ---------------------------------------------------------------------------------------------------


async def test_a_context_makes_clients(scripted: ScriptedDirectory, monkeypatch: pytest.MonkeyPatch):
    """Of its own Directory, if it has one, and of any other; they can be awaited, and end with the Context."""
    monkeypatch.setenv("COGMENT_DIRECTORY_ENDPOINT", scripted.url)
    monkeypatch.setenv("COGMENT_DIRECTORY_AUTHENTICATION_TOKEN", "from-the-environment")
    async with Context("me", None) as context:
        own = context.get_context_directory()
        assert own is not None
        assert await own.inquire_by_id(1) == []
        other = await context.get_directory(Endpoint(scripted.url), "mine")
        assert await other.inquire_by_id(1) == []
    assert scripted.tokens == ["from-the-environment", "mine"]
    with pytest.raises(UsageError, match="closed"):
        await own.inquire_by_id(1)
    monkeypatch.delenv("COGMENT_DIRECTORY_ENDPOINT")
    assert Context("me", None).get_context_directory() is None
