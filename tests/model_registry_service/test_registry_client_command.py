"""``cogment client model_registry``: what it writes, what it makes of files, and how it fails."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import random
import re
import signal
import socket
import stat
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from cogment_services.cli import main

PATIENCE = 30.0


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of whoever runs the tests do not count."""
    for name in [name for name in os.environ if name.startswith("COGMENT_")]:
        monkeypatch.delenv(name)


@pytest.fixture
async def server(serve: Callable[..., Any]) -> Any:
    """The Model Registry."""
    return await serve()


@pytest.fixture
def command(server, monkeypatch, capsys) -> Callable[..., Any]:
    """Runs a command of the client. Returns its exit code, and what it wrote to both outputs."""
    monkeypatch.setenv("COGMENT_MODEL_REGISTRY_ENDPOINT", f"grpc://127.0.0.1:{server.port}")

    async def command(*args: str) -> tuple[int, str, str]:
        def run() -> int:
            try:
                main(["client", "model_registry", *args])
            except SystemExit as error:
                return int(error.code or 0)
            return 0

        code = await asyncio.wait_for(asyncio.to_thread(run), PATIENCE)
        return code, *capsys.readouterr()

    return command


async def test_a_file_is_pushed_shown_pulled_and_deleted(command, tmp_path) -> None:
    """The commands in the order in which people use them."""
    data = random.Random(8).randbytes(5_000_000)
    (tmp_path / "in.bin").write_bytes(data)
    code, out, err = await command("push", "m", str(tmp_path / "in.bin"), "--properties=step=7,best")
    assert (code, out, err) == (0, f"{tmp_path}/in.bin is now version 1 of model 'm'\n", "")
    (tmp_path / "small").write_bytes(b"small")
    code, out, _ = await command("push", "m", str(tmp_path / "small"), "--transient")
    assert (code, out.endswith("version 2 of model 'm'\n")) == (0, True)
    code, out, _ = await command("list")
    assert (code, out.splitlines()[1:]) == (0, ["m", "1 model"])
    code, out, _ = await command("info", "m")
    assert code == 0
    title, _, first, second = out.splitlines()
    assert title == "m, 2 versions"
    assert re.fullmatch(r"1  +20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC  +5.0 MB  +stored  +\S{44}  best,step=7", first)
    assert re.fullmatch(r"2  .* 5 B  +transient  +\S{44}", second)
    for args, content in (((), b"small"), (("--version=1",), data), (("--version", "-2"), data)):
        target = tmp_path / "out.bin"
        code, out, err = await command("pull", "m", *args, str(target), "--force")
        assert (code, err, target.read_bytes() == content) == (0, "", True)
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["in.bin", "out.bin", "small"]
    assert await command("delete", "m") == (0, "model 'm' is deleted\n", "")
    assert (await command("list"))[1].splitlines()[1:] == ["0 models"]


async def test_json_is_for_programs(command, tmp_path) -> None:
    """Each command writes one JSON document, wherever on the line that was asked for."""
    (tmp_path / "file").write_bytes(b"data")
    facts = {"model": "m", "version": 1, "size": 4, "stored": True, "properties": {"a": "b"}}

    async def said(*args: str) -> Any:
        code, out, err = await command(*args)
        assert (code, err) == (0, "")
        return json.loads(out)

    pushed = await said("push", "--console_output=json", "m", str(tmp_path / "file"), "--properties", "a=b")
    assert facts.items() <= pushed.items()
    shown = await said("--console_output=json", "info", "m")
    assert (shown["model"], shown["properties"]) == ("m", {})
    (version,) = shown["versions"]
    assert facts.items() <= version.items()
    assert version["hash"] == pushed["hash"]
    assert await said("list", "--console_output=json") == [{"model": "m", "properties": {}}]
    pulled = await said("pull", "m", str(tmp_path / "out"), "--console_output=json")
    assert {**facts, "file": str(tmp_path / "out")}.items() <= pulled.items()
    assert (await said("delete", "m", "--console_output=json"))["model"] == "m"


