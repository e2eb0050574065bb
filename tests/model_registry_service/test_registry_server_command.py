"""``cogment services model_registry``, and the models that older servers left."""

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
import grpc.aio
import pytest
from prometheus_client import CollectorRegistry

from cogment_core.api import common_pb2, directory_pb2
from cogment_core.api.directory_pb2_grpc import DirectorySPStub
from cogment_core.api.model_registry_pb2_grpc import ModelRegistrySPStub
from cogment_services import app
from cogment_services.cli import main
from cogment_services.cli.model_registry import model_registry
from cogment_services.directory.server import DirectoryServer
from cogment_services.model_registry.metrics import RegistryMetrics

PATIENCE = 30.0
TLS = Path(__file__).parents[1] / "data" / "tls"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of whoever runs the tests do not count."""
    for name in [name for name in os.environ if name.startswith("COGMENT_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """What the command would make of its arguments: how it runs, and the arguments of the server."""

    def made(*args: str) -> tuple[app.AppOptions, dict[str, Any]]:
        ran: list[Any] = []

        class Recorder:
            def __init__(self, path: Any, **settings: Any) -> None:
                ran.append({"path": path, **settings})

        def record(make: Any, options: app.AppOptions) -> None:
            make(None)
            ran.append(options)

        monkeypatch.setattr("cogment_services.model_registry.server.ModelRegistryServer", Recorder)
        monkeypatch.setattr(app, "run", record)
        main(["services", *args])
        settings, options = ran
        return options, settings

    return made


def test_the_defaults_are_those_of_existing_servers(made) -> None:
    """Except that only this machine is listened to."""
    options, settings = made("model_registry")
    assert (options.name, options.prometheus_host, options.prometheus_port) == ("Model Registry", "127.0.0.1", 0)
    assert (settings["path"], settings["port"]) == (".cogment/model_registry", 9002)
    assert (settings["cache_max_items"], settings["chunk_size"]) == (100, 2 * 1024 * 1024)
    assert settings["max_model_size"] == 2 * 1024**3


def test_options_and_variables_are_those_of_existing_servers(made, monkeypatch) -> None:
    """The command line comes before the environment, and an empty variable is none."""
    for name, value in {
        "PORT": "1234",
        "ARCHIVE_DIR": "/somewhere",
        "VERSION_CACHE_MAX_ITEMS": "7",
        "SENT_MODEL_VERSION_DATA_CHUNK_SIZE": "1000",
        "MAX_MODEL_SIZE": "5000",
        "HOST": "",
    }.items():
        monkeypatch.setenv(f"COGMENT_MODEL_REGISTRY_{name}", value)
    options, settings = made("registry", "--cache_max_items=8", "--host=::1", "--grace=2", "--cache-max-bytes=9")
    assert options.grace == 2.0
    assert (settings["path"], settings["port"], settings["host"]) == ("/somewhere", 1234, "::1")
    assert (settings["cache_max_items"], settings["cache_max_bytes"]) == (8, 9)
    assert (settings["chunk_size"], settings["max_model_size"]) == (1000, 5000)


def test_all_options_are_documented() -> None:
    """The page on the server has the options, with their variables and defaults, and the metrics."""
    page = (Path(__file__).parents[2] / "docs" / "reference" / "servers-model-registry.md").read_text()
    rows = re.findall(r"^\| (`--.*?) \| (.*?) \| (.*?) \|", page, re.M)
    listed = {name: (variables, default) for names, variables, default in rows for name in re.findall(r"--\w+", names)}
    shown = {option.opts[0]: option for option in model_registry.params if not getattr(option, "hidden", False)}
    assert listed.keys() == shown.keys()
    for name, option in shown.items():
        assert f"`{option.envvar[0] if isinstance(option.envvar, list) else option.envvar}`" in listed[name][0]
        if isinstance(option.default, (int, float, str)) and not isinstance(option.default, bool):
            assert listed[name][1] == str(option.default).removesuffix(".0"), name
    registry = CollectorRegistry()
    RegistryMetrics(registry, int)
    metrics = {f"{it.name}_total" if it.type == "counter" else it.name for it in registry.collect()}
    assert set(re.findall(r"`(model_registry_\w+)`", page.partition("## Metrics")[2].partition("##")[0])) == metrics


@pytest.mark.parametrize(
    ("arg", "said"),
    [
        ("--port=many", "--port"),
        ("--cache_max_items=0", "--cache_max_items"),
        ("--sent_version_chunk_size=-1", "--sent_version_chunk_size"),
        ("--max_model_size=0", "--max_model_size"),
        ("--host=", "--host is empty"),
        ("--host=0.0.0.0", "--insecure"),
        ("--archive_dir=", "--archive_dir is empty"),
        ("--grace=nan", "--grace"),
        ("--grpc_reflection", "no reflection service"),
        ("--private_key=x", "missing: trust_chain"),
        ("--directory_endpoint=nonsense", "--directory_endpoint"),
        ("--sent_version_chunk_size=999999999", "chunk_size"),
        ("--archive_dir=/dev/null/models", "cannot be kept in '/dev/null/models'"),
    ],
)
def test_what_is_wrong_is_one_line(capsys, tmp_path, monkeypatch, arg, said) -> None:
    """An error is one line on the standard error output, and the exit code 1."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["services", "--log_level=off", "model_registry", "--port=0", arg])
    output = capsys.readouterr()
    assert (caught.value.code, output.out, output.err.count("\n")) == (1, "", 1)
    assert said in output.err


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Starts the command as a process; gives it, and the port."""
    processes: list[asyncio.subprocess.Process] = []

    async def start(*args: str) -> tuple[asyncio.subprocess.Process, int]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cogment_services", "services", "model_registry", "--port=0", *args),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=tmp_path,
        )
        processes.append(process)
        line = (await asyncio.wait_for(process.stdout.readline(), PATIENCE)).decode()
        match = re.fullmatch(r"server listening \[port:(\d+)\]\n", line)
        assert match, (line, (await process.communicate())[1])
        return process, int(match[1])

    yield start
    for process in processes:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_process_from_start_to_end(start, connect, tmp_path) -> None:
    """It makes its directory, tells how far it is, serves metrics, and ends with 0; models are there the next time."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        metrics_port = free.getsockname()[1]
    process, port = await start(f"--prometheus_port={metrics_port}", "--status_file=status", "--grace=5")
    client = connect(port)
    await client.create("m")
    await client.push("m", b"12345")
    await client.push("m", b"123", archived=False)
    assert await client.data("m", 1) == b"12345"
    follower = client.follow("m")
    await follower.read()
    metrics = await asyncio.to_thread(_read, f"http://127.0.0.1:{metrics_port}/metrics")
    for line in (
        'model_registry_versions_total{stored="true"} 1.0',
        'model_registry_versions_total{stored="false"} 1.0',
        "model_registry_received_bytes_total 8.0",
        "model_registry_sent_bytes_total 5.0",
        "model_registry_subscribers 1.0",
        "model_registry_damaged_reads_total 0.0",
    ):
        assert line in metrics
    process.send_signal(signal.SIGTERM)
    _, log = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 0
    assert b"Model Registry: stopped" in log
    assert (tmp_path / "status").read_text() == "IRT"
    _, port = await start()
    assert await connect(port).data("m") == b"12345"
    assert (tmp_path / ".cogment" / "model_registry").is_dir()


