"""Servers as processes, and those who should not get in: F10, F11, F13; and a Directory that is frozen."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import socket
import ssl
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509
from google.protobuf.wrappers_pb2 import BytesValue
from harness.clock import bounded
from harness.specs import ACTOR_CLASS, CLIENT, SETTINGS, Role, parameters
from harness.stage import PATIENCE, Process, Stage

import cogment
from cogment.errors import RefusedError, UnavailableError
from cogment_core.join_tokens import JoinTokens
from cogment_services.certs import make_certificates

SERVERS = {
    "orchestrator": ("--lifecycle_port=0", "--actor_port=0"),
    "directory": ("--port=0", "--persistence_file="),
    "trial_datastore": ("--port=0",),
    "model_registry": ("--port=0", "--archive_dir=models"),
}
"""All servers, with what lets several of them run on one machine."""

TOKEN, KEY = "planted-directory-token", "planted-join-key-of-32-characters"
OTHER_TOKEN = "planted-token-of-somebody-else"
FOUND = "cogment://discover"
TRACE = "--log_level=trace"


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers keep their files where they are started."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()


async def start(stage: Stage, name: str, *options: str) -> Process:
    command = (sys.executable, "-m", "cogment_services", "services", name, *SERVERS[name], *options)
    return await stage.server(name, *command)


# --- F13


def _free_port() -> int:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as free:
        return free.getsockname()[1]


def _listening(pid: int) -> set[str]:
    """The addresses, as the kernel writes them, that a process listens on."""
    links = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
    inodes = {link[len("socket:[") : -1] for link in links if link.startswith("socket:[")}
    rows = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]
    ]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and row[9] in inodes}


async def test_f13_all_servers_listen_on_the_loopback_address_only(stage: Stage) -> None:
    """F13: of the sockets that the processes of all four servers listen on, metrics included, none can be reached from
    elsewhere."""
    processes = await asyncio.gather(*(start(stage, name, f"--prometheus_port={_free_port()}") for name in SERVERS))
    for process in processes:
        found = _listening(process.pid)
        assert found, process.name
        loopback = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
        assert found <= loopback, process.name


# --- F11


class Castle:
    """All servers with mutual TLS, a Directory that wants tokens, and an Orchestrator that wants join tokens."""

    def __init__(self, stage: Stage, folder: Path) -> None:
        self.stage = stage
        self.folder = folder
        self.metrics_port = _free_port()
        self.orchestrator: Process
        self.directory: cogment.Endpoint

    async def build(self) -> None:
        make_certificates(self.folder / "certs", ["localhost", "127.0.0.1"], 5)
        (self.folder / "tokens").write_text(f"{TOKEN}\n{OTHER_TOKEN}\n")
        (self.folder / "key").write_text(f"{KEY}\n")
        certs = self.folder / "certs"
        tls = (f"--private_key={certs}/server.key", f"--trust_chain={certs}/server.pem", f"--root_cert={certs}/ca.pem")
        directory = await start(self.stage, "directory", *tls, f"--tokens_file={self.folder}/tokens", TRACE)
        self.directory = self.endpoint(f"grpc://localhost:{directory.port}")
        common = (*tls, f"--directory_endpoint={self.directory.url}", "--directory_registration_host=localhost", TRACE)
        orchestrator = (*common, f"--join_key_file={self.folder}/key", f"--prometheus_port={self.metrics_port}")
        self.orchestrator, *_ = await asyncio.gather(
            start(self.stage, "orchestrator", *orchestrator),
            start(self.stage, "trial_datastore", *common),
            start(self.stage, "model_registry", *common),
        )

    def endpoint(self, url: str = FOUND) -> cogment.Endpoint:
        endpoint = cogment.Endpoint(url)
        pems = ("client.key", "ca.pem", "client.pem")
        endpoint.set_from_files(*(self.folder / "certs" / name for name in pems))
        return endpoint

    def served(self) -> cogment.ServedEndpoint:
        names = ("server.key", "server.pem", "ca.pem")
        key, chain, root = ((self.folder / "certs" / name).read_text() for name in names)
        served = cogment.ServedEndpoint(0, host="127.0.0.1")
        served.private_key_certificate_chain_pairs = [(key, chain)]
        served.root_certificates = root
        return served

    def context(self, token: str | None = TOKEN) -> cogment.Context:
        return cogment.Context(
            "test", SETTINGS, prometheus_registry=None, directory_endpoint=self.directory, directory_auth_token=token
        )

    def secrets(self) -> list[str]:
        keys = [(self.folder / "certs" / name).read_text().splitlines()[1] for name in ("server.key", "client.key")]
        return [TOKEN, OTHER_TOKEN, KEY, *keys]


async def _world(session: Any) -> None:
    session.start([("*", BytesValue(value=b"planted-payload"))])
    async for event in session.all_events():
        if event.actions:
            session.end([("*", BytesValue(value=b"end"))])


async def _player(session: Any) -> None:
    session.start()
    async for event in session.all_events():
        if event.observation and event.type is cogment.EventType.ACTIVE:
            session.do_action(BytesValue(value=b"planted-payload"))


@contextlib.asynccontextmanager
async def _serving(context: cogment.Context, served: cogment.ServedEndpoint) -> AsyncIterator[None]:
    serving = asyncio.create_task(context.serve_all_registered(served, directory_registration_host="localhost"))
    await asyncio.wait_for(context.wait_until_serving(), PATIENCE)
    try:
        yield
    finally:
        serving.cancel()
        await asyncio.wait({serving})


async def test_f11_no_process_tells_a_secret(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """F11: the token of the Directory, the key for join tokens, those tokens, private keys and payloads are in no log
    at TRACE, no error, no metric and no ``repr``, whatever goes well or wrong."""
    caplog.set_level(1)
    monkeypatch.setenv("COGMENT_DIRECTORY_AUTHENTICATION_TOKEN", TOKEN)
    castle = Castle(stage, tmp_path)
    await castle.build()
    monkeypatch.delenv("COGMENT_DIRECTORY_AUTHENTICATION_TOKEN")
    errors: list[str] = []
    async with castle.context() as context, castle.context(OTHER_TOKEN) as other:
        for each in (context, other):
            each.register_environment(_world, "world")
        context.register_actor(_player, "player", [ACTOR_CLASS])
        async with _serving(context, castle.served()):
            with pytest.raises(RefusedError) as refused:  # F3: the name is taken
                await asyncio.wait_for(other.serve_all_registered(castle.served()), PATIENCE)
            errors.append(repr(refused.value))
            controller = context.get_controller(castle.endpoint())
            params = parameters(f"{FOUND}?__authentication-token={TOKEN}", [Role("ann", CLIENT)], datalog=FOUND)
            trial = await controller.start_trial(trial_params=params)
            token = JoinTokens(KEY).issue(trial, "ann")
            tampered = f"{token[:-2]}{'xy' if token[-2:] != 'xy' else 'ab'}"
            for wrong in (tampered, f"{token}\n", JoinTokens(KEY).issue("elsewhere", "ann")):
                with pytest.raises(cogment.CogmentError) as caught:
                    await context.join_trial(trial, castle.endpoint(), actor_name="ann", join_token=wrong)
                errors.append(repr(caught.value))
            await context.join_trial(trial, castle.endpoint(), actor_name="ann", join_token=token)
            with pytest.raises(cogment.CogmentError) as caught:
                await context.join_trial(trial, castle.endpoint(), actor_name="ann", join_token=token)
            errors.extend([repr(caught.value), repr(castle.directory), repr(context.get_context_directory())])
    url = f"http://127.0.0.1:{castle.metrics_port}/metrics"
    metrics = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=PATIENCE).read().decode())
    told = {process.name: process.transcript() for process in stage.processes}
    told |= {"this process": caplog.text, "errors": "\n".join(errors), "metrics": metrics}
    assert "orchestrator_trials" in metrics
    assert "another token" in told["errors"]
    for where, text in told.items():
        for secret in (*castle.secrets(), token, tampered, "planted-payload"):
            assert secret not in text, where
        assert not re.search(r"v1\.[\w-]{40,}\.[\w-]{40,}", text), where


# --- F10


def _certificates(folder: Path, authority: trustme.CA) -> None:
    """Write the server's files anew, one after the other, as tools do that renew certificates."""
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    pems = {"key": certificate.private_key_pem.bytes(), "chain": certificate.cert_chain_pems[0].bytes()}
    for name, pem in pems.items():
        (folder / f"{name}.new").write_bytes(pem)
        (folder / f"{name}.new").replace(folder / f"{name}.pem")


