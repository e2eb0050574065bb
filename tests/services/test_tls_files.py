"""TLS of the servers, with real certificates over real connections."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from pathlib import Path

import grpc.aio
import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from cogment_core.api import common_pb2
from cogment_core.api.datalog_pb2 import RunTrialDatalogInput, RunTrialDatalogOutput
from cogment_core.api.datalog_pb2_grpc import DatalogSPServicer, DatalogSPStub, add_DatalogSPServicer_to_server
from cogment_core.channels import open_channel
from cogment_core.endpoints import Endpoint
from cogment_core.errors import UsageError
from cogment_services import tls as module
from cogment_services.exposure import check_exposure, is_loopback
from cogment_services.listener import Listener, Service
from cogment_services.tls import load_tls


class Echo(DatalogSPServicer):
    """A stream that answers each message."""

    async def RunTrialDatalog(self, request_iterator, context):
        async for _ in request_iterator:
            yield RunTrialDatalogOutput()

    async def Version(self, request, context):
        return common_pb2.VersionInfo()


class Files:
    """The files of a server, written anew at will."""

    def __init__(self, folder: Path, authority: trustme.CA) -> None:
        self.authority = authority
        self.key, self.chain, self.root = (str(folder / name) for name in ("key.pem", "chain.pem", "root.pem"))
        authority.cert_pem.write_to_path(self.root)
        self.write(self.certificate())

    def certificate(self) -> trustme.LeafCert:
        return self.authority.issue_cert("localhost", "127.0.0.1")

    def write(self, certificate: trustme.LeafCert, *, key: bool = True, chain: bool = True) -> None:
        if key:
            certificate.private_key_pem.write_to_path(self.key)
        if chain:
            Path(self.chain).write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> Files:
    return Files(tmp_path, authority)


@asynccontextmanager
async def listening(files: Files, *, mutual: bool) -> AsyncIterator[int]:
    service = Service("cogmentAPI.DatalogSP", add_DatalogSPServicer_to_server, Echo())
    tls = load_tls(files.key, files.root if mutual else None, files.chain)
    listener = Listener([service], "127.0.0.1", 0, tls)
    await listener.start()
    try:
        yield listener.port
    finally:
        await listener.close(0)


def client(files: Files, port: int, certificate: trustme.LeafCert | None = None) -> grpc.aio.Channel:
    endpoint = Endpoint(f"grpc://127.0.0.1:{port}", use_ssl=True)
    endpoint.root_certificates = files.authority.cert_pem.bytes().decode()
    if certificate is not None:
        endpoint.private_key = certificate.private_key_pem.bytes().decode()
        endpoint.certificate_chain = certificate.cert_chain_pems[0].bytes().decode()
    return open_channel(endpoint)


async def version(channel: grpc.aio.Channel) -> common_pb2.VersionInfo:
    return await DatalogSPStub(channel).Version(common_pb2.VersionRequest(), timeout=10)


async def test_without_an_authority_everybody_may_connect_encrypted(files: Files) -> None:
    """One-way TLS: a key and a certificate are enough."""
    async with listening(files, mutual=False) as port, client(files, port) as channel:
        await version(channel)


async def test_with_an_authority_only_certified_peers_may_connect(files: Files) -> None:
    """Mutual TLS: who has no certificate, or one of somebody else, gets nowhere."""
    stranger = trustme.CA().issue_cert("localhost")
    async with listening(files, mutual=True) as port:
        async with client(files, port, files.certificate()) as channel:
            await version(channel)
        for certificate in (None, stranger):
            async with client(files, port, certificate) as channel:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await version(channel)
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_plain_text_gets_nowhere_where_tls_is_asked_for(files: Files) -> None:
    """A server with TLS does not talk to those without."""
    async with listening(files, mutual=False) as port, open_channel(Endpoint(f"grpc://127.0.0.1:{port}")) as channel:
        with pytest.raises(grpc.aio.AioRpcError):
            await version(channel)


async def test_new_files_are_used_by_new_connections_and_open_streams_live_on(files: Files) -> None:
    """A certificate is replaced without a restart, and without dropping what runs."""
    async with listening(files, mutual=True) as port:
        mine = files.certificate()
        async with client(files, port, mine) as old:
            stream = DatalogSPStub(old).RunTrialDatalog()
            await stream.write(RunTrialDatalogInput())
            assert await asyncio.wait_for(stream.read(), 10) is not grpc.aio.EOF
            fresh = files.certificate()
            files.write(fresh)
            seen = await asyncio.to_thread(_shown_to, port, files, mine)
            assert seen == fresh.cert_chain_pems[0].bytes().decode().strip()
            await stream.write(RunTrialDatalogInput())
            assert await asyncio.wait_for(stream.read(), 10) is not grpc.aio.EOF
            stream.cancel()


async def test_half_a_replacement_changes_nothing(files: Files) -> None:
    """Between the new key and the new certificate, connections are made with the old ones."""
    async with listening(files, mutual=True) as port:
        mine = files.certificate()
        before = await asyncio.to_thread(_shown_to, port, files, mine)
        fresh = files.certificate()
        files.write(fresh, chain=False)
        assert await asyncio.to_thread(_shown_to, port, files, mine) == before
        files.write(fresh, key=False)
        assert await asyncio.to_thread(_shown_to, port, files, mine) != before


@pytest.mark.parametrize("which", ["key", "chain", "root"])
async def test_half_a_file_changes_nothing(files: Files, which: str, caplog: pytest.LogCaptureFixture) -> None:
    """A file that is being written keeps nobody out, and the log says what is wrong, once."""
    path = Path(getattr(files, which))
    whole = await asyncio.to_thread(path.read_text)
    async with listening(files, mutual=True) as port:
        mine = files.certificate()

        async def shown() -> str:
            return await asyncio.to_thread(_shown_to, port, files, mine)

        before = await shown()
        for half in (whole[: len(whole) // 2], "", None):
            caplog.clear()
            _write(path, half)
            assert [await shown(), await shown()] == [before, before]
            assert caplog.text.count("cannot be used yet") == 1
            assert "the new files" not in caplog.text
        _write(path, whole)
        assert await shown() == before
        assert "the new files" in caplog.text


def _write(path: Path, text: str | None) -> None:
    """Write a file, or remove it."""
    if text is None:
        path.unlink()
    else:
        path.write_text(text)


async def test_files_that_change_before_the_server_listens_count(files: Files) -> None:
    """Servers open their stores in between, which may take a while."""
    service = Service("cogmentAPI.DatalogSP", add_DatalogSPServicer_to_server, Echo())
    listener = Listener([service], "127.0.0.1", 0, load_tls(files.key, files.root, files.chain))
    fresh = files.certificate()
    files.write(fresh)
    await listener.start()
    seen = await asyncio.to_thread(_shown_to, listener.port, files, files.certificate())
    assert seen == fresh.cert_chain_pems[0].bytes().decode().strip()
    await listener.close(0)


async def test_files_that_change_while_they_are_read_are_not_used(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key and a certificate of different moments could be a pair for the check, and none for the server."""
    async with listening(files, mutual=True) as port:
        mine, fresh, last = (files.certificate() for _ in range(3))
        check = module._check_pair

        def check_and_replace(*paths: Path) -> None:
            check(*paths)
            monkeypatch.setattr(module, "_check_pair", check)
            files.write(last)

        before = await asyncio.to_thread(_shown_to, port, files, mine)
        monkeypatch.setattr(module, "_check_pair", check_and_replace)
        files.write(fresh)
        assert await asyncio.to_thread(_shown_to, port, files, mine) == before
        seen = await asyncio.to_thread(_shown_to, port, files, mine)
        assert seen == last.cert_chain_pems[0].bytes().decode().strip()


