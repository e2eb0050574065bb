"""How an Orchestrator finds components in a Directory, and which addresses it connects to."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import trustme

from cogment_core.api import common_pb2
from cogment_core.api.hooks_pb2 import PreTrialParams
from cogment_core.api.orchestrator_pb2 import TrialInfoRequest, TrialStartRequest
from cogment_core.api.orchestrator_pb2_grpc import TrialLifecycleSPStub
from cogment_core.channels import open_channel
from cogment_core.directory import Directory, ServiceType
from cogment_core.errors import EndpointError
from cogment_services.directory import DirectoryServer
from cogment_services.orchestrator.orchestrator import Orchestrator
from cogment_services.orchestrator.policy import Gate, allow_public_addresses
from cogment_services.tls import Tls

CODE = grpc.StatusCode
PATIENCE = 10.0
TOKEN = "planted-token"


class World:
    """An Orchestrator with a Directory."""

    def __init__(self, directory: DirectoryServer, orchestrator: Orchestrator, registering: Directory) -> None:
        self.directory = directory
        self.orchestrator = orchestrator
        self.registering = registering
        self.lifecycle: Any = TrialLifecycleSPStub(open_channel(orchestrator.endpoint))

    async def register(self, kind: ServiceType, address: str, **properties: str) -> int:
        host, _, port = address.removeprefix("grpc://").rpartition(":")
        number, _ = await self.registering.register_host(kind, host, int(port), properties=properties)
        return number

    async def start(self, params: common_pb2.TrialParams | None, **request: Any) -> str:
        asked = TrialStartRequest(params=params, user_id="me", **request)
        return (await asyncio.wait_for(self.lifecycle.StartTrial(asked), 30)).trial_id

    async def refused(self, params: common_pb2.TrialParams | None) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.start(params)
        assert TOKEN not in str(caught.value)
        return caught.value.code(), caught.value.details()


@pytest.fixture
async def directory() -> AsyncIterator[DirectoryServer]:
    async with DirectoryServer(port=0, grace=0) as server:
        yield server


@pytest.fixture
async def world(directory: DirectoryServer) -> AsyncIterator[World]:
    url = f"grpc://127.0.0.1:{directory.port}"
    registering = Directory(url, TOKEN)
    hooks = ["cogment://discover"]
    async with Orchestrator(hooks=hooks, port=0, directory=url, directory_token=TOKEN, grace=0) as orchestrator:
        yield World(directory, orchestrator, registering)
    await registering.close()


def discovered(*actors: str, environment: str = "", **changes: Any) -> common_pb2.TrialParams:
    """Parameters of a trial whose components are all to be found."""
    return common_pb2.TrialParams(
        environment=common_pb2.EnvironmentParams(implementation="world", endpoint=environment),
        actors=[common_pb2.ActorParams(name=name, actor_class="player", implementation="bot") for name in actors],
        **changes,
    )


async def register_all(world: World, peers: Any) -> None:
    await world.register(ServiceType.ENVIRONMENT, peers.address, __implementation="world")
    await world.register(ServiceType.ACTOR, peers.address, __implementation="bot", __actor_class="player")


# --- what is found ----------------------------------------------------------------------------------------------------


async def test_components_are_found_by_what_they_are(world: World, peers: Any) -> None:
    """Environment and actors by implementation and class, the datalog by its type."""
    await register_all(world, peers)
    await world.register(ServiceType.DATALOG, peers.address)
    params = discovered("alice", "bob", datalog=common_pb2.DatalogParams(endpoint="cogment://discover"))
    await world.start(params)
    names = {(await (await peers.actor()).begin()).actor_name for _ in range(2)}
    assert names == {"alice", "bob"}
    assert (await (await peers.environment()).begin()).impl_name == "world"
    await peers.datalog()


async def test_a_hook_is_found_when_a_trial_starts(world: World, peers: Any) -> None:
    """The hook completes the parameters of a trial that is started without."""
    await register_all(world, peers)
    code, details = await world.refused(None)
    assert code is CODE.FAILED_PRECONDITION
    assert "a pre-trial hook" in details
    assert "knows no HOOK service" in details
    await world.register(ServiceType.HOOK, peers.address)

    async def hook(request: PreTrialParams, _: Any) -> PreTrialParams:
        return PreTrialParams(params=discovered("alice"))

    peers.hook = hook
    await world.start(None)
    assert (await (await peers.actor()).begin()).actor_name == "alice"


async def test_what_is_attached_comes_first(world: World, peers: Any) -> None:
    """The Directory is asked for what is not in the process of the Orchestrator."""
    from cogment_core.context import Context

    seen = asyncio.Event()

    async def environment(session: Any) -> None:
        seen.set()

    await register_all(world, peers)
    async with Context("me", None, prometheus_registry=None) as context:
        context.register_environment(environment, "world")
        world.orchestrator.attach(context)
        await world.start(discovered("alice"))
        await (await peers.actor()).begin()
        await asyncio.wait_for(seen.wait(), PATIENCE)
    assert peers.environments.empty()


async def test_types_numbers_and_properties_in_endpoints(world: World, peers: Any) -> None:
    """An explicit type takes nothing from the place of use; a number is enough; properties of the URL come first."""
    number = await world.register(ServiceType.ENVIRONMENT, peers.address, mine="yes")
    await world.register(ServiceType.ACTOR, peers.address, __implementation="other", __actor_class="player")
    params = discovered("alice", environment="cogment://discover/environment?mine=yes")
    params.actors[0].endpoint = "cogment://discover?__implementation=other"
    await world.start(params)
    await (await peers.actor()).begin()
    await peers.environment()
    params.environment.endpoint = f"cogment://discover/service?__id={number}"
    await world.start(params)
    await (await peers.actor()).begin()
    await peers.environment()


async def test_an_entry_can_stand_for_a_client_actor(world: World, peers: Any) -> None:
    """Such an actor joins; an environment cannot."""
    from cogment_core.api.directory_pb2 import RegisterRequest, ServiceDetails, ServiceEndpoint
    from cogment_core.rpc import exchange

    await world.register(ServiceType.ENVIRONMENT, peers.address, __implementation="world")
    for kind in (ServiceType.ACTOR, ServiceType.ENVIRONMENT):
        request = RegisterRequest(
            endpoint=ServiceEndpoint(protocol=ServiceEndpoint.COGMENT, host="client", port=0),
            details=ServiceDetails(type=kind.value, properties={"__actor_class": "player", "client": "yes"}),
        )
        stub = world.registering._connect()
        reply = await exchange(stub.Register, request, metadata=[("authentication-token", TOKEN)])
        assert reply.status == reply.OK, reply
    params = discovered("alice")
    params.actors[0].endpoint = "cogment://discover?client=yes"
    params.actors[0].implementation = ""
    trial_id = await world.start(params)
    infos = await world.lifecycle.GetTrialInfo(TrialInfoRequest(), metadata=[("trial-id", trial_id)])
    assert infos.trial[0].state == common_pb2.PENDING
    params = discovered("alice", environment="cogment://discover/environment?client=yes")
    assert "no address" in (await world.refused(params))[1]


# --- what is not found ------------------------------------------------------------------------------------------------


async def test_what_is_not_found_is_told(world: World, peers: Any) -> None:
    """Whose endpoint it is, what was asked, and of whom; the trial is not started, and nobody is called."""
    code, details = await world.refused(discovered("alice"))
    assert code is CODE.FAILED_PRECONDITION
    assert "the environment" in details
    assert "ENVIRONMENT service with __implementation=world" in details
    assert f"127.0.0.1:{world.directory.port}" in details
    await world.register(ServiceType.ENVIRONMENT, peers.address, __implementation="world")
    code, details = await world.refused(discovered("alice"))
    assert "actor [alice]" in details
    assert "__actor_class=player" in details
    assert peers.environments.empty()


async def test_a_directory_that_is_away_is_said_at_once(world: World, peers: Any) -> None:
    """StartTrial is UNAVAILABLE then, so that callers try again."""
    await register_all(world, peers)
    await world.directory.close(0)
    code, details = await asyncio.wait_for(world.refused(discovered("alice")), 10)
    assert code is CODE.UNAVAILABLE
    assert "Inquire" in details


async def test_other_tokens_find_nothing(world: World, peers: Any) -> None:
    """What was registered with another token is not there, unless the endpoint has that token."""
    other = Directory(f"grpc://127.0.0.1:{world.directory.port}", "other")
    host, _, port = peers.address.removeprefix("grpc://").rpartition(":")
    await other.register_host(ServiceType.ENVIRONMENT, host, int(port), properties={"__implementation": "world"})
    await other.close()
    params = discovered("alice")
    params.actors[0].endpoint = peers.address
    assert (await world.refused(params))[0] is CODE.FAILED_PRECONDITION
    params.environment.endpoint = "cogment://discover?__authentication-token=other"
    await world.start(params)
    await (await peers.actor()).begin()
    await peers.environment()


# --- where it connects to ---------------------------------------------------------------------------------------------


def gate(monkeypatch: pytest.MonkeyPatch, *answers: list[str], ports: tuple[int, ...] = ()) -> Gate:
    """A Gate for whom names lead to these addresses, one answer after the other."""
    asked = iter(answers)
    monkeypatch.setattr(
        "cogment_services.addresses._ask_system",
        lambda host, port: ([ipaddress.ip_address(text) for text in next(asked)], None),
    )
    return Gate(allow_public_addresses, lambda: ports)


async def test_what_is_connected_to_is_what_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads elsewhere a moment later does not lead the Orchestrator there."""
    opened = gate(monkeypatch, ["10.0.0.1", "fd00::1", "10.0.0.2"], ["169.254.169.254"])
    admitted = await opened.admit("env.example:9000")
    assert admitted.address == "ipv4:10.0.0.1:9000,10.0.0.2:9000"
    assert admitted.authority == "env.example:9000"
    assert await opened.admit("env.example:9000") == admitted  # from memory


