"""``cogment client``: each of its commands that talks to a server talks TLS to it, with the same options."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cogment_services.cli import main
from cogment_services.datastore import TrialDatastore
from cogment_services.directory import DirectoryServer
from cogment_services.model_registry.server import ModelRegistryServer
from cogment_services.tls import Tls, load_tls

PATIENCE = 60.0
FOLDER = Path(__file__).parents[1] / "data" / "tls"
ROOT = f"--root_cert={FOLDER}/ca.pem"
MINE = (f"--private_key={FOLDER}/client.key", f"--trust_chain={FOLDER}/client.pem")

SERVERS: dict[str, Callable[[Path, Tls], Any]] = {
    "trial_datastore": lambda _, tls: TrialDatastore(None, port=0, tls=tls),
    "model_registry": lambda folder, tls: ModelRegistryServer(folder, port=0, tls=tls),
    "directory": lambda _, tls: DirectoryServer(port=0, tls=tls),
}
ENDPOINT = {"trial_datastore": "--endpoint", "model_registry": "--endpoint", "directory": "--directory_endpoint"}
ASKING = {"trial_datastore": "list_trials", "model_registry": "list", "directory": "inquire"}
"""A command that asks, of each."""


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of whoever runs the tests do not count."""
    for name in [name for name in os.environ if name.startswith("COGMENT_")]:
        monkeypatch.delenv(name)


@asynccontextmanager
async def serving(name: str, folder: Path, *, mutual: bool) -> AsyncIterator[str]:
    """A server with TLS. Gives the option that says where it is."""
    root = str(FOLDER / "ca.pem") if mutual else None
    tls = load_tls(str(FOLDER / "server.key"), root, str(FOLDER / "server.pem"))
    assert tls is not None
    async with SERVERS[name](folder, tls) as server:
        yield f"{ENDPOINT[name]}=grpc://localhost:{server.port}"


async def run(*args: str) -> int:
    """Run ``cogment client``. Returns its exit code."""

    def work() -> int:
        try:
            main(["client", *args])
        except SystemExit as end:
            return int(end.code or 0)
        return 0

    return await asyncio.wait_for(asyncio.to_thread(work), PATIENCE)


@pytest.mark.parametrize("name", SERVERS)
async def test_a_server_with_mutual_tls_is_reached_with_a_certificate_only(name, tmp_path, capsys) -> None:
    """The options count before and after the names of the command; without any of them there is no connection."""
    async with serving(name, tmp_path, mutual=True) as where:
        assert await run(name, ASKING[name], where, ROOT, *MINE) == 0, capsys.readouterr().err
        assert await run(ROOT, *MINE, name, where, ASKING[name]) == 0, capsys.readouterr().err
        for lacking in ([ROOT], []):
            capsys.readouterr()
            assert await run(name, ASKING[name], where, "--timeout=500ms", *lacking) == 1
            said = capsys.readouterr()
            assert (said.out, said.err.count("\n")) == ("", 1)


@pytest.mark.parametrize("name", SERVERS)
async def test_a_server_with_one_way_tls_needs_its_authority_only(name, tmp_path, capsys) -> None:
    """``--root_cert`` alone switches TLS on."""
    async with serving(name, tmp_path, mutual=False) as where:
        assert await run(name, ASKING[name], where, ROOT) == 0, capsys.readouterr().err


@pytest.mark.parametrize("name", SERVERS)
@pytest.mark.parametrize("lonely", MINE)
async def test_half_a_pair_is_refused(name, lonely, capsys) -> None:
    """A key without its certificate, or the other way round, would be no use."""
    assert await run(name, ASKING[name], ROOT, lonely) == 1
    assert "--private_key and --trust_chain belong together" in capsys.readouterr().err


@pytest.mark.parametrize("name", SERVERS)
async def test_a_file_that_cannot_be_read_is_named(name, capsys) -> None:
    """It is never plain text instead."""
    assert await run(name, ASKING[name], "--root_cert=nowhere.pem") == 1
    assert "nowhere.pem" in capsys.readouterr().err