def _read(url: str) -> str:
    with urllib.request.urlopen(url, timeout=PATIENCE) as reply:
        return reply.read().decode()


async def test_with_tls_only_certified_clients_are_let_in(start) -> None:
    """Clients need a certificate of the same authority."""
    files = {"private_key": "server.key", "root_cert": "ca.pem", "trust_chain": "server.pem"}
    _, port = await start(*[f"--{option}={TLS / file}" for option, file in files.items()])
    root, key, chain = [(TLS / file).read_bytes() for file in ("ca.pem", "client.key", "client.pem")]
    for credentials, code in (
        (grpc.ssl_channel_credentials(root, key, chain), grpc.StatusCode.OK),
        (grpc.ssl_channel_credentials(root), grpc.StatusCode.UNAVAILABLE),
    ):
        async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
            call = ModelRegistrySPStub(channel).Version(common_pb2.VersionRequest(), timeout=PATIENCE)
            assert await call.code() is code


async def test_health_is_told(start) -> None:
    """The standard health service knows the Model Registry."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    _, port = await start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        request = health_pb2.HealthCheckRequest(service="cogmentAPI.ModelRegistrySP")
        reply = await health_pb2_grpc.HealthStub(channel).Check(request, timeout=PATIENCE)
    assert reply.status == health_pb2.HealthCheckResponse.SERVING


async def test_it_registers_in_a_directory(start, tmp_path) -> None:
    """With the host and the properties that were given; when it stops, it is not found any more."""
    async with DirectoryServer(port=0) as directory:
        process, port = await start(
            f"--directory_endpoint=grpc://127.0.0.1:{directory.port}",
            "--directory_registration_host=127.0.0.1",
            "--directory_registration_properties=a=b",
        )
        (found,) = await until_there_are(1, directory.port)
        assert (found.endpoint.host, found.endpoint.port, found.details.type) == ("127.0.0.1", port, 8)
        assert {"a": "b", "__registration_source": "Self-Command_Line"}.items() <= dict(
            found.details.properties
        ).items()
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), PATIENCE)
        assert process.returncode == 0
        await until_there_are(0, directory.port)


async def until_there_are(count: int, port: int) -> list[Any]:
    """So many Model Registries that the Directory knows."""
    until, found = time.monotonic() + PATIENCE, list[Any]()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        while time.monotonic() < until:
            request = directory_pb2.InquireRequest(details={"type": 8})
            found = [reply.data async for reply in DirectorySPStub(channel).Inquire(request, timeout=PATIENCE)]
            if len(found) == count:
                return found
            await asyncio.sleep(0.05)
    raise AssertionError(f"there are {len(found)} Model Registries, not {count}")


def older_version(folder: Path, number: int, data: bytes, more: str = "") -> None:
    """A version as older servers write it."""
    stem = folder / f"{folder.name}-v{number:06}"
    stem.with_suffix(".data").write_bytes(data)
    stem.with_suffix(".yaml").write_text(
        f"model_id: {folder.name}\nversion_number: {number}\ncreation_timestamp: 2022-05-16T09:35:18.763246342Z\n"
        f'data_size: {len(data)}\nuser_data:\n  epoch: "{number}"\n{more}'
    )


@pytest.fixture
def older(root: Path, hash_of: Callable[[bytes], str]) -> Path:
    """A directory that an older server left."""
    for name in ("good", "bad", "hostile name"):
        (root / name).mkdir(parents=True)
        (root / name / f"{name}.yaml").write_text(f"model_id: {name}\nuser_data:\n  kind: old\n  n: 1\n")
    older_version(root / "good", 1, b"one", f"data_hash: {hash_of(b'one')}\n")
    older_version(root / "good", 3, b"three", "data_hash: ''\n")
    older_version(root / "good", 4, b"damaged", f"data_hash: {hash_of(b'other')}\n")
    older_version(root / "good", 5, b"transient", "transient: true\n")
    older_version(root / "good", 6, b"no data")
    (root / "good" / "good-v000006.data").unlink()
    (root / "bad" / "bad.yaml").write_text("- this\n- is no model\n")
    (root / "notes.txt").write_text("not ours")
    (root / "link").symlink_to(root / "good")
    return root


async def test_models_of_older_servers_are_taken_over(serve, connect, older, hash_of, caplog) -> None:
    """With names, numbers, times, labels; what is wrong is left out and told; the files stay as they are."""
    before = {path: path.read_bytes() for path in older.rglob("*") if path.is_file()}
    client = connect((await serve()).port)
    (model,) = (await client.models()).model_infos
    assert (model.model_id, dict(model.user_data)) == ("good", {"kind": "old", "n": "1"})
    first, third = (await client.infos("good")).version_infos
    assert (first.version_number, third.version_number) == (1, 3)
    assert (third.data_size, third.data_hash, dict(third.user_data)) == (5, hash_of(b"three"), {"epoch": "3"})
    assert first.creation_timestamp == 1652693718763246342
    assert first.archived
    assert (await client.data("good", 1), await client.data("good")) == (b"one", b"three")
    assert (await client.push("good", b"next")).version_number == 4
    for told in ("good-v000004", "good-v000006", "bad", "hostile name"):
        assert any(told in record.getMessage() for record in caplog.records), told
    assert all(path.read_bytes() == content for path, content in before.items())


async def test_they_are_taken_over_once(serve, connect, older) -> None:
    """A model that was removed since does not come back with the next start."""
    server = await serve()
    client = connect(server.port)
    await client.push("good", b"next")
    await server.close()
    server = await serve()
    client = connect(server.port)
    assert await client.numbers("good") == [1, 3, 4]
    await client.delete("good")
    await server.close()
    client = connect((await serve()).port)
    assert await client.names() == []
