"""``cogment services orchestrator`` as a process: start, signals, files, ports, TLS."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from cogment_core.api import common_pb2, orchestrator_pb2, orchestrator_pb2_grpc

TLS = Path(__file__).parents[1] / "data" / "tls"
PATIENCE = 20.0
READY = re.compile(r"server listening \[port:(\d+)\](?: \[actor_port:(\d+)\])?\n")


class Process:
    """A running command."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.port = 0
        self.actor_port = 0

    async def ready(self) -> None:
        """Wait for the line that says where it listens."""
        assert self.process.stdout is not None
        line = (await asyncio.wait_for(self.process.stdout.readline(), PATIENCE)).decode()
        match = READY.fullmatch(line)
        assert match, (line, await self.log())
        self.port = int(match[1])
        self.actor_port = int(match[2] or match[1])

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def exit(self) -> tuple[int, float]:
        """Wait for its end. Returns its exit code, and how long that took."""
        began = time.monotonic()
        await asyncio.wait_for(self.process.wait(), PATIENCE)
        assert self.process.returncode is not None
        return self.process.returncode, time.monotonic() - began

    async def log(self) -> str:
        assert self.process.stderr is not None
        return (await asyncio.wait_for(self.process.stderr.read(), PATIENCE)).decode()

    def channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(f"127.0.0.1:{self.port}")


@pytest.fixture
async def start() -> AsyncIterator[Callable[..., Any]]:
    """Starts ``cogment services orchestrator`` on free ports."""
    running: list[Process] = []
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COGMENT_", "TRIAL_"))}

    async def start(*args: str, ports: bool = True) -> Process:
        free = ("--lifecycle_port=0", "--actor_port=0") if ports else ()
        process = Process(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cogment_services", "services", "orchestrator", *free, *args),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=environment,
            )
        )
        running.append(process)
        return process

    yield start
    for process in running:
        if process.process.returncode is None:
            process.process.kill()
        await process.process.wait()


async def start_trial(process: Process, params: common_pb2.TrialParams) -> None:
    async with process.channel() as channel:
        stub = orchestrator_pb2_grpc.TrialLifecycleSPStub(channel)
        await stub.StartTrial(orchestrator_pb2.TrialStartRequest(params=params), timeout=PATIENCE)


async def running_trial(process: Process, peers: Any) -> Any:
    """A trial that has begun. Returns its environment and its actor."""
    await start_trial(process, peers.params("alice"))
    alice = await peers.actor()
    await alice.begin()
    environment = await peers.environment()
    await environment.begin(b"0")
    await alice.expect(common_pb2.NORMAL, "observation")
    return environment, alice


async def test_a_running_trial_ends_within_the_grace(start, peers, tmp_path, wait_until_not_serving) -> None:
    """SIGTERM ends trials with their step, the process with 0, and the status file says I, R and T."""
    status = tmp_path / "status"
    process = await start(f"--status_file={status}", "--grace=10")
    await process.ready()
    assert status.read_text() == "IR"
    environment, alice = await running_trial(process, peers)
    process.signal(signal.SIGTERM)
    async with process.channel() as channel:
        await wait_until_not_serving(channel)
    await alice.act()
    await environment.expect(common_pb2.LAST)
    await environment.expect(common_pb2.NORMAL, "action_set")
    await environment.observe(b"1")
    await environment.say(common_pb2.LAST_ACK)
    await alice.finish()
    assert (await alice.expect(common_pb2.END)).details == ""
    alice.over.set()
    environment.over.set()
    code, seconds = await process.exit()
    assert code == 0
    assert seconds < 5
    assert status.read_text() == "IRT"
    assert "Orchestrator: stopped" in await process.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_trial_that_goes_on_is_ended_after_the_grace(start, peers, number) -> None:
    """The process ends with 0 within a second of its grace, and everybody is told."""
    process = await start("--grace=0.5")
    await process.ready()
    environment, alice = await running_trial(process, peers)
    process.signal(number)
    code, seconds = await process.exit()
    assert code == 0
    assert 0.4 < seconds < 8.0  # 1.5 s where nothing else runs, 10 s and more with the default grace
    assert await alice.expect(common_pb2.END, "details") == "The Orchestrator stops"
    assert await environment.expect(common_pb2.END, "details") == "The Orchestrator stops"


async def test_a_second_signal_leaves_no_grace(start, peers, wait_until_not_serving) -> None:
    """Trials are ended at once, and so is the process."""
    process = await start("--grace=60")
    await process.ready()
    environment, alice = await running_trial(process, peers)
    process.signal(signal.SIGTERM)
    async with process.channel() as channel:
        await wait_until_not_serving(channel)
    process.signal(signal.SIGINT)
    code, seconds = await process.exit()
    assert code == 0
    assert seconds < 2.5  # 1 s where nothing else runs
    for line in (alice, environment):
        assert await line.expect(common_pb2.END, "details") == "The Orchestrator stops"


async def test_a_process_that_does_nothing_ends_at_once(start) -> None:
    """Without trials there is nothing to wait for, even with a watcher."""
    process = await start("--grace=60")
    await process.ready()
    async with process.channel() as channel:
        stub = orchestrator_pb2_grpc.TrialLifecycleSPStub(channel)
        watch = stub.WatchTrials(orchestrator_pb2.TrialListRequest())
        await watch.initial_metadata()
        process.signal(signal.SIGTERM)
        assert await asyncio.wait_for(watch.read(), PATIENCE) is grpc.aio.EOF
        code, seconds = await process.exit()
    assert (code, seconds < 2.0) == (0, True)


