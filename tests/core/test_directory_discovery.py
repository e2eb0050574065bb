"""What the clients of a Context connect to when an endpoint is to be discovered."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from scripted_directory import COGMENT, GRPC_SSL, ScriptedDirectory

from cogment_core.api import orchestrator_pb2, orchestrator_pb2_grpc
from cogment_core.channels import create_server
from cogment_core.client import RemoteService
from cogment_core.context import Context
from cogment_core.endpoints import Endpoint, ServiceType
from cogment_core.errors import EndpointError, RpcError, UnavailableError

LIFE_CYCLE = ServiceType.LIFE_CYCLE
TOKEN = "planted-token"


class Orchestrator(orchestrator_pb2_grpc.TrialLifecycleSPServicer, orchestrator_pb2_grpc.ClientActorSPServicer):
    """Says which one it is."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.server: Any = None
        self.port = 0

    async def start(self, port: int = 0) -> Orchestrator:
        self.server = create_server()
        orchestrator_pb2_grpc.add_TrialLifecycleSPServicer_to_server(self, self.server)
        orchestrator_pb2_grpc.add_ClientActorSPServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{port}")
        await self.server.start()
        return self

    async def StartTrial(self, request: Any, context: Any) -> orchestrator_pb2.TrialStartReply:
        return orchestrator_pb2.TrialStartReply(trial_id=self.name)

    async def RunTrial(self, requests: Any, context: Any) -> AsyncIterator[Any]:
        await context.abort(grpc.StatusCode.NOT_FOUND, f"{self.name} has no such trial")
        yield


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedDirectory]:
    directory = await ScriptedDirectory().start()
    yield directory
    await directory.stop()


@pytest.fixture
async def orchestrators(scripted: ScriptedDirectory) -> AsyncIterator[list[Orchestrator]]:
    """Two; the Directory knows the first."""
    both = [await Orchestrator(name).start() for name in ("one", "two")]
    scripted.add(LIFE_CYCLE.value, both[0].port)
    yield both
    for orchestrator in both:
        await orchestrator.server.stop(None)


@pytest.fixture
async def context(scripted: ScriptedDirectory) -> AsyncIterator[Context]:
    async with Context(
        "me", None, prometheus_registry=None, directory_endpoint=scripted.url, directory_auth_token=TOKEN
    ) as context:
        yield context


def client(context: Context, endpoint: Endpoint | None = None) -> RemoteService:
    stub = orchestrator_pb2_grpc.TrialLifecycleSPStub
    return RemoteService(context, endpoint or Endpoint(), LIFE_CYCLE, "cogmentAPI.TrialLifecycleSP", stub)


async def start(service: RemoteService) -> str:
    return (await service.call("StartTrial", orchestrator_pb2.TrialStartRequest(), timeout=10)).trial_id


async def start_in_the_end(service: RemoteService, name: str) -> None:
    """Call until the Orchestrator of that name answers."""
    deadline = time.monotonic() + 15
    while True:
        try:
            answer = await start(service)
        except UnavailableError:
            answer = "nobody"
        if answer == name:
            return
        assert time.monotonic() < deadline, answer
        await asyncio.sleep(0.02)


# --- what is asked ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [ServiceType.LIFE_CYCLE, ServiceType.CLIENT_ACTOR, ServiceType.DATASTORE, ServiceType.MODEL_REG]
)
async def test_the_place_of_use_says_the_type(scripted: ScriptedDirectory, context: Context, kind: ServiceType):
    """A Controller looks for a life cycle, a Datastore for a datastore...; properties of the URL are asked for, too."""
    scripted.add(kind.value, 1234, a="b")
    await context.channel(Endpoint(), kind)
    await context.channel(Endpoint("cogment://discover?a=b"), kind)
    assert [(i.details.type, dict(i.details.properties)) for i in scripted.inquiries] == [
        (kind.value, {}),
        (kind.value, {"a": "b"}),
    ]
    assert scripted.tokens == [TOKEN, TOKEN]


async def test_a_type_and_a_number_in_the_url_count(
    scripted: ScriptedDirectory, orchestrators: list[Orchestrator], context: Context, caplog: pytest.LogCaptureFixture
):
    """They say what to look for, whatever the place of use expects."""
    number = scripted.add(ServiceType.OTHER.value, orchestrators[1].port)
    assert await start(client(context, Endpoint("cogment://discover/lifecycle"))) == "one"
    assert not caplog.records
    assert await start(client(context, Endpoint("cogment://discover/other"))) == "two"
    assert "looks for something else than the life cycle service" in caplog.text
    assert await start(client(context, Endpoint(f"cogment://discover/service?__id={number}"))) == "two"
    assert scripted.inquiries[-1].service_id == number


async def test_the_newest_that_can_be_used_is_taken(
    scripted: ScriptedDirectory, orchestrators: list[Orchestrator], context: Context
):
    """What is no address, or for TLS only, is passed over."""
    scripted.add(LIFE_CYCLE.value, orchestrators[1].port)
    scripted.add(LIFE_CYCLE.value, 1, "unix:/x")
    scripted.add(LIFE_CYCLE.value, 1, "127.0.0.1", GRPC_SSL)
    scripted.add(LIFE_CYCLE.value, 0, "client", COGMENT)
    assert await start(client(context)) == "two"