def _shown_to(port: int, files: Files, certificate: trustme.LeafCert) -> str:
    """The certificate that the server shows to a client that connects now."""
    context = ssl.create_default_context(cadata=files.authority.cert_pem.bytes().decode())
    context.set_alpn_protocols(["h2"])
    certificate.configure_cert(context)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        shown = secure.getpeercert(binary_form=True)
    assert shown is not None
    return ssl.DER_cert_to_PEM_cert(shown).strip()


def test_a_key_and_a_certificate_that_do_not_belong_together_are_refused(files: Files) -> None:
    """The error comes at the start, and names both files."""
    files.write(files.certificate(), chain=False)
    with pytest.raises(UsageError, match="are no key and its certificate"):
        load_tls(files.key, None, files.chain)


@pytest.mark.parametrize("missing", ["key", "chain"])
def test_half_of_the_files_is_an_error_that_names_the_missing_one(files: Files, missing: str) -> None:
    """TLS with a part of it missing is never plain text."""
    key, chain = (None if missing == "key" else files.key), (None if missing == "chain" else files.chain)
    with pytest.raises(UsageError, match="missing: " + {"key": "private_key", "chain": "trust_chain"}[missing]):
        load_tls(key, files.root, chain)


def test_a_file_that_is_no_pem_is_refused(files: Files) -> None:
    """The error says which file."""
    Path(files.root).write_text("nonsense")
    with pytest.raises(UsageError, match=r"root_cert: .*is no PEM file"):
        load_tls(files.key, files.root, files.chain)


