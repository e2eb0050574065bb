"""Channels and servers from endpoints: what they connect to, how securely, and what they say when they cannot."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from cogment_core import channels
from cogment_core.api import agent_pb2_grpc, common_pb2
from cogment_core.channels import (
    CLIENT_OPTIONS,
    IDEMPOTENT,
    MESSAGE_LIMIT,
    SERVER_OPTIONS,
    WATCHFUL_CLIENT_OPTIONS,
    ChannelPool,
    bind,
    create_server,
    open_channel,
)
from cogment_core.endpoints import Endpoint, ServedEndpoint
from cogment_core.errors import EndpointError, UsageError
from cogment_core.inprocess import InProcessEndpoint, InProcessServer

TLS = Path(__file__).parents[1] / "data" / "tls"
CA, SERVER_KEY, SERVER_CERT, CLIENT_KEY, CLIENT_CERT = (
    (TLS / name).read_text() for name in ("ca.pem", "server.key", "server.pem", "client.key", "client.pem")
)


class Servicer(agent_pb2_grpc.ServiceActorSPServicer):
    async def Version(self, request: Any, context: Any) -> common_pb2.VersionInfo:  # type: ignore[override]
        peer = ",".join(identity.decode() for identity in context.peer_identities() or ())
        return common_pb2.VersionInfo(versions=[common_pb2.VersionInfo.Version(name="peer", version=peer)])

    async def Status(self, request: Any, context: Any) -> common_pb2.StatusReply:  # type: ignore[override]
        size = int(request.names[0])
        return common_pb2.StatusReply(statuses={"data": "x" * size})


async def version(channel: grpc.aio.Channel) -> Any:
    stub: Any = agent_pb2_grpc.ServiceActorSPStub(channel)
    return await stub.Version(common_pb2.VersionRequest(), timeout=10)


class Serving:
    """Starts servers, and stops them."""

    def __init__(self) -> None:
        self._servers: list[grpc.aio.Server] = []

    async def __call__(self, served_endpoint: ServedEndpoint, **options: Any) -> int:
        server = create_server(**options)
        agent_pb2_grpc.add_ServiceActorSPServicer_to_server(Servicer(), server)
        port = bind(server, served_endpoint)
        await server.start()
        self._servers.append(server)
        return port

    async def stop(self) -> None:
        for server in self._servers:
            await server.stop(None)


@pytest.fixture
async def serve() -> AsyncIterator[Serving]:
    serving = Serving()
    yield serving
    await serving.stop()


def secure_endpoint(port: int, *, with_certificate: bool = False) -> Endpoint:
    endpoint = Endpoint(f"grpc://localhost:{port}", use_ssl=True)
    endpoint.root_certificates = CA
    if with_certificate:
        endpoint.private_key = CLIENT_KEY
        endpoint.certificate_chain = CLIENT_CERT
    return endpoint


def secure_served_endpoint(*, client_certificates: bool = False) -> ServedEndpoint:
    served = ServedEndpoint(host="127.0.0.1")
    served.private_key_certificate_chain_pairs = [(SERVER_KEY, SERVER_CERT)]
    served.root_certificates = CA if client_certificates else None
    return served


# --- connecting -------------------------------------------------------------------------------------------------------


async def test_an_address_is_connected_to(serve: Serving):
    """A ``grpc://`` endpoint leads to the server at that address."""
    port = await serve(ServedEndpoint(host="127.0.0.1"))
    async with open_channel(Endpoint(f"grpc://127.0.0.1:{port}")) as channel:
        assert (await version(channel)).versions[0].name == "peer"


async def test_all_interfaces_are_served_by_default(serve: Serving):
    """Without a host, a server listens on all interfaces."""
    port = await serve(ServedEndpoint())
    for host in ("127.0.0.1", "localhost"):
        async with open_channel(Endpoint(f"grpc://{host}:{port}")) as channel:
            await version(channel)


async def test_an_in_process_endpoint_is_connected_to():
    """The endpoint of an in-process server leads to it without a port."""
    async with InProcessServer("here") as server:
        agent_pb2_grpc.add_ServiceActorSPServicer_to_server(Servicer(), server)
        async with open_channel(InProcessEndpoint(server)) as channel:
            assert (await version(channel)).versions[0].name == "peer"