@pytest.mark.parametrize(
    "answer", [["169.254.169.254"], ["10.0.0.1", "169.254.0.1"], ["fe80::1"], ["::ffff:169.254.0.1"], ["fd00:ec2::254"]]
)
async def test_names_that_lead_to_forbidden_addresses_are_refused(
    monkeypatch: pytest.MonkeyPatch, answer: list[str]
) -> None:
    """All that a name leads to has to be allowed."""
    with pytest.raises(EndpointError, match="link-local"):
        await gate(monkeypatch, answer).admit("metadata.example:80")


async def test_ipv6_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an IPv4 address, IPv6 is used."""
    assert (await gate(monkeypatch, ["fd00::1"]).admit("env.example:1")).address == "ipv6:[fd00::1]:1"


@pytest.mark.parametrize("address", ["localhost:9000", "127.0.0.1:9000", "[::1]:9000", "10.1:80", "[fd00::1]:80"])
async def test_addresses_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """There is nothing to look up."""
    admitted = await gate(monkeypatch).admit(address)
    assert (admitted.address, admitted.authority, admitted.problem) == (address, "", "")


@pytest.mark.parametrize(
    "address", ["127.0.0.1:9000", "localhost:9000", "[::1]:9000", "0.0.0.0:9000", "me.example:9000"]
)
async def test_its_own_port_is_no_part_of_trials(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """However it is written; the same port of another machine is."""
    opened = gate(monkeypatch, ["127.0.0.1"], ["10.255.255.1"], ports=(9000,))
    with pytest.raises(EndpointError, match="this Orchestrator itself"):
        await opened.admit(address)
    await opened.admit("127.0.0.1:9001")
    if address.startswith("me"):
        await opened.admit("other.example:9000")


async def test_an_orchestrator_does_not_connect_to_itself(world: World, peers: Any) -> None:
    """Neither by address nor by what the Directory says."""
    params = discovered("alice")
    params.environment.endpoint = f"grpc://127.0.0.1:{world.orchestrator.port}"
    assert "this Orchestrator itself" in (await world.refused(params))[1]
    await world.register(ServiceType.ENVIRONMENT, f"127.0.0.1:{world.orchestrator.port}", __implementation="world")
    params.environment.endpoint = ""
    assert "this Orchestrator itself" in (await world.refused(params))[1]


async def test_a_host_that_is_not_known_is_one_that_cannot_be_reached(world: World, peers: Any) -> None:
    """The trial starts, and ends for lack of its environment, as with any service that is not there."""
    params = peers.params("alice")
    params.environment.endpoint = "grpc://nowhere.invalid:1"
    await world.start(params)
    alice = await peers.actor()
    await alice.begin()


async def test_a_certificate_has_to_be_for_the_name(monkeypatch: pytest.MonkeyPatch, make_peers: Any) -> None:
    """With TLS, too, the connection goes to the address that was checked, and the name is what is certified."""
    authority = trustme.CA()
    peers = await make_peers(authority.issue_cert("env.example"))
    ours = authority.issue_cert("orchestrator.example")
    tls = Tls(
        ours.private_key_pem.bytes().decode(),
        b"".join(blob.bytes() for blob in ours.cert_chain_pems).decode(),
        authority.cert_pem.bytes().decode(),
    )
    monkeypatch.setattr(
        "cogment_services.addresses._ask_system",
        lambda host, port: ([ipaddress.ip_address("127.0.0.1")], None),
    )
    port = peers.address.rpartition(":")[2]
    async with Orchestrator(tls=tls, grace=0) as orchestrator:
        stub: Any = TrialLifecycleSPStub(open_channel(orchestrator.endpoint))
        params = peers.params("alice")
        params.environment.endpoint = params.actors[0].endpoint = f"grpc://env.example:{port}"
        await stub.StartTrial(TrialStartRequest(params=params))
        assert (await (await peers.actor()).begin()).actor_name == "alice"
        params.environment.endpoint = params.actors[0].endpoint = f"grpc://evil.example:{port}"
        await stub.StartTrial(TrialStartRequest(params=params))
        await (await peers.environment()).begin()
        await asyncio.sleep(0.5)
        assert peers.actors.empty()
        assert peers.environments.empty()


@pytest.fixture
async def make_peers(peers: Any) -> AsyncIterator[Any]:
    """Makes peers with a certificate."""
    made: list[Any] = []

    async def make(cert: trustme.LeafCert) -> Any:
        pair = (cert.private_key_pem.bytes(), b"".join(blob.bytes() for blob in cert.cert_chain_pems))
        result = type(peers)()
        await result.start(grpc.ssl_server_credentials([pair]))
        made.append(result)
        return result

    yield make
    for each in made:
        await each.stop()