def _connect(port: int, context: ssl.SSLContext, times: int) -> Iterator[int]:
    """Connect so many times; gives the numbers of the certificates that were shown."""
    for _ in range(times):
        with (
            socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            yield int(str((secure.getpeercert() or {})["serialNumber"]), 16)


async def test_f10_certificates_are_replaced_under_load(stage: Stage, tmp_path: Path) -> None:
    """F10: while the files change, 500 connections are made: the server lives, shows new certificates without a
    restart, and a stream that was open before goes on."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "root.pem")
    _certificates(tmp_path, authority)
    mine = authority.issue_cert("localhost")
    files = (f"--private_key={tmp_path}/key.pem", f"--trust_chain={tmp_path}/chain.pem")
    server = await start(stage, "orchestrator", *files, f"--root_cert={tmp_path}/root.pem")
    tls = ssl.create_default_context()
    authority.configure_trust(tls)
    mine.configure_cert(tls)

    endpoint = cogment.Endpoint(f"grpc://localhost:{server.port}")
    endpoint.private_key = mine.private_key_pem.bytes().decode()
    endpoint.certificate_chain = mine.cert_chain_pems[0].bytes().decode()
    endpoint.root_certificates = authority.cert_pem.bytes().decode()
    async with cogment.Context("test", SETTINGS, prometheus_registry=None) as context:
        controller = context.get_controller(endpoint)
        watching = asyncio.create_task(_first_state(controller))
        assert await asyncio.wait_for(controller.get_trial_info(["no-such-trial"]), PATIENCE) == []
        seen: set[int] = set()
        for _ in range(10):
            work = [asyncio.to_thread(lambda: set(_connect(server.port, tls, 25))) for _ in range(2)]
            connecting = asyncio.gather(*work)
            await asyncio.to_thread(_certificates, tmp_path, authority)
            for shown in await connecting:
                seen |= shown
        last = await asyncio.to_thread(lambda: set(_connect(server.port, tls, 1)))
        assert last == {x509.load_pem_x509_certificate((tmp_path / "chain.pem").read_bytes()).serial_number}
        assert len(seen) >= 5
        assert not watching.done()
        with pytest.raises(cogment.CogmentError):  # nothing is served at this address
            await controller.start_trial(trial_params=parameters("grpc://127.0.0.1:1", []), trial_id_requested="one")
        watching.cancel()
    assert server.is_alive


async def _first_state(controller: Any) -> None:
    async for _ in controller.watch_trials():
        return


# --- E7


async def test_e7_connections_that_say_nothing_do_not_shut_out_others(stage: Stage) -> None:
    """E7: with more of them than the process may have files, others get in once those have had their 5 s."""
    server = await start(stage, "orchestrator")
    resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (200, 200))
    with contextlib.ExitStack() as stack:
        for _ in range(250):
            silent = stack.enter_context(socket.socket())
            silent.setblocking(False)
            silent.connect_ex(("127.0.0.1", server.port))
        begin = time.monotonic()
        async with cogment.Context("test", SETTINGS, prometheus_registry=None) as context:
            controller = context.get_controller(cogment.Endpoint(server.endpoint))
            while True:
                try:
                    assert await asyncio.wait_for(controller.get_trial_info(["no-such-trial"]), 2.0) == []
                    break
                except (asyncio.TimeoutError, UnavailableError):
                    assert time.monotonic() - begin < PATIENCE
    assert server.is_alive


# --- a Directory that is there, and does nothing


async def test_a_frozen_directory_holds_up_nobody_for_long(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials go on, what is registered ends in time, what is new serves, and all is well again when it goes on. In the
    long form: who asks it knows within half a minute that it does not answer."""
    directory = await start(stage, "directory")
    monkeypatch.setenv("COGMENT_DIRECTORY_ENDPOINT", directory.endpoint)
    _, extra = await asyncio.gather(stage.orchestrator(), stage.component("extra", "datalog"))
    # Components have client actors, and so actors, in any case: those of the newest are found, and these are to stay.
    world = await stage.component("world", "environment", "actor")
    async with cogment.Context("test", SETTINGS, prometheus_registry=None) as context:
        controller = context.get_controller()
        running = await controller.start_trial(trial_params=parameters(FOUND, [Role("ann", FOUND)]))
        frozen = directory.freeze()
        asking = asyncio.create_task(controller.start_trial(trial_params=parameters(FOUND, [Role("bob", FOUND)])))
        extra.expected_end = True
        assert await extra.stop() == 0
        assert time.monotonic() - frozen < bounded(8.0)
        late = await stage.component("late", "actor")
        await world.expect("tick", count=len(world.find("tick")) + 2, trial=running)
        if os.environ.get("COGMENT_LONG_TESTS"):
            await asyncio.wait({asking}, timeout=45.0)
            assert isinstance(asking.exception(), UnavailableError)
        directory.thaw()
        await late.expect_log("registered in the Directory", timeout=60)
        trials = [running, await controller.start_trial(trial_params=parameters(FOUND, [Role("cay", FOUND)]))]
        await asyncio.wait({asking}, timeout=60)
        if asking.done() and asking.exception() is None:
            trials.append(asking.result())
        await controller.terminate_trial(trials, hard=True)