@pytest.mark.parametrize("url", ["cogment://discover", "cogment://client", "http://localhost:80", "grpc://", ""])
async def test_other_urls_are_refused(url: str):
    """Only an address can be connected to; the error names what was given."""
    with pytest.raises(EndpointError) as caught:
        open_channel(Endpoint(url))
    assert not url or url in str(caught.value)


async def test_secrets_in_urls_are_not_shown():
    """A token in a discovery URL does not get into the error."""
    with pytest.raises(EndpointError) as caught:
        open_channel(Endpoint("cogment://discover?__authentication-token=hush"))
    assert "hush" not in str(caught.value)


async def test_long_messages_pass_up_to_the_limit(serve: Serving):
    """Messages of more than gRPC's 4 MiB pass, and those over the limit are an error of that call only."""
    limit = ("grpc.max_receive_message_length", 6 * 1024 * 1024)
    port = await serve(ServedEndpoint(host="127.0.0.1"), options=[limit])
    async with open_channel(Endpoint(f"grpc://127.0.0.1:{port}"), options=[limit]) as channel:
        stub: Any = agent_pb2_grpc.ServiceActorSPStub(channel)
        reply = await stub.Status(common_pb2.StatusRequest(names=[str(5 * 1024 * 1024)]))
        assert len(reply.statuses["data"]) == 5 * 1024 * 1024
        for names in ([str(7 * 1024 * 1024)], ["1", "x" * 7 * 1024 * 1024]):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Status(common_pb2.StatusRequest(names=names))
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await version(channel)
    assert MESSAGE_LIMIT > 4 * 1024 * 1024


# --- TLS --------------------------------------------------------------------------------------------------------------


async def test_tls_connects(serve: Serving):
    """A client that trusts the server's authority connects securely."""
    port = await serve(secure_served_endpoint())
    async with open_channel(secure_endpoint(port)) as channel:
        await version(channel)


