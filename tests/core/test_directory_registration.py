"""What a Context serves is in the Directory while it is served."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from scripted_directory import GRPC_SSL, SECRET, ScriptedDirectory

from cogment_core import offers, own_host, registration
from cogment_core.context import Context
from cogment_core.endpoints import Endpoint, ServedEndpoint, ServiceType
from cogment_core.errors import CogmentError, RefusedError
from cogment_core.inprocess import InProcessEndpoint, InProcessServer
from cogment_core.specs import ActorClass, ActorClassList

TOKEN = "planted-token"
TLS = Path(__file__).parents[1] / "data" / "tls"
SETTINGS: Any = SimpleNamespace(
    actor_classes=ActorClassList(*(ActorClass(name, None, None, None) for name in ("player", "judge"))),
    trial=SimpleNamespace(config_type=None),
    environment=SimpleNamespace(config_type=None),
)

Serve = Callable[..., Awaitable["asyncio.Task[None]"]]


async def impl(session: Any) -> None: ...


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything periodic is quick."""
    monkeypatch.setattr(registration, "PERIOD", 0.05)
    monkeypatch.setattr(registration, "RETRY", 0.05)


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedDirectory]:
    directory = await ScriptedDirectory().start()
    yield directory
    await directory.stop()


@pytest.fixture
async def context(scripted: ScriptedDirectory) -> AsyncIterator[Context]:
    async with Context(
        "me", SETTINGS, prometheus_registry=None, directory_endpoint=scripted.url, directory_auth_token=TOKEN
    ) as context:
        yield context


async def serve(context: Context, *args: Any, **options: Any) -> asyncio.Task[None]:
    serving = asyncio.get_running_loop().create_task(context.serve_all_registered(*args, **options))
    await asyncio.wait_for(context.wait_until_serving(), 20)
    return serving


def told(scripted: ScriptedDirectory) -> list[tuple[ServiceType, dict[str, str]]]:
    """Types and properties that were registered, without what is always there."""
    return [
        (
            ServiceType(request.details.type),
            {name: value for name, value in request.details.properties.items() if name not in ALWAYS},
        )
        for request in scripted.registered
    ]


ALWAYS = {"__registration_source": "PythonSDK-Implicit", "__version": offers.release()}


# --- what is registered -----------------------------------------------------------------------------------------------


async def test_everything_that_is_served_is_registered(scripted: ScriptedDirectory, context: Context):
    """Before `wait_until_serving` returns: one entry per actor class, in order of kinds, with the known properties."""
    context.register_datalog(impl, {"d": "1"})
    context.register_pre_trial_hook(impl)
    context.register_environment(impl, "world", {"e": "1"})
    context.register_actor(impl, "two", ["judge", "player"], {"a": "1"})
    context.register_actor(impl, "any")
    await serve(context, ServedEndpoint(), directory_registration_host="host-1")
    assert told(scripted) == [
        (ServiceType.ACTOR, {"a": "1", "__implementation": "two", "__actor_class": "judge"}),
        (ServiceType.ACTOR, {"a": "1", "__implementation": "two", "__actor_class": "player"}),
        (ServiceType.ACTOR, {"__implementation": "any", "__actor_class": "player"}),
        (ServiceType.ACTOR, {"__implementation": "any", "__actor_class": "judge"}),
        (ServiceType.ENVIRONMENT, {"e": "1", "__implementation": "world"}),
        (ServiceType.HOOK, {}),
        (ServiceType.DATALOG, {"d": "1"}),
    ]
    for request in scripted.registered:
        assert dict(request.details.properties).items() >= ALWAYS.items()
        endpoint = request.endpoint
        assert (endpoint.protocol, endpoint.host, endpoint.port) == (1, "host-1", context.served_port)
        assert not request.permanent
    assert set(scripted.tokens) == {TOKEN}


