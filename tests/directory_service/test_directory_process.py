"""``cogment services directory`` as a process: what it keeps, what it says, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import stat
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc.aio
import pytest
from directory_helpers import PATIENCE, Caller, client_entry

from cogment_services import app
from cogment_services.cli import main
from cogment_services.directory.registry import Policy

READY = re.compile(r"server listening \[port:(\d+)\]\n")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("COGMENT_")}


@pytest.fixture
async def start(tmp_path) -> AsyncIterator[Callable[..., Any]]:
    """Starts ``cogment services directory`` in a folder of its own, and gives it with a `Caller` of it."""
    async with contextlib.AsyncExitStack() as stack:
        processes = []

        async def start(*args: str, port: int = 0, **variables: str) -> tuple[asyncio.subprocess.Process, Caller]:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cogment_services", "services", "directory", f"--port={port}", *args),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env={**ENVIRONMENT, **variables},
                cwd=tmp_path,
            )
            processes.append(process)
            line = (await asyncio.wait_for(process.stdout.readline(), PATIENCE)).decode()
            match = READY.fullmatch(line)
            if match is None:
                return process, (await asyncio.wait_for(process.stderr.read(), PATIENCE)).decode()
            channel = await stack.enter_async_context(grpc.aio.insecure_channel(f"127.0.0.1:{match[1]}"))
            caller = Caller(channel)
            caller.port = int(match[1])
            return process, caller

        yield start
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.communicate()


async def test_what_was_answered_survives_a_crash(start, run_peer, tmp_path) -> None:
    """Killed without warning and started again, it knows everything it knew, and forgets nothing but the dead (A13)."""
    process, directory = await start()
    mine = directory.as_("planted-token")
    peer = await run_peer()
    replies = [await mine.registered(peer.entry(number=str(number))) for number in range(10)]
    permanent = await mine.registered(client_entry(7, permanent=True, name="p"))
    removed = await mine.registered(peer.entry())
    await mine.deregister(removed.service_id, removed.secret)
    process.kill()
    await process.wait()
    assert stat.S_IMODE((tmp_path / ".cogment-directory-data").stat().st_mode) == 0o600

    _, directory = await start()
    mine = directory.as_("planted-token")
    found = await mine.find(3)
    assert [data.service_id for data in found] == [reply.service_id for reply in reversed(replies)]
    assert [data.service_id for data in await mine.find(7)] == [permanent.service_id]
    again = await mine.registered(client_entry(7, permanent=True, name="p"))
    assert (again.service_id, again.secret) == (permanent.service_id, permanent.secret)
    assert (await mine.deregister(replies[0].service_id, replies[0].secret)).status == 1
    assert await directory.find() == []


async def test_while_it_is_away_callers_know_at_once_and_then_find_it_again(start) -> None:
    """UNAVAILABLE within seconds, and no new connection has to be made afterwards."""
    process, directory = await start()
    await directory.registered(client_entry())
    process.kill()
    await process.wait()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await directory.find()
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    await start(port=directory.port)

    async def is_back() -> bool:
        with contextlib.suppress(grpc.aio.AioRpcError):
            return len(await directory.find()) == 1
        return False

    await directory.until(is_back)


async def test_secrets_are_in_no_output(start, run_peer) -> None:
    """Whatever happens, at the finest level of the log (F11)."""
    process, directory = await start("--log_level=trace", COGMENT_DIRECTORY_PERSISTENCE_FILE="")
    mine, other = directory.as_("planted-token"), directory.as_("planted-other")
    peer = await run_peer()
    reply = await mine.registered(peer.entry(__implementation="bot"))
    await other.refused(peer.entry(__implementation="bot"))
    await mine.deregister(reply.service_id, "planted-secret")
    await mine.deregister(reply.service_id, reply.secret)
    process.send_signal(signal.SIGTERM)
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 0
    assert b"registered: service" in err
    for secret in ("planted-token", "planted-other", "planted-secret", reply.secret):
        assert secret.encode() not in out + err


async def test_launch_files_find_the_line_that_they_wait_for(start) -> None:
    """``Listening [port:9005]``, as the Directory has always said."""
    process, directory = await start()
    process.send_signal(signal.SIGTERM)
    _, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert f"Listening [port:{directory.port}]".encode() in err


async def test_an_empty_file_name_switches_persistence_off(start, tmp_path) -> None:
    """In the environment, too."""
    for args, variables in (
        ((), {"COGMENT_DIRECTORY_PERSISTENCE_FILE": ""}),
        (("--persistence_file=",), {}),
    ):
        process, directory = await start(*args, **variables)
        await directory.registered(client_entry())
        process.kill()
        await process.wait()
        assert list(tmp_path.iterdir()) == []


async def test_a_second_one_on_the_same_file_says_what_is_wrong(start) -> None:
    """In one line."""
    _, directory = await start()
    await directory.registered(client_entry())
    process, error = await start()
    assert await asyncio.wait_for(process.wait(), PATIENCE) == 1
    assert "cannot be used" in error.strip().splitlines()[-1]
    assert "Traceback" not in error


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(monkeypatch) -> Callable[..., Any]:
    """Runs the command, whose server is only made. Returns how it would have been run, and what it was made of."""
    for name in [name for name in os.environ if name.startswith("COGMENT_")]:
        monkeypatch.delenv(name)

    def run(*args: str, **variables: str) -> tuple[app.AppOptions, dict[str, Any]]:
        ran: list[Any] = []

        class Recorder:
            def __init__(self, path: Any, **settings: Any) -> None:
                ran.append({"path": path, **settings})

        def record(make: Any, options: app.AppOptions) -> None:
            make(None)
            ran.append(options)

        monkeypatch.setattr("cogment_services.directory.DirectoryServer", Recorder)
        monkeypatch.setattr(app, "run", record)
        for name, value in variables.items():
            monkeypatch.setenv(f"COGMENT_DIRECTORY_{name}", value)
        main(["services", "directory", *args])
        settings, options = ran
        return options, settings

    return run


def test_without_options_the_defaults_count(run) -> None:
    """The documented ones, on the loopback address."""
    options, settings = run()
    assert options == app.AppOptions(name="Directory", log=options.log, grace=5.0)
    assert settings == {
        "path": ".cogment-directory-data",
        "port": 9005,
        "host": "127.0.0.1",
        "tls": None,
        "policy": Policy(),
        "prometheus_registry": None,
    }


def test_the_environment_counts_even_if_it_is_empty(run) -> None:
    """For this server: an empty port is port 0, an empty file is none."""
    _, settings = run(PORT="", PERSISTENCE_FILE="", REGISTRATION_LAG="")
    assert (settings["port"], settings["path"], settings["policy"]) == (0, None, Policy())


@pytest.mark.parametrize("value", ["1", "t", "true", "TRUE"])
def test_switches_are_set_as_everywhere(run, value) -> None:
    """In the environment, alone, and with a value."""
    everything = Policy(registration_lag=3.0, load_balancing=True, check_on_inquire=True, force_permanent=True)
    _, settings = run("--check_on_inquire", f"--force_permanent={value}", REGISTRATION_LAG="3", LOAD_BALANCING=value)
    assert settings["policy"] == everything
    _, settings = run("--load_balancing=false", "--registration_lag=0", LOAD_BALANCING=value)
    assert settings["policy"] == Policy()


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("--host=",), "--host is empty"),
        (("--grpc_reflection",), "--grpc_reflection is not available"),
        (("--port=70000",), "--port"),
        (("--registration_lag=nan",), "--registration_lag"),
        (("--tokens_file=/no/such/file",), "cannot be read"),
        (("--private_key=x",), "trust_chain"),
        (("--host=0.0.0.0",), "--insecure"),
    ],
)
def test_mistakes_are_said_in_one_line(run, capsys, args, reason) -> None:
    """And nothing is started."""
    with pytest.raises(SystemExit):
        run(*args)
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1