async def test_client_certificates_are_required(serve: Serving):
    """A server with root certificates takes only clients that they certify, and knows them by their certificate."""
    port = await serve(secure_served_endpoint(client_certificates=True))
    async with open_channel(secure_endpoint(port, with_certificate=True)) as channel:
        assert "localhost" in (await version(channel)).versions[0].version
    async with open_channel(secure_endpoint(port)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await version(channel)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_plain_text_and_tls_do_not_meet(serve: Serving):
    """A client without TLS cannot call a server with it."""
    port = await serve(secure_served_endpoint())
    async with open_channel(Endpoint(f"grpc://127.0.0.1:{port}")) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await version(channel)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_what_is_no_pem_is_refused():
    """Key material that cannot be PEM is named in the error, and not shown."""
    endpoint = Endpoint("grpc://localhost:1", use_ssl=True)
    endpoint.root_certificates = "hush.pem"
    with pytest.raises(EndpointError, match="root_certificates is not PEM") as caught:
        open_channel(endpoint)
    assert "hush" not in str(caught.value)
    served = ServedEndpoint()
    served.private_key_certificate_chain_pairs = [("hush", SERVER_CERT)]
    with pytest.raises(EndpointError, match="private_key_certificate_chain_pairs is not PEM") as caught:
        bind(create_server(), served)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("missing", ["private_key", "certificate_chain"])
async def test_half_a_pair_is_refused(missing: str):
    """A key without its certificate, or the other way round, would end the process within gRPC."""
    endpoint = secure_endpoint(1, with_certificate=True)
    setattr(endpoint, missing, None)
    with pytest.raises(EndpointError, match=f"{missing} is not"):
        open_channel(endpoint)


async def test_an_empty_list_of_keys_is_refused():
    """An empty list of keys does not mean plain text."""
    served = ServedEndpoint()
    served.private_key_certificate_chain_pairs = []
    with pytest.raises(EndpointError, match="empty"):
        bind(create_server(), served)


async def test_keys_that_cannot_be_used_are_refused():
    """A key and a certificate that do not belong together are an error that says so."""
    served = ServedEndpoint(host="127.0.0.1")
    served.private_key_certificate_chain_pairs = [(CLIENT_KEY, SERVER_CERT)]
    with pytest.raises(EndpointError, match="belong together"):
        bind(create_server(), served)


# --- ports ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", ["127.0.0.1", "0.0.0.0", "::"])
@pytest.mark.parametrize("wanted", [None, "127.0.0.1", "localhost"])
async def test_a_port_in_use_is_refused(held: str, wanted: str | None):
    """A port that somebody listens on cannot be shared, by whatever name; the error names it and the way out."""
    wide = ":" in held
    family = socket.AF_INET6 if wide else socket.AF_INET
    with socket.create_server((held, 0), family=family, dualstack_ipv6=wide) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(EndpointError, match=f"port {port} is in use by another server.*0 lets the system"):
            bind(create_server(), ServedEndpoint(port, host=wanted))


async def test_two_of_our_servers_do_not_share_a_port(serve: Serving):
    """A second server on the port of the first one is refused, rather than given half of the calls."""
    port = await serve(ServedEndpoint(host="127.0.0.1"))
    with pytest.raises(EndpointError, match=str(port)):
        await serve(ServedEndpoint(port, host="127.0.0.1"))


async def test_a_port_is_free_again_after_a_server(serve: Serving):
    """A port can be served again at once, though connections of the earlier server are still closing."""
    port = await serve(ServedEndpoint(host="127.0.0.1"))
    async with open_channel(Endpoint(f"grpc://127.0.0.1:{port}")) as channel:
        await version(channel)
        await serve.stop()
        assert await serve(ServedEndpoint(port, host="127.0.0.1")) == port
        await version(channel)  # the client finds the new one by itself


@pytest.mark.parametrize(("host", "text"), [("no-such-host.invalid", "not known"), ("192.0.2.1", "not an address of")])
async def test_a_host_that_is_not_here_is_refused(host: str, text: str):
    """A host that is unknown, or another machine, is named in the error."""
    with pytest.raises(EndpointError, match=f"{host}.*{text}"):
        bind(create_server(), ServedEndpoint(host=host))


@pytest.mark.skipif(os.geteuid() == 0 or sys.platform != "linux", reason="needs a user without privileges")
async def test_a_privileged_port_is_refused():
    """A port that needs privileges is named in the error."""
    with pytest.raises(EndpointError, match="port 1 needs privileges"):
        bind(create_server(), ServedEndpoint(1, host="127.0.0.1"))


# --- the pool ---------------------------------------------------------------------------------------------------------


async def test_a_pool_shares_channels():
    """The same endpoint gives the same channel; another address, other TLS material or another server do not."""
    async with InProcessServer("one") as one, InProcessServer("two") as two:
        pool = ChannelPool()
        same = [pool.get(Endpoint("grpc://localhost:1")), pool.get(Endpoint(" grpc://localhost:1 "))]
        with_client_key = secure_endpoint(1, with_certificate=True)
        endpoints = [secure_endpoint(1), with_client_key, Endpoint("grpc://localhost:2")]
        others = [pool.get(endpoint) for endpoint in endpoints]
        in_process = [pool.get(InProcessEndpoint(server)) for server in (one, two, one)]
        assert same[0] is same[1]
        assert in_process[0] is in_process[2]
        assert len({id(channel) for channel in (*same, *others, *in_process)}) == 1 + 3 + 2
        await pool.close()


async def test_a_closed_pool_closes_its_channels(serve: Serving):
    """Closing a pool closes its channels, once; it gives no others then."""
    port = await serve(ServedEndpoint(host="127.0.0.1"))
    pool = ChannelPool()
    channel = pool.get(Endpoint(f"grpc://127.0.0.1:{port}"))
    await version(channel)
    await pool.close()
    await pool.close()
    assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN
    with pytest.raises(UsageError, match="closed"):
        pool.get(Endpoint(f"grpc://127.0.0.1:{port}"))


async def test_closing_ends_calls_that_are_read_from(serve: Serving):
    """Whoever reads from a stream when its channel is closed is told, whatever the version of grpcio."""

    async def method(request: Any, context: Any) -> None:
        await context.write(b"first")
        await asyncio.Event().wait()

    server = create_server()
    server.add_generic_rpc_handlers((AnyMethod(method),))
    port = bind(server, ServedEndpoint(host="127.0.0.1"))
    await server.start()
    channel = open_channel(Endpoint(f"grpc://127.0.0.1:{port}"))
    call = channel.unary_stream("/test.Service/Do")(b"")
    assert await call.read() == b"first"
    reading = asyncio.create_task(call.read())
    await asyncio.sleep(0)
    await channel.close()
    await asyncio.wait({reading}, timeout=5)
    assert reading.cancelled()
    await server.stop(None)


async def test_closing_with_grace_lets_calls_end(serve: Serving):
    """A channel that is closed with grace waits for its calls."""
    port = await serve(ServedEndpoint(host="127.0.0.1"))
    channel = open_channel(Endpoint(f"grpc://127.0.0.1:{port}"))
    await channel.channel_ready()
    asking = asyncio.create_task(version(channel))
    await asyncio.sleep(0)
    await channel.close(5)
    assert (await asking).versions


class AnyMethod(grpc.GenericRpcHandler):
    def __init__(self, method: Any) -> None:
        self._handler = grpc.unary_stream_rpc_method_handler(method)

    def service(self, handler_call_details: Any) -> Any:
        return self._handler


def test_a_pool_belongs_to_one_event_loop():
    """Using a pool in a second event loop, or in none, is an error that says so, not a call that hangs."""
    pool = ChannelPool()

    async def connect() -> None:
        pool.get(Endpoint("grpc://localhost:1"))

    with pytest.raises(UsageError, match="running event loop"):
        pool.get(Endpoint("grpc://localhost:1"))
    asyncio.run(connect())
    with pytest.raises(UsageError, match="another event loop"):
        asyncio.run(connect())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("forks_in_loop", [False, True])
def test_a_pool_does_not_survive_a_fork(forks_in_loop: bool):
    """A pool that is used in a forked child is an error that says what to do, wherever the process was forked."""
    printed = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING, str(forks_in_loop)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    ).stdout
    assert "'spawn'" in printed


