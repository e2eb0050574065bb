"""``cogment certs``: certificates that real connections accept."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import grpc
import pytest

from cogment_core.api import common_pb2, directory_pb2_grpc
from cogment_core.channels import open_channel
from cogment_core.endpoints import Endpoint
from cogment_core.errors import UsageError
from cogment_services.certs import make_certificates
from cogment_services.cli import main
from cogment_services.directory import DirectoryServer
from cogment_services.tls import load_tls

PATIENCE = 20.0
FILES = {"ca.key", "ca.pem", "server.key", "server.pem", "client.key", "client.pem"}


async def version(
    folder: Path, port: int, host: str = "localhost", client: Path | None = None
) -> grpc.StatusCode | None:
    """Ask a server with TLS for its version. Gives the status if it does not answer."""
    endpoint = Endpoint(f"grpc://{host}:{port}")
    endpoint.set_from_files(client and client / "client.key", folder / "ca.pem", client and client / "client.pem")
    channel = open_channel(endpoint)
    try:
        await directory_pb2_grpc.DirectorySPStub(channel).Version(common_pb2.VersionRequest(), timeout=PATIENCE)
    except grpc.aio.AioRpcError as error:
        return error.code()
    finally:
        await channel.close()
    return None


def server_of(folder: Path) -> DirectoryServer:
    return DirectoryServer(
        port=0, tls=load_tls(*(str(folder / name) for name in ("server.key", "ca.pem", "server.pem"))), grace=0.0
    )


async def test_a_server_and_a_client_of_the_same_authority_talk(tmp_path) -> None:
    """And nobody else: no client without certificate, or of another authority, and no other server."""
    ours, other = tmp_path / "ours", tmp_path / "other"
    for folder in (ours, other):
        make_certificates(folder, ["localhost", "127.0.0.1", "::1"], 1)
    async with server_of(ours) as server:
        assert await version(ours, server.port, client=ours) is None
        assert await version(ours, server.port, host="127.0.0.1", client=ours) is None
        for folder, client in ((ours, None), (ours, other), (other, ours)):
            assert await version(folder, server.port, client=client) is grpc.StatusCode.UNAVAILABLE


async def test_a_certificate_is_for_its_hosts_only(tmp_path) -> None:
    """A machine that has another name is not believed."""
    make_certificates(tmp_path, ["trainer.example", "127.0.0.1"], 1)
    async with server_of(tmp_path) as server:
        assert await version(tmp_path, server.port, host="127.0.0.1", client=tmp_path) is None
        assert await version(tmp_path, server.port, client=tmp_path) is grpc.StatusCode.UNAVAILABLE


def test_keys_are_for_their_owner(tmp_path) -> None:
    """Also in a folder that is there, and where a file was that everybody could read."""
    (tmp_path / "server.key").touch(0o644)
    make_certificates(tmp_path, ["localhost"], 1, force=True)
    assert {file.name for file in tmp_path.iterdir()} == FILES
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.glob("*.key")} == {0o600}


def test_nothing_is_replaced_unless_it_is_said(tmp_path) -> None:
    """One file that is there is enough: all belong together."""
    (tmp_path / "ca.key").write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        make_certificates(tmp_path, ["localhost"], 1)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["mine"]
    make_certificates(tmp_path, ["localhost"], 1, force=True)
    assert (tmp_path / "ca.key").read_text() != "mine"


@pytest.mark.parametrize("hosts", [[], [""], ["a b"], ["grpc://localhost"], ["localhost:9000"], ["höst"]])
def test_hosts_have_to_be_hosts(tmp_path, hosts) -> None:
    """Nothing is written otherwise."""
    with pytest.raises(UsageError, match="host"):
        make_certificates(tmp_path / "certs", hosts, 1)
    assert list(tmp_path.iterdir()) == []


def test_the_command_says_what_to_do_with_them(tmp_path, monkeypatch, capsys) -> None:
    """The files that it names are there, and its lines are Python."""
    monkeypatch.chdir(tmp_path)
    main(["certs", "--hosts=localhost,127.0.0.1", "--days=3"])
    output = capsys.readouterr().out
    named = set(re.findall(r"certs/(\w+\.\w+)", output))
    assert named == FILES
    lines = [line[2:] for line in output.splitlines() if line.startswith("  ") and not line.startswith("  --")]
    compile("\n".join(lines), "output", "exec")
    assert "BEGIN" not in output
    with pytest.raises(SystemExit):
        main(["certs"])
    error = capsys.readouterr().err
    assert "--force" in error
    assert error.count("\n") == 1