def test_half_an_authority_is_refused(files: Files) -> None:
    """It would let nobody in."""
    root = Path(files.root)
    root.write_text(root.read_text()[:300])
    with pytest.raises(UsageError, match=r"root_cert: there is no whole certificate in"):
        load_tls(files.key, files.root, files.chain)


def test_a_key_with_a_passphrase_is_refused(files: Files) -> None:
    """The server would wait at its start for somebody to type it."""
    key = serialization.load_pem_private_key(Path(files.key).read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )
    Path(files.key).write_bytes(locked)
    with pytest.raises(UsageError, match=r"private_key: .* has a passphrase"):
        load_tls(files.key, None, files.chain)


@pytest.mark.parametrize(
    ("dates", "said"),
    [
        ({"not_after": datetime(2020, 2, 1, tzinfo=timezone.utc)}, "expired on 2020-02-01"),
        ({"not_before": datetime(2990, 1, 1, tzinfo=timezone.utc)}, "is not valid before 2990-01-01"),
        ({}, ""),
    ],
)
async def test_a_certificate_out_of_its_time_is_told(
    files: Files, dates: dict[str, datetime], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Peers only say that they cannot connect; so they do at once."""
    dates = {"not_before": datetime(2020, 1, 1, tzinfo=timezone.utc), **dates} if said else {}
    dates = {**dates, "not_after": datetime(2999, 1, 1, tzinfo=timezone.utc)} if "before" in said else dates
    files.write(files.authority.issue_cert("localhost", "127.0.0.1", **dates))
    async with listening(files, mutual=False) as port, client(files, port) as channel:
        if said:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await version(channel)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        else:
            await version(channel)
    assert said in caplog.text
    assert bool(said) == ("the certificate in" in caplog.text)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_this_machine_needs_nothing(host: str) -> None:
    """The loopback addresses are open to this machine only."""
    assert is_loopback(host)
    check_exposure(host, None, insecure=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.example.org"])
def test_listening_wider_needs_mutual_tls_or_to_be_asked_for(files: Files, host: str) -> None:
    """F13: nothing is open by mistake."""
    one_way, mutual = load_tls(files.key, None, files.chain), load_tls(files.key, files.root, files.chain)
    for tls in (None, one_way):
        with pytest.raises(UsageError, match="--insecure"):
            check_exposure(host, tls, insecure=False)
        check_exposure(host, tls, insecure=True)
    check_exposure(host, mutual, insecure=False)


def test_the_private_key_is_not_shown(files: Files) -> None:
    """F11: neither in a log nor in a traceback."""
    assert "PRIVATE" not in repr(load_tls(files.key, files.root, files.chain))