FORKING = """
import asyncio, os, sys
from cogment_core.channels import ChannelPool
from cogment_core.endpoints import Endpoint
from cogment_core.errors import UsageError

pool = ChannelPool()

def fork():
    child = os.fork()
    if child:
        os.waitpid(child, 0)
    return child == 0

def use():
    try:
        pool.get(Endpoint("grpc://localhost:1"))
    except UsageError as error:
        print(error, flush=True)

async def main(forks):
    use()
    if forks and fork():
        use()
        os._exit(0)
    if forks:
        await pool.close()

async def child():
    use()

if sys.argv[1] == "True":
    asyncio.run(main(True))
else:
    asyncio.run(main(False))
    if fork():
        asyncio.run(child())
        os._exit(0)
"""


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [CLIENT_OPTIONS, WATCHFUL_CLIENT_OPTIONS, SERVER_OPTIONS])
def test_options_are_consistent(options: channels.Options):
    """Each option stands once, the ping time-out that gRPC goes by is the one that is meant, metadata limits agree."""
    values = dict(options)
    assert len(values) == len(options)
    assert values["grpc.http2.ping_timeout_ms"] == values["grpc.keepalive_timeout_ms"]
    assert values["grpc.max_metadata_size"] == values["grpc.absolute_max_metadata_size"]
    assert values["grpc.http2.max_pings_without_data"] == 0


def test_our_servers_allow_the_pings_of_our_clients():
    """A watchful client never pings a server of ours more often than it allows, with a margin."""
    allowed = dict(SERVER_OPTIONS)["grpc.http2.min_ping_interval_without_data_ms"]
    assert dict(WATCHFUL_CLIENT_OPTIONS)["grpc.keepalive_time_ms"] >= 2 * allowed


def test_stock_servers_allow_the_pings_of_our_clients():
    """Channels to any server ping less often than each five minutes, which is all that stock servers allow."""
    assert dict(CLIENT_OPTIONS)["grpc.keepalive_time_ms"] > 5 * 60 * 1000
    assert "grpc.keepalive_permit_without_calls" not in dict(CLIENT_OPTIONS)


def test_retried_methods_exist_and_only_ask():
    """The service config names methods of the protocol with one reply, and none that changes anything."""
    from cogment_core.api import (
        agent_pb2,
        datalog_pb2,
        directory_pb2,
        environment_pb2,
        hooks_pb2,
        model_registry_pb2,
        orchestrator_pb2,
        trial_datastore_pb2,
    )

    modules = (
        agent_pb2,
        datalog_pb2,
        directory_pb2,
        environment_pb2,
        hooks_pb2,
        model_registry_pb2,
        orchestrator_pb2,
        trial_datastore_pb2,
    )
    services = {
        service.full_name: service for module in modules for service in module.DESCRIPTOR.services_by_name.values()
    }
    (config,) = json.loads(IDEMPOTENT)["methodConfig"]
    for name in config["name"]:
        method = services[name["service"]].methods_by_name[name["method"]]
        assert method.name in {"Version", "Status"} or method.name.startswith(("Get", "Retrieve"))
    assert {name["service"] for name in config["name"]} == services.keys()