async def test_without_classes_and_specs_an_actor_has_its_name_only(
    scripted: ScriptedDirectory, caplog: pytest.LogCaptureFixture
):
    """There are no classes to register it for, which is worth a warning."""
    async with Context("me", None, prometheus_registry=None, directory_endpoint=scripted.url) as context:
        context.register_actor(impl, "any")
        await serve(context)
        assert told(scripted) == [(ServiceType.ACTOR, {"__implementation": "any"})]
    assert "'any' is registered without actor classes" in caplog.text


@pytest.mark.parametrize("listening", ["127.0.0.1", "::1", "localhost"])
async def test_the_address_that_is_listened_on_is_registered(
    scripted: ScriptedDirectory, context: Context, listening: str
):
    """A server that listens at one address is reached there only."""
    context.register_environment(impl)
    await serve(context, ServedEndpoint(host=listening))
    assert scripted.registered[0].endpoint.host == listening


async def test_with_all_interfaces_an_address_of_this_machine_is_registered(
    scripted: ScriptedDirectory, context: Context
):
    """One that others can reach, if there is one."""
    context.register_environment(impl)
    await serve(context)
    host = scripted.registered[0].endpoint.host
    assert own_host._source(own_host.socket.AF_INET, (host, 9)) in (host, "127.0.0.1")
    found = [own_host._source(*elsewhere[:1], (elsewhere[1], 9)) for elsewhere in own_host._ELSEWHERE]
    assert ipaddress.ip_address(host).is_loopback is (found == [None, None])


async def test_tls_is_registered(scripted: ScriptedDirectory, context: Context):
    """Who looks for it has to know."""
    served = ServedEndpoint(host="127.0.0.1")
    served.private_key_certificate_chain_pairs = [
        ((TLS / "server.key").read_text(), (TLS / "server.pem").read_text()),
    ]
    context.register_environment(impl)
    await serve(context, served)
    assert scripted.registered[0].endpoint.protocol == GRPC_SSL


async def test_nothing_is_registered_of_what_is_served_in_process(scripted: ScriptedDirectory, context: Context):
    """It has no address."""
    context.register_environment(impl)
    context.serve_in_process()
    await asyncio.sleep(0)
    assert scripted.registered == []


# --- until when -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["close", "cancel", "stop"])
async def test_it_is_deregistered_when_serving_ends(scripted: ScriptedDirectory, context: Context, end: str):
    """However it ends."""
    context.register_environment(impl)
    context.register_actor(impl, "a", ["player"])
    serving = await serve(context)
    assert len(scripted.entries) == 2
    if end == "close":
        await context.close()
    elif end == "cancel":
        serving.cancel()
    else:
        await context._grpc_server.stop(None)
    await asyncio.wait({serving}, timeout=10)
    assert scripted.entries == {}


async def test_a_mute_directory_does_not_hold_up_the_end(
    scripted: ScriptedDirectory, context: Context, monkeypatch: pytest.MonkeyPatch
):
    """Deregistering has a bound."""
    monkeypatch.setattr(registration, "LAST_PATIENCE", 0.4)
    context.register_environment(impl)
    serving = await serve(context)
    scripted.mute = True
    start = time.monotonic()
    await context.close()
    await serving
    assert time.monotonic() - start < 4


async def test_a_registration_that_ends_after_serving_leaves_no_entry(scripted: ScriptedDirectory, context: Context):
    """One that is under way when serving ends is waited for, and undone."""
    context.register_environment(impl)
    slow = asyncio.Event()
    register = scripted.Register

    async def late(requests: Any, call: Any) -> AsyncIterator[Any]:
        async for reply in register(requests, call):
            slow.set()
            await asyncio.sleep(0.1)
            yield reply

    scripted.Register = late  # type: ignore[method-assign]
    await scripted.stop()
    await scripted.start(scripted.port)
    serving = asyncio.get_running_loop().create_task(context.serve_all_registered())
    await asyncio.wait_for(slow.wait(), 10)
    assert scripted.entries
    await context.close()
    await asyncio.wait({serving}, timeout=10)
    assert scripted.entries == {}


# --- what goes wrong --------------------------------------------------------------------------------------------------