async def test_what_is_wrong_is_one_line(command, tmp_path) -> None:
    """An error is one line on the standard error output, the exit code is 1, and no file appears or changes."""
    (tmp_path / "file").write_bytes(b"data")
    (tmp_path / "empty").write_bytes(b"")
    file, out = str(tmp_path / "file"), str(tmp_path / "out")
    await command("push", "m", file)
    for args, expected in (
        (("info", "nobody"), "no model 'nobody'"),
        (("delete", "nobody"), "no model 'nobody'"),
        (("pull", "nobody", out), "no model 'nobody'"),
        (("pull", "m", "--version=9", out), "model 'm' has no version 9"),
        (("pull", "m", "--version=0", out), "version 0"),
        (("pull", "m", file), "is there already; --force replaces it"),
        (("pull", "m", str(tmp_path / "nowhere" / "out")), "No such file"),
        (("push", "m", str(tmp_path / "nothing")), "does not exist"),
        (("push", "m", str(tmp_path / "empty")), "without any data"),
        (("push", "../m", file), "cannot be the id of a model"),
        (("list", "--endpoint=nonsense"), "nonsense"),
        (("list", "--endpoint=grpc://127.0.0.1:9", "--timeout=5s"), "UNAVAILABLE"),
    ):
        code, said, err = await command(*args)
        assert (code, said, err.count("\n")) == (1, "", 1), (args, err)
        assert err.startswith("Error: ")
        assert expected in err, args
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["empty", "file"]
    assert await command("push", "m", file) == (0, f"{file} is now version 2 of model 'm'\n", "")


async def test_names_cannot_command_the_terminal(command, server, connect, tmp_path) -> None:
    """Control characters of what others wrote on models and versions are not written."""
    client = connect(server.port)
    evil = "\x1b[2J\x07\r\n\u202eevil\x9b"
    await client.create("m", **{evil: evil})
    await client.push("m", user_data={evil: evil})
    for args in (("list",), ("info", "m")):
        code, out, _ = await command(*args)
        assert code == 0
        assert "evil" in out
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", out)


async def test_a_pipe_or_a_device_is_written_to_not_replaced(command, server, connect) -> None:
    """Pulling to /dev/null leaves that what it is."""
    client = connect(server.port)
    await client.create("m")
    await client.push("m")
    assert (await command("pull", "m", "/dev/null"))[0] == 0
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


async def test_damaged_data_leave_no_file(command, server, connect, root, tmp_path) -> None:
    """What does not arrive whole is not there."""
    client = connect(server.port)
    await client.create("m")
    await client.push("m", bytes(5_000_000))
    (path,) = [path for path in (root / "blobs").rglob("*") if path.is_file()]
    path.write_bytes(bytes(4_999_999) + b"x")
    code, _, err = await command("pull", "m", str(tmp_path / "out"))
    assert (code, "are damaged" in err) == (1, True)
    assert [path.name for path in tmp_path.iterdir()] == [root.name]


async def test_data_can_be_piped_on(server, connect) -> None:
    """Nothing but the data is written to the standard output when that is where they go."""
    client = connect(server.port)
    await client.create("m")
    await client.push("m", b"data" * 100_000)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cogment_services", "client", "registry", "pull", "m", "/dev/stdout"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "COGMENT_MODEL_REGISTRY_ENDPOINT": f"grpc://127.0.0.1:{server.port}"},
    )
    written, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert (process.returncode, written == b"data" * 100_000) == (0, True)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_an_interrupted_pull_leaves_nothing(serve, connect, tmp_path, number, code) -> None:
    """Ctrl-C ends with 130, and no file, whole or partial, is there; on a terminal there was a progress bar."""
    server = await serve(chunk_size=1000)  # so that it takes long enough to be interrupted
    client = connect(server.port)
    await client.create("m")
    await client.push("m", bytes(200_000_000))
    folder = tmp_path / "out"
    folder.mkdir()
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COGMENT_MODEL_REGISTRY_ENDPOINT": f"grpc://127.0.0.1:{server.port}", "TERM": "xterm"}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cogment_services", "client", "registry", "pull", "m", str(folder / "file")),
        stdout=asyncio.subprocess.PIPE,
        stderr=theirs,
        env=environment,
    )
    os.close(theirs)
    try:
        until = time.monotonic() + PATIENCE
        while not any(folder.iterdir()):
            assert time.monotonic() < until
            await asyncio.sleep(0.02)
        shown = b""
        while b"receiving" not in shown:  # a terminal may get the bar in several pieces
            shown += await asyncio.wait_for(asyncio.to_thread(os.read, ours, 1000), PATIENCE)
        process.send_signal(number)
        written, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        os.close(ours)
    assert (process.returncode, written) == (code, b"")
    assert b"receiving" in shown
    assert list(folder.iterdir()) == []


def test_a_server_that_says_nothing_is_given_up(capsys) -> None:
    """The time limit ends the command with an error that says so."""
    with socket.create_server(("127.0.0.1", 0)) as server:  # connections are made, and nobody is there
        endpoint = f"grpc://127.0.0.1:{server.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(SystemExit) as caught:
            main(["client", "model_registry", f"--endpoint={endpoint}", "--timeout=500ms", "list"])
    assert caught.value.code == 1
    assert time.monotonic() - began < 10
    assert "an answer of the Model Registry did not come within 0.5 s" in capsys.readouterr().err