# --- what it fails with -----------------------------------------------------------------------------------------------


async def test_without_a_directory_the_error_says_what_is_needed():
    """It is an error of the endpoint, at once."""
    async with Context("me", None, prometheus_registry=None) as context:
        with pytest.raises(EndpointError, match=r"no Directory is configured.*Context\(directory_endpoint"):
            await start(client(context))


async def test_what_is_not_found_is_told_with_what_was_asked(scripted: ScriptedDirectory, context: Context):
    """What was asked, and of whom; the token in a URL is not repeated."""
    url = f"cogment://discover?a=b&__authentication-token={TOKEN}"
    with pytest.raises(EndpointError, match="LIFE_CYCLE service with a=b") as caught:
        await start(client(context, Endpoint(url)))
    assert scripted.url in str(caught.value)
    assert TOKEN not in str(caught.value)
    with pytest.raises(EndpointError, match="no service with the number 9"):
        await start(client(context, Endpoint("cogment://discover/service?__id=9")))


async def test_tls_is_not_given_up(scripted: ScriptedDirectory, orchestrators: list[Orchestrator], context: Context):
    """An endpoint that asks for TLS is not led to a service without."""
    with pytest.raises(EndpointError, match="only without TLS"):
        await start(client(context, Endpoint(use_ssl=True)))


async def test_a_directory_that_is_away_is_said_at_once(scripted: ScriptedDirectory, context: Context):
    """Inquiries fail as calls do that cannot reach their server."""
    await scripted.stop()
    with pytest.raises(UnavailableError, match="Inquire"):
        await asyncio.wait_for(start(client(context)), 10)


# --- how long it is used ----------------------------------------------------------------------------------------------


async def test_a_client_stays_with_what_it_found(
    scripted: ScriptedDirectory, orchestrators: list[Orchestrator], context: Context
):
    """All calls go to the same Orchestrator, for as long as it is there; calls at once ask once."""
    service = client(context)
    assert set(await asyncio.gather(*(start(service) for _ in range(20)))) == {"one"}
    scripted.add(LIFE_CYCLE.value, orchestrators[1].port)
    await scripted.stop()
    assert await start(client(context)) == "one"
    assert len(scripted.inquiries) == 1


async def test_when_it_is_gone_another_one_is_looked_for(
    scripted: ScriptedDirectory, orchestrators: list[Orchestrator], context: Context
):
    """The call that meets the loss fails; the next ones ask the Directory again."""
    service = client(context)
    assert await start(service) == "one"
    await orchestrators[0].server.stop(None)
    scripted.add(LIFE_CYCLE.value, orchestrators[1].port)
    await start_in_the_end(service, "two")


async def test_when_nothing_better_is_known_the_old_address_is_tried_on(
    scripted: ScriptedDirectory, orchestrators: list[Orchestrator], context: Context, caplog: pytest.LogCaptureFixture
):
    """A Directory that is away too, or has lost its entries, does not keep a client from one that comes back."""
    service = client(context)
    assert await start(service) == "one"
    await orchestrators[0].server.stop(None)
    scripted.entries.clear()
    with pytest.raises(UnavailableError):
        for _ in range(3):
            await start(service)
    await scripted.stop()
    await orchestrators[0].start(orchestrators[0].port)
    await start_in_the_end(service, "one")


async def test_joining_a_trial_discovers_the_orchestrator(
    scripted: ScriptedDirectory, orchestrators: list[Orchestrator], context: Context
):
    """A client actor looks for an Orchestrator that takes client actors, and for another one if that is gone."""

    async def join() -> str:
        with pytest.raises(RpcError) as caught:
            await asyncio.wait_for(context.join_trial("trial", actor_name="ann"), 20)
        return str(caught.value)

    async def impl(session: Any) -> None: ...

    context.register_actor(impl, "impl", ["player"])
    scripted.add(ServiceType.CLIENT_ACTOR.value, orchestrators[0].port)
    assert "one has no such trial" in await join()
    await orchestrators[0].server.stop(None)
    scripted.add(ServiceType.CLIENT_ACTOR.value, orchestrators[1].port)
    deadline = time.monotonic() + 15
    while "two has no such trial" not in (said := await join()):
        assert time.monotonic() < deadline, said
    assert [inquiry.details.type for inquiry in scripted.inquiries[:1]] == [ServiceType.CLIENT_ACTOR.value]


async def test_no_secret_is_logged(
    scripted: ScriptedDirectory,
    orchestrators: list[Orchestrator],
    context: Context,
    caplog: pytest.LogCaptureFixture,
):
    """Neither the token of the Context nor that of a URL, at any level."""
    caplog.set_level(1, "cogment.sdk")
    scripted.add(ServiceType.OTHER.value, orchestrators[0].port)
    service = client(context, Endpoint(f"cogment://discover/other?__authentication-token={TOKEN}"))
    assert await start(service) == "one"
    await orchestrators[0].server.stop(None)
    scripted.entries.clear()
    for _ in range(2):
        with pytest.raises(UnavailableError) as caught:
            await start(service)
        assert TOKEN not in str(caught.value)
    assert any(record.levelno == logging.WARNING for record in caplog.records)
    assert TOKEN not in caplog.text