async def test_a_refusal_ends_serving(scripted: ScriptedDirectory, context: Context):
    """It says why, registers nothing, and gives the port back: serving can be tried again."""
    context.register_environment(impl)
    scripted.refuses = "not that one"
    with pytest.raises(RefusedError, match="not that one"):
        await asyncio.wait_for(context.serve_all_registered(), 20)
    with pytest.raises(CogmentError, match="not that one"):
        await context.wait_until_serving()
    assert context.served_port == 0
    scripted.refuses = ""
    await serve(context)
    assert len(scripted.entries) == 1


async def test_a_refusal_of_a_later_service_deregisters_the_earlier(scripted: ScriptedDirectory, context: Context):
    """All are registered or none."""
    context.register_actor(impl, "a", ["player"])
    context.register_environment(impl)
    register = scripted.Register

    async def choosy(requests: Any, call: Any) -> AsyncIterator[Any]:
        scripted.refuses = "no more" if scripted.registered else ""
        async for reply in register(requests, call):
            yield reply

    scripted.Register = choosy  # type: ignore[method-assign]
    await scripted.stop()
    await scripted.start(scripted.port)
    with pytest.raises(RefusedError, match="no more"):
        await asyncio.wait_for(context.serve_all_registered(), 20)
    assert (len(scripted.registered), scripted.entries) == (2, {})


async def test_without_a_directory_serving_begins_and_goes_on_trying(
    scripted: ScriptedDirectory, context: Context, caplog: pytest.LogCaptureFixture
):
    """Services work without one; the log says so, once, and when that is over."""
    caplog.set_level(logging.INFO, "cogment.sdk")
    await scripted.stop()
    context.register_environment(impl)
    await serve(context)
    await asyncio.sleep(0.3)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "does not know of the services here" in warnings[0]
    await scripted.start(scripted.port)
    await scripted.until(lambda: scripted.entries)
    await scripted.until(lambda: "knows of the services here again" in caplog.text)