async def test_a_port_in_use_is_an_error_in_one_line(start) -> None:
    """The second server on a port does not start, and says why."""
    first = await start()
    await first.ready()
    for ports in (
        [f"--lifecycle_port={first.port}", f"--actor_port={first.port}"],
        ["--lifecycle_port=0", f"--actor_port={first.port}"],
        [f"--lifecycle_port={first.port}", "--actor_port=0"],
    ):
        second = await start(*ports, ports=False)
        log, (code, _) = await second.log(), await second.exit()
        assert code == 1
        assert f"Error: port {first.port} is in use" in log
        assert "Traceback" not in log


async def test_only_the_loopback_address_is_listened_on(start) -> None:
    """Nobody else reaches a server that was started without further words."""
    process = await start("--prometheus_port=0")
    await process.ready()
    listening = {address for address in _local_addresses() if int(address.split(":")[1], 16) == process.port}
    assert listening
    assert {address.split(":")[0] for address in listening} <= {"0100007F", "0000000000000000FFFF00000100007F"}


def _local_addresses() -> set[str]:
    tables = [Path(f"/proc/net/{name}").read_text().splitlines()[1:] for name in ("tcp", "tcp6")]
    return {line.split()[1] for table in tables for line in table}


async def test_two_ports_and_metrics(start, peers) -> None:
    """Each service on its own port, and the metrics on a third."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        actor_port, metrics_port = one.getsockname()[1], two.getsockname()[1]
    process = await start(
        *("--lifecycle_port=0", f"--actor_port={actor_port}", f"--prometheus_port={metrics_port}"), ports=False
    )
    await process.ready()
    assert (process.actor_port, process.port != actor_port) == (actor_port, True)
    environment, alice = await running_trial(process, peers)
    for number in range(3):
        await alice.act()
        await environment.expect(common_pb2.NORMAL, "action_set")
        await environment.observe(b"%d" % number)
        await alice.expect(common_pb2.NORMAL, "observation")
    metrics = await asyncio.to_thread(_read, f"http://127.0.0.1:{metrics_port}/metrics")
    assert 'orchestrator_trials{state="RUNNING"} 1.0' in metrics
    assert "orchestrator_tick_duration_seconds_count 2.0" in metrics
    assert "orchestrator_trial_duration_seconds_count 0.0" in metrics
    environment.over.set()
    await alice.expect(common_pb2.END, "details")
    metrics = await asyncio.to_thread(_read, f"http://127.0.0.1:{metrics_port}/metrics")
    assert 'orchestrator_trials{state="ENDED"} 1.0' in metrics
    assert "orchestrator_trial_duration_seconds_count 1.0" in metrics
    assert "orchestrator_garbage_collection_duration_seconds_count 0.0" in metrics


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE) as reply:
        return reply.read().decode()


async def test_parameters_log_and_status_in_files(start, tmp_path) -> None:
    """The file of parameters is read, the log file gets JSON lines, and the status can be a pipe."""
    params, log, pipe = tmp_path / "params.yaml", tmp_path / "log", tmp_path / "pipe"
    params.write_text(
        "trial_params:\n  properties: {from: file}\n"
        "  actors: [{name: alice, actor_class: player, endpoint: cogment://client}]\n"
        "  environment: {endpoint: grpc://127.0.0.1:9}\n"
    )
    os.mkfifo(pipe)
    process = await start(f"--params={params}", f"--log_file={log}", f"--status_file={pipe}")
    reader = os.open(pipe, os.O_RDONLY)  # waits until somebody writes
    await process.ready()
    assert os.read(reader, 10) == b"IR"
    async with process.channel() as channel:
        stub = orchestrator_pb2_grpc.TrialLifecycleSPStub(channel)
        await stub.StartTrial(orchestrator_pb2.TrialStartRequest())
        (info,) = (await stub.GetTrialInfo(orchestrator_pb2.TrialInfoRequest())).trial
    assert dict(info.properties) == {"from": "file"}
    process.signal(signal.SIGTERM)
    assert (await process.exit())[0] == 0
    assert os.read(reader, 10) == b"T"
    os.close(reader)
    assert '"message": "Orchestrator: stopped"' in log.read_text().splitlines()[-1]
    assert await process.log() == ""


async def test_wrong_parameters_stop_the_start(start, tmp_path) -> None:
    """The error names the file, the line and the key."""
    params = tmp_path / "params.yaml"
    params.write_text("trial_params:\n  max_step: 3\n")
    process = await start(f"--params={params}")
    assert f"Error: {params}:2: trial_params.max_step: there is no such key" in await process.log()
    assert (await process.exit())[0] == 1


async def test_with_tls_only_certified_peers_are_let_in(start) -> None:
    """Clients need a certificate of the same authority; without one, or without TLS, they do not get in."""
    files = {"private_key": "server.key", "root_cert": "ca.pem", "trust_chain": "server.pem"}
    process = await start(*[f"--{option}={TLS / file}" for option, file in files.items()])
    await process.ready()
    root, key, chain = [(TLS / file).read_bytes() for file in ("ca.pem", "client.key", "client.pem")]
    assert await _version(process, grpc.ssl_channel_credentials(root, key, chain)) is grpc.StatusCode.OK
    for credentials in (grpc.ssl_channel_credentials(root), None):
        assert await _version(process, credentials) is grpc.StatusCode.UNAVAILABLE


async def _version(process: Process, credentials: grpc.ChannelCredentials | None) -> grpc.StatusCode:
    target = f"localhost:{process.port}"
    async with (
        grpc.aio.insecure_channel(target) if credentials is None else grpc.aio.secure_channel(target, credentials)
    ) as channel:
        stub = orchestrator_pb2_grpc.TrialLifecycleSPStub(channel)
        return await stub.Version(common_pb2.VersionRequest(), timeout=5).code()