async def test_asking_rides_over_a_restart(serve: Serving):
    """A call that only asks is made again while its server restarts."""
    port = await serve(ServedEndpoint(host="127.0.0.1"))
    async with open_channel(Endpoint(f"grpc://127.0.0.1:{port}")) as channel:
        await version(channel)
        await serve.stop()
        asking = asyncio.create_task(version(channel))
        await asyncio.sleep(0.05)
        assert not asking.done()
        await serve(ServedEndpoint(port, host="127.0.0.1"))
        await asking


# --- lost peers -------------------------------------------------------------------------------------------------------

PEER = """
import asyncio, sys
import grpc, grpc.aio

async def method(request, context):
    await context.write(b"first")
    await asyncio.Event().wait()

class AnyMethod(grpc.GenericRpcHandler):
    def service(self, details):
        return grpc.unary_stream_rpc_method_handler(method)

async def serve():
    server = grpc.aio.server(handlers=[AnyMethod()])
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()

async def call(port):
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        async for reply in channel.unary_stream("/test.Service/Do")(b""):
            print(reply.decode(), flush=True)

asyncio.run(serve() if sys.argv[1] == "serve" else call(sys.argv[2]))
"""


@pytest.fixture
async def stock_peer() -> AsyncIterator[Any]:
    """Starts a process that uses gRPC with stock options, and gives it and the first line that it prints."""
    processes = []

    async def start(*arguments: str) -> tuple[asyncio.subprocess.Process, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PEER, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        processes.append(process)
        assert process.stdout is not None
        return process, (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()

    yield start
    for process in processes:
        process.kill()
        await process.wait()


async def idle_stream(port: str | int, options: channels.Options = ()) -> tuple[grpc.aio.Channel, asyncio.Task[Any]]:
    """A call that has begun, and a task that reads what never comes."""
    channel = open_channel(Endpoint(f"grpc://127.0.0.1:{port}"), options=options)
    call = channel.unary_stream("/test.Service/Do")(b"")
    assert await call.read() == b"first"
    return channel, asyncio.create_task(call.read())


async def our_server(method: Any) -> tuple[grpc.aio.Server, int]:
    server = create_server()
    server.add_generic_rpc_handlers((AnyMethod(method),))
    port = bind(server, ServedEndpoint(host="127.0.0.1"))
    await server.start()
    return server, port


@pytest.mark.slow
async def test_idle_streams_live(stock_peer: Any):
    """An idle stream is not taken for abuse: to a stock server, and, watched, to a server of ours."""

    async def method(request: Any, context: Any) -> None:
        await context.write(b"first")
        await asyncio.Event().wait()

    _, stock_port = await stock_peer("serve")
    server, our_port = await our_server(method)
    streams = [await idle_stream(stock_port), await idle_stream(our_port, WATCHFUL_CLIENT_OPTIONS)]
    done, _ = await asyncio.wait([reading for _, reading in streams], timeout=32)
    assert not done
    for channel, reading in streams:
        await channel.close()
        await asyncio.wait({reading})
    await server.stop(None)


@pytest.mark.slow
async def test_frozen_peers_are_lost(stock_peer: Any):
    """A watchful client, and any server of ours, know a frozen peer after 8 s."""
    gone = asyncio.Event()

    async def method(request: Any, context: Any) -> None:
        try:
            await context.write(b"first")
            await asyncio.Event().wait()
        finally:
            gone.set()

    frozen_server, stock_port = await stock_peer("serve")
    server, our_port = await our_server(method)
    frozen_client, first = await stock_peer("call", str(our_port))
    assert first == "first"
    channel, reading = await idle_stream(stock_port, WATCHFUL_CLIENT_OPTIONS)
    for process in (frozen_server, frozen_client):
        os.kill(process.pid, signal.SIGSTOP)
    await asyncio.wait_for(gone.wait(), 12)
    await asyncio.wait({reading}, timeout=5)
    error = reading.exception()
    assert isinstance(error, grpc.aio.AioRpcError)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    await channel.close()
    await server.stop(None)