async def test_a_slow_directory_is_not_waited_for_long(
    scripted: ScriptedDirectory, context: Context, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """After a while serving begins without its answer."""
    monkeypatch.setattr(registration, "FIRST_PATIENCE", 0.2)
    monkeypatch.setattr(registration, "LAST_PATIENCE", 0.4)
    scripted.mute = True
    context.register_environment(impl)
    start = time.monotonic()
    await serve(context)
    assert time.monotonic() - start < 5
    assert "serving begins before it has answered" in caplog.text


async def test_what_a_directory_has_forgotten_is_registered_again(scripted: ScriptedDirectory, context: Context):
    """It was restarted, and its entries are gone: all come back."""
    context.register_environment(impl)
    context.register_actor(impl, "a", ["player", "judge"])
    await serve(context)
    await scripted.stop()
    scripted.entries.clear()
    await scripted.start(scripted.port)
    await scripted.until(lambda: len(scripted.entries) == 3)
    await context.close()
    assert scripted.entries == {}


async def test_only_what_is_missing_is_registered_again(scripted: ScriptedDirectory, context: Context):
    """An entry that is still there stays."""
    context.register_environment(impl)
    context.register_actor(impl, "a", ["player"])
    await serve(context)
    kept, lost = sorted(scripted.entries)
    del scripted.entries[lost]
    await scripted.until(lambda: len(scripted.entries) == 2)
    assert kept in scripted.entries
    assert len(scripted.registered) == 3


async def test_registrations_that_were_lost_are_counted(scripted: ScriptedDirectory):
    """The first ones are not; operators see that a Directory forgets."""
    registry = CollectorRegistry()
    async with Context(
        "me", SETTINGS, prometheus_registry=registry, directory_endpoint=scripted.url, directory_auth_token=TOKEN
    ) as context:
        context.register_environment(impl)
        context.register_actor(impl, "a", ["player"])
        await serve(context)
        assert registry.get_sample_value("directory_reregistrations_total") == 0
        del scripted.entries[max(scripted.entries)]
        await scripted.until(lambda: len(scripted.entries) == 2)
        await scripted.until(lambda: registry.get_sample_value("directory_reregistrations_total") == 1)


async def test_what_a_directory_hides_is_registered_less_and_less_often(scripted: ScriptedDirectory, context: Context):
    """A Directory that cannot reach a service does not show it: it is not flooded, and keeps no double."""
    context.register_environment(impl)
    await serve(context)
    scripted.hides = True
    await asyncio.sleep(1.0)  # at 0.05 s, 0.1 s, 0.2 s, ... each
    assert 2 <= len(scripted.registered) <= 6
    assert len(scripted.entries) == 1
    scripted.hides = False
    await scripted.until(lambda: len(scripted.entries) == 1)


async def test_watching_is_cheap(scripted: ScriptedDirectory, context: Context):
    """One service is asked for at a time, in turn, however many there are."""
    for number in range(20):
        context.register_actor(impl, f"a{number}", ["player"])
    await serve(context)
    scripted.inquiries.clear()
    await scripted.until(lambda: len(scripted.inquiries) >= 3)
    assert len({inquiry.service_id for inquiry in scripted.inquiries[:3]}) == 3
    assert len(scripted.registered) == 20


async def test_no_secret_is_logged(scripted: ScriptedDirectory, context: Context, caplog: pytest.LogCaptureFixture):
    """Neither the token nor what the Directory gave us to deregister with, at any level, whatever happens."""
    caplog.set_level(1, "cogment.sdk")
    context.register_environment(impl)
    await serve(context)
    scripted.entries.clear()
    await scripted.until(lambda: scripted.entries)
    await scripted.stop()
    await scripted.until(lambda: "does not know of the services here" in caplog.text)
    scripted.entries.clear()
    await scripted.start(scripted.port)
    await scripted.until(lambda: scripted.entries)
    scripted.refuses = "no"
    scripted.entries.clear()
    await scripted.until(lambda: "does not want a service" in caplog.text)
    await context.close()
    assert "registered in the Directory" in caplog.text
    for secret in (TOKEN, SECRET):
        assert secret not in caplog.text


# --- this machine -----------------------------------------------------------------------------------------------------


async def test_the_address_towards_the_directory_is_the_one(monkeypatch: pytest.MonkeyPatch):
    """A Directory elsewhere sees it; if the Directory is here, others do; without any, there is the loopback."""
    sources = {"10.9.8.7": "10.1.1.1", "127.0.0.1": "127.0.0.1", "198.18.0.1": "10.2.2.2"}
    monkeypatch.setattr(own_host, "_source", lambda family, address: sources.get(address[0]))
    assert await own_host.own_host(Endpoint("grpc://10.9.8.7:9005")) == "10.1.1.1"
    assert await own_host.own_host(Endpoint("grpc://127.0.0.1:9005")) == "10.2.2.2"
    del sources["198.18.0.1"]
    assert await own_host.own_host(Endpoint("grpc://127.0.0.1:9005")) == "127.0.0.1"
    assert await own_host.own_host(InProcessEndpoint(InProcessServer("d"))) == "127.0.0.1"
    assert await own_host.own_host(Endpoint("grpc://10.0.0.1:9005")) is None
    assert await own_host.own_host(Endpoint("grpc://unix:/run/x")) is None


async def test_a_machine_without_an_address_registers_nothing(
    scripted: ScriptedDirectory, context: Context, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """It says so, and serves all the same."""
    monkeypatch.setattr(own_host, "_source", lambda family, address: None)
    context.register_environment(impl)
    await serve(context)
    assert "give the host to register" in caplog.text
    assert scripted.registered == []


async def test_a_loopback_address_is_of_no_use_to_a_directory_elsewhere(
    scripted: ScriptedDirectory, context: Context, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Listening on this machine alone, and registering far away, is most likely a mistake."""
    monkeypatch.setattr(own_host, "_source", lambda family, address: "10.1.1.1")
    context.register_environment(impl)
    await serve(context, ServedEndpoint(host="127.0.0.1"))
    assert "127.0.0.1 is this machine alone" in caplog.text
