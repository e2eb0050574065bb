"""``cogment client directory`` against a Directory, as scripts use it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import sys
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

import pytest
from directory_helpers import PATIENCE, client_entry

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("COGMENT_")}


@pytest.fixture
def cli(directory) -> Callable[..., Any]:
    """Runs a command, and gives its exit code, its output and its errors."""

    async def run(*args: str, port: int = 0, **variables: str) -> tuple[int, str, str]:
        url = f"grpc://127.0.0.1:{port or directory.server.port}"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cogment_services", "client", "directory", *args),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**ENVIRONMENT, "COGMENT_DIRECTORY_ENDPOINT": url, **variables},
        )
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE * 2)
        return process.returncode, out.decode(), err.decode()

    return run


async def test_services_are_registered_found_and_deregistered(cli, directory, run_peer) -> None:
    """With the documented options; the token is only in the environment."""
    peer = await run_peer()
    token = {"COGMENT_DIRECTORY_AUTHENTICATION_TOKEN": "planted-token"}
    register = ("register", "--host=localhost", f"--port={peer.port}", "--type=actor", "--properties=a=b, c")
    code, out, err = await cli(*register, **token)
    assert (code, err) == (0, "")
    match = re.fullmatch(r"\[(\d+)\]\t\[(\S+)\]\n", out)
    assert match
    service_id, secret = match.groups()
    [data] = await directory.as_("planted-token").find_id(int(service_id))
    assert (data.endpoint.host, data.endpoint.port, data.details.type) == ("localhost", peer.port, 3)
    assert dict(data.details.properties) == {
        "a": "b",
        "c": "",
        "__registration_source": "Cogment-Command_Line",
        "__version": metadata.version("cogment-services"),
    }

    code, out, err = await cli("inquire", "--type=actor", "--properties=a=b", **token)
    assert (code, err) == (0, "")
    assert out.splitlines()[:6] == [
        "1 service found",
        f"service {service_id}",
        f"  endpoint: grpc://localhost:{peer.port}",
        "  type: actor",
        "  permanent: no",
        "  property: __registration_source=Cogment-Command_Line",
    ]
    code, out, _ = await cli("--console_output=json", "inquire", f"--service_id={service_id}", **token)
    assert [it["serviceId"] for it in json.loads(out)["services"]] == [service_id]

    # Only with the token are they found, and deregistered.
    assert (await cli("inquire"))[:2] == (0, "0 services found\n")
    deregister = ("deregister", f"--service_id={service_id}", f"--secret={secret}")
    where = f"grpc://127.0.0.1:{directory.server.port}"
    error = f"Error: Deregister at {where}: FAILED_PRECONDITION: authentication failed\n"
    assert await cli(*deregister) == (1, "", error)
    assert await cli(*deregister, "--directory_authentication_token=planted-token") == (0, "", "")
    assert await directory.as_("planted-token").find() == []


async def test_results_can_be_json(cli, directory) -> None:
    """For programs; the option can be given before and after the command."""
    register = ("register", "--host=client", "--protocol=cogment", "--type=actor", "--permanent")
    code, out, _ = await cli(*register, "--console_output=json")
    reply = json.loads(out)
    assert (code, reply["status"]) == (0, "OK")
    [data] = await directory.find()
    assert (str(data.service_id), data.permanent, data.endpoint.protocol) == (reply["serviceId"], True, 3)
    removal = ("deregister", "--service_id", reply["serviceId"], "--secret", reply["secret"])
    assert json.loads((await cli("--console_output=json", *removal))[1]) == {"status": "OK"}


async def test_a_service_with_tls_is_registered_as_such(cli, directory) -> None:
    """``--ssl_required``."""
    code, _, _ = await cli("register", "--host=h.invalid", "--port=1", "--type=other", "--ssl_required", "--permanent")
    [data] = await directory.find(100)
    assert (code, data.endpoint.protocol) == (0, 2)


async def test_what_others_registered_does_not_command_the_terminal(cli, directory) -> None:
    """Control characters are replaced."""
    await directory.registered(client_entry(color="\x1b[2Jred\nservice 1\u202e"))
    code, out, _ = await cli("inquire")
    assert code == 0
    assert "red" in out
    assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", out)
    assert len(out.splitlines()) == 6


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("register", "--host=h", "--port=1"), "--type is missing"),
        (("register", "--host=h", "--port=1", "--type=oter"), "there is no type 'oter'"),
        (("register", "--host=h", "--protocol=cogment", "--type=actor", "--ssl_required"), "--ssl_required"),
        (("register", "--type=actor", "--port=1"), "no host"),
        (("register", "--host=169.254.169.254", "--port=1", "--type=other"), "metadata"),
        (("register", "--host=h", "--port=1", "--type=actor", "--properties==x"), "no property"),
        (("inquire", "--service_id=1", "--type=actor"), "leave out"),
        (("deregister", "--service_id=1", "--secret=planted-secret"), "service 1 is unknown"),
        (("inquire", "--directory_endpoint=cogment://discover"), "not an address"),
    ],
)
async def test_failures_are_one_line_and_exit_1(cli, args, reason) -> None:
    """Without the token, and without a traceback."""
    code, out, err = await cli(*args, COGMENT_DIRECTORY_AUTHENTICATION_TOKEN="planted-token")
    assert (code, out) == (1, "")
    assert reason in err
    assert err.count("\n") == 1
    assert "planted" not in err


@pytest.mark.parametrize("name", ["wait_for_ready", "WaitForReady"])
async def test_scripts_can_wait_for_the_directory(cli, name) -> None:
    """Silently, until it is there."""
    assert await cli(name) == (0, "", "")


async def test_waiting_for_the_directory_ends(cli) -> None:
    """With the timeout; so do commands that it does not answer."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        began = time.monotonic()
        for command in ("wait_for_ready", "inquire"):
            code, out, err = await cli(command, "--timeout=500ms", port=port)
            assert (code, out) == (1, "")
            assert "cannot be reached within 0.5 s" in err
        assert time.monotonic() - began < PATIENCE


async def test_the_old_names_of_options_still_count(cli, directory) -> None:
    """With a warning; without their values being forgotten."""
    await directory.as_("tok").registered(client_entry())
    url = f"grpc://127.0.0.1:{directory.server.port}"
    args = ("inquire", f"--endpoint={url}", "--auth_token=tok")
    code, out, err = await cli(*args, COGMENT_DIRECTORY_ENDPOINT="")
    assert (code, out.splitlines()[0]) == (0, "1 service found")
    assert err.splitlines() == [
        "Warning: --endpoint is deprecated, use --directory_endpoint",
        "Warning: --auth_token is deprecated, use --directory_authentication_token",
    ]
