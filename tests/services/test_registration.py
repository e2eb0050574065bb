"""Servers that register themselves in a Directory, and the options of their commands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import click
import pytest
import trustme
from click.testing import CliRunner

from cogment_core import registration as core_registration
from cogment_core.directory import Directory, DirectoryEntry, ServiceType
from cogment_core.errors import EndpointError, RefusedError, UnavailableError
from cogment_core.offers import release
from cogment_services.cli.directory_options import directory_options, directory_settings
from cogment_services.directory import DirectoryServer
from cogment_services.directory.registry import Policy
from cogment_services.directory.tokens import digest
from cogment_services.orchestrator.orchestrator import Orchestrator
from cogment_services.registration import DirectorySettings, registered
from cogment_services.tls import load_tls

TOKEN = "planted-token"
TLS = Path(__file__).parents[1] / "data" / "tls"
DIRECTORYS = ("server.key", "ca.pem", "server.pem")
"""The files of a Directory with TLS."""


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_registration, "PERIOD", 0.05)
    monkeypatch.setattr(core_registration, "RETRY", 0.05)


@pytest.fixture
async def directory() -> AsyncIterator[DirectoryServer]:
    async with DirectoryServer(port=0, grace=0) as server:
        yield server


async def entries(directory: DirectoryServer) -> list[DirectoryEntry]:
    client = Directory(f"grpc://127.0.0.1:{directory.port}", TOKEN)
    try:
        return await client.entries()
    finally:
        await client.close()


async def until_registered(directory: DirectoryServer) -> None:
    """Wait until both services of an Orchestrator are registered."""
    deadline = time.monotonic() + 20
    while True:
        try:
            if len(await entries(directory)) == 2:
                return
        except UnavailableError:  # gRPC remembers for a moment that nobody was there
            pass
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def settings(directory: DirectoryServer, **changes: Any) -> DirectorySettings:
    return DirectorySettings(f"grpc://127.0.0.1:{directory.port}", TOKEN, **changes)


def orchestrator(settings: DirectorySettings | None, **options: Any) -> Any:
    server = Orchestrator(port=0, actor_port=0, grace=0, **options)
    services = {ServiceType.CLIENT_ACTOR: lambda: server.actor_port, ServiceType.LIFE_CYCLE: lambda: server.port}
    return registered(server, settings, lambda: {kind: port() for kind, port in services.items()}, host="127.0.0.1")


async def test_an_orchestrator_registers_both_of_its_services(directory: DirectoryServer) -> None:
    """Where it listens, with the release and the source; until it is closed."""
    server = orchestrator(settings(directory, properties={"a": "b"}))
    await server.start()
    life_cycle, client_actor = await entries(directory)
    assert (life_cycle.type, client_actor.type) == (ServiceType.LIFE_CYCLE, ServiceType.CLIENT_ACTOR)
    for entry in (life_cycle, client_actor):
        assert f":{entry.port}]" in server.listening
        assert entry.host == "127.0.0.1"
        assert entry.properties == {"a": "b", "__registration_source": "Self-Implicit", "__version": release()}
    await server.close(0)
    assert await entries(directory) == []


async def test_a_host_that_is_given_is_registered(directory: DirectoryServer) -> None:
    """It is said that it was given."""
    server = orchestrator(settings(directory, host="localhost"))
    await server.start()
    for entry in await entries(directory):
        assert (entry.host, entry.properties["__registration_source"]) == ("localhost", "Self-Command_Line")
    await server.close(0)


async def test_registration_can_be_switched_off(directory: DirectoryServer) -> None:
    """Then the server is left as it is; so it is without a Directory."""
    server = Orchestrator()
    assert registered(server, settings(directory, auto_register=False), dict, host="127.0.0.1") is server
    assert registered(server, None, dict, host="127.0.0.1") is server
    await server.close(0)


async def test_a_refusal_keeps_the_server_from_starting() -> None:
    """A Directory that does not know the token says no; the server says why."""
    policy = Policy(tokens=frozenset([digest("another")]))
    async with DirectoryServer(port=0, grace=0, policy=policy) as directory:
        server = orchestrator(settings(directory))
        with pytest.raises(RefusedError) as caught:
            await server.start()
        assert TOKEN not in str(caught.value)
        await server.close(0)


async def test_a_server_starts_without_its_directory_and_registers_later(caplog: pytest.LogCaptureFixture) -> None:
    """And again, when the Directory has come back with nothing."""
    async with DirectoryServer(port=0, grace=0) as directory:
        port = directory.port
    server = orchestrator(DirectorySettings(f"grpc://127.0.0.1:{port}", TOKEN))
    await server.start()
    assert "does not know of the services here" in caplog.text
    for _ in range(2):
        async with DirectoryServer(port=port, grace=0) as directory:
            await until_registered(directory)
    await server.close(0)


async def test_a_server_registers_with_its_new_certificate(tmp_path: Path) -> None:
    """A Directory with mutual TLS that does not let it in does so once its files are replaced, without a restart."""
    files = [tmp_path / name for name in ("client.key", "ca.pem", "client.pem")]
    stranger = trustme.CA().issue_cert("localhost")
    stranger.private_key_pem.write_to_path(str(files[0]))
    files[1].write_bytes((TLS / "ca.pem").read_bytes())
    stranger.cert_chain_pems[0].write_to_path(str(files[2]))
    mine, theirs = load_tls(*map(str, files)), load_tls(*(str(TLS / name) for name in DIRECTORYS))
    async with DirectoryServer(port=0, grace=0, tls=theirs) as directory:
        address = DirectorySettings(f"grpc://localhost:{directory.port}", TOKEN)
        life_cycle = Orchestrator(port=0, tls=mine, grace=0)
        services = {ServiceType.LIFE_CYCLE: lambda: life_cycle.port}
        server = registered(
            life_cycle, address, lambda: {kind: port() for kind, port in services.items()}, host="127.0.0.1", tls=mine
        )
        await server.start()
        client = Directory(
            load_tls(*(str(TLS / path.name) for path in files)).outgoing().with_url(address.endpoint), TOKEN
        )
        assert await client.entries() == []
        for path in files[::2]:
            path.write_bytes((TLS / path.name).read_bytes())
        deadline = time.monotonic() + 20
        while not await client.entries():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        await client.close()
        await server.close(0)


async def test_a_server_in_a_hurry_does_not_wait_for_the_directory(directory: DirectoryServer) -> None:
    """Told to end now, it does."""
    server = orchestrator(settings(directory))
    await server.start()
    register = server._registrar

    async def slow(patience: float | None = None) -> None:
        await asyncio.sleep(30)

    register.close, close = slow, register.close
    first = asyncio.get_running_loop().create_task(server.close(5.0))
    await asyncio.sleep(0.05)
    start = time.monotonic()
    await server.close(0.0)
    await first
    assert time.monotonic() - start < 5
    await close()


def test_a_directory_is_an_address() -> None:
    """Nothing can be discovered without one; the token is not shown."""
    with pytest.raises(EndpointError):
        registered(Orchestrator(), DirectorySettings("cogment://discover"), dict, host="127.0.0.1")
    assert TOKEN not in repr(DirectorySettings("grpc://d:1", TOKEN))


# --- options ----------------------------------------------------------------------------------------------------------


@click.command()
@directory_options("SOME_SERVICE", auto_register=True)
def command(**options: Any) -> None:
    """Print what was said."""
    said = directory_settings(options)
    if said is None:
        click.echo("none")
    else:
        click.echo(repr((said.endpoint, said.token, said.auto_register, said.host, dict(said.properties))))


def run(*args: str, **environment: str) -> str:
    result = CliRunner().invoke(command, args, env={"COGMENT_DIRECTORY_ENDPOINT": None, **environment})
    return result.output.strip()


def test_without_an_endpoint_there_is_no_directory() -> None:
    """Whatever else is said."""
    assert run("--directory_authentication_token=t") == "none"
    assert run(COGMENT_DIRECTORY_ENDPOINT="") == "none"


def test_options_come_before_the_environment() -> None:
    """All of them; properties of the command line replace those of the environment."""
    environment = {
        "COGMENT_DIRECTORY_ENDPOINT": "grpc://e:1",
        "COGMENT_DIRECTORY_AUTHENTICATION_TOKEN": "te",
        "COGMENT_SOME_SERVICE_DIRECTORY_AUTO_REGISTER": "0",
        "COGMENT_SOME_SERVICE_DIRECTORY_REGISTRATION_HOST": "he",
        "COGMENT_SOME_SERVICE_DIRECTORY_REGISTRATION_PROPERTIES": " a = 1 , b,, c=x y ",
    }
    assert run(**environment) == repr(("grpc://e:1", "te", False, "he", {"a": "1", "b": "", "c": "x y"}))
    flags = (
        "--directory_endpoint=grpc://f:1",
        "--directory_authentication_token=tf",
        "--directory_auto_register=true",
        "--directory_registration_host=hf",
        "--directory_registration_properties=d=1,e",
        "--directory_registration_properties=d=2",
    )
    assert run(*flags, **environment) == repr(("grpc://f:1", "tf", True, "hf", {"d": "2", "e": ""}))


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--directory_endpoint=cogment://discover", "is no address"),
        ("--directory_endpoint=nonsense", "nonsense"),
        ("--directory_registration_properties=a=b=c", "name=value"),
        ("--directory_authentication_token=planted\n", "printable"),
    ],
)
def test_what_is_wrong_is_said(flag: str, said: str) -> None:
    """The token is not repeated."""
    output = run("--directory_endpoint=grpc://d:1", flag)
    assert said in output
    assert "planted" not in output


def test_the_token_is_in_no_help() -> None:
    """The help names the variable, and not what is in it."""
    output = run("--help", COGMENT_DIRECTORY_AUTHENTICATION_TOKEN="planted")
    assert "COGMENT_DIRECTORY_AUTHENTICATION_TOKEN" in output
    assert "planted" not in output
