"""Connections of the Orchestrator to the services of its trials."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from cogment_core.api.common_pb2 import ENDED, NORMAL, VersionRequest
from cogment_core.api.environment_pb2_grpc import EnvironmentSPStub
from cogment_core.api.orchestrator_pb2 import TrialStartRequest
from cogment_core.api.orchestrator_pb2_grpc import TrialLifecycleSPStub
from cogment_core.channels import open_channel
from cogment_core.errors import UsageError
from cogment_core.inprocess import InProcessEndpoint, InProcessServer
from cogment_services.orchestrator import Orchestrator
from cogment_services.orchestrator import channels as module
from cogment_services.orchestrator.channels import Pacer, PeerChannels
from cogment_services.tls import load_tls

TLS = Path(__file__).parents[1] / "data" / "tls"


async def test_all_trials_share_one_connection_to_an_address(wire, peers) -> None:
    """However many streams there are, there is one connection for each address."""
    for _ in range(5):
        await wire.start(peers.params("alice", "bob"))
    for _ in range(10):
        await (await peers.actor()).expect(NORMAL, "init_input")
    assert len(wire.orchestrator._channels._shared) == 1


@pytest.mark.parametrize("reached", [True, False])
async def test_a_connection_that_nobody_uses_is_closed(wire, peers, monkeypatch, reached) -> None:
    """It is kept for a while, for the next trial; one that led nowhere is not."""
    monkeypatch.setattr(module, "IDLE_TIMEOUT", 0.05 if reached else 60.0)
    params = peers.params("alice")
    if not reached:
        params.actors[0].endpoint = "grpc://127.0.0.1:9"
    watch = await wire.watch(ENDED)
    trial_id = await wire.start(params)
    if reached:
        alice = await peers.actor()
        await wire.terminate(trial_id, hard=True)
        alice.over.set()
    await watch.next()
    for _ in range(1000):
        if not wire.orchestrator._channels._shared:
            return
        await asyncio.sleep(0.005)
    pytest.fail("the connection is still there")


async def test_channels_within_the_process_last_as_long_as_their_servers() -> None:
    """They are shared, and forgotten once their server is stopped."""
    channels = PeerChannels()
    one, two = InProcessServer("one"), InProcessServer("two")
    assert channels.local(InProcessEndpoint(one)) is channels.local(InProcessEndpoint(one))
    await one.stop()
    channels.local(InProcessEndpoint(two))
    assert list(channels._local) == [two]
    await channels.close()
    with pytest.raises(UsageError, match="closed"):
        channels.local(InProcessEndpoint(two))


async def test_with_tls_services_are_called_with_the_same_certificate(tls_peers) -> None:
    """Every connection to others is mutual TLS then, whatever the endpoint says."""
    files = [str(TLS / name) for name in ("client.key", "ca.pem", "client.pem")]
    async with Orchestrator(tls=load_tls(*files), grace=0) as orchestrator:
        stub = TrialLifecycleSPStub(open_channel(orchestrator.endpoint))
        await stub.StartTrial(TrialStartRequest(params=tls_peers.params("alice")))
        assert (await (await tls_peers.actor()).begin()).actor_name == "alice"
        await (await tls_peers.environment()).begin()


async def test_a_new_certificate_is_shown_to_others_too(tls_peers, tmp_path) -> None:
    """The files are looked at when a trial starts: who was let in nowhere is, with a certificate of the authority."""
    key, root, chain = (tmp_path / name for name in ("client.key", "ca.pem", "client.pem"))
    root.write_bytes((TLS / root.name).read_bytes())
    stranger = trustme.CA().issue_cert("localhost")
    stranger.private_key_pem.write_to_path(str(key))
    stranger.cert_chain_pems[0].write_to_path(str(chain))
    async with Orchestrator(tls=load_tls(str(key), str(root), str(chain)), grace=0) as orchestrator:
        stub = TrialLifecycleSPStub(open_channel(orchestrator.endpoint))
        await stub.StartTrial(TrialStartRequest(params=tls_peers.params("alice")))
        while orchestrator._channels._shared:  # dropped once it is known to lead nowhere
            await asyncio.sleep(0.005)
        for path in (key, chain):
            path.write_bytes((TLS / path.name).read_bytes())
        assert tls_peers.actors.empty()
        await stub.StartTrial(TrialStartRequest(params=tls_peers.params("alice")))
        await (await tls_peers.actor()).begin()


async def test_connections_of_another_certificate_are_others(tls_peers, tmp_path) -> None:
    """An open connection is not reused with a new certificate, and what runs on it goes on."""
    files = [tmp_path / name for name in ("client.key", "ca.pem", "client.pem")]
    for path in files:
        path.write_bytes((TLS / path.name).read_bytes())
    outgoing = load_tls(*map(str, files)).outgoing().with_url(tls_peers.address)
    channels = PeerChannels()
    service = "cogmentAPI.EnvironmentSP"
    async with channels.use(outgoing.current(), service) as old:
        async with channels.use(outgoing.current(), service) as again:
            assert again is old
        files[0].write_bytes((TLS / "server.key").read_bytes())
        files[2].write_bytes((TLS / "server.pem").read_bytes())
        async with channels.use(outgoing.current(), service) as new:
            assert new is not old
            await EnvironmentSPStub(old).Version(VersionRequest(), timeout=10)
    await channels.close()


@given(st.lists(st.floats(0, 3), max_size=300), st.integers(1, 20), st.floats(1, 100))
def test_a_burst_is_let_through_and_then_the_rate(pauses: list[float], burst: int, rate: float) -> None:
    """In any stretch of time no more streams are opened than the burst and what the rate allows."""
    pacer = Pacer(burst, rate)
    now = 100.0
    opened: list[float] = []
    for pause in pauses:
        now += pause
        opened.append(now + pacer.delay(now))
    assert opened == sorted(opened)
    for first, start in enumerate(opened):
        for last in range(first, len(opened)):
            assert last - first + 1 <= burst + 1 + (opened[last] - start) * rate + 1e-6
    fresh = Pacer(burst, rate)
    assert all(fresh.delay(5.0) < 1e-6 for _ in range(burst))
    assert fresh.delay(5.0) > 1e-3
