"""Prometheus metrics."""

import asyncio
import gc
import logging
import math
import subprocess
import sys
import urllib.error
import urllib.request
import weakref

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.exposition import generate_latest

from cogment_core.errors import UsageError
from cogment_core.metrics import ActorMetrics, EnvironmentMetrics
from cogment_core.metrics_server import serve_metrics


def shown(registry):
    """The exposition as numbers by name and labels, without the times of creation."""
    lines = generate_latest(registry).decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs if "_created" not in name}


def test_an_actor_session_is_counted_under_the_existing_names():
    """Names, labels and meanings are those that existing dashboards read."""
    registry = CollectorRegistry()
    session = ActorMetrics(registry).session("ann", "random")
    before = shown(registry)
    assert before['actor_started_total{impl_name="random"}'] == 1
    assert before['actor_ended_total{impl_name="random"}'] == 0
    session.reward_received(1.5)
    session.reward_received(-0.5)
    session.message_received()
    session.ended()
    after = shown(registry)
    labels = '{impl_name="random",name="ann"}'
    assert after.pop(f"actor_decide_processing_seconds_sum{labels}") > 0
    assert after == {
        f"actor_decide_processing_seconds_count{labels}": 1,
        'actor_started_total{impl_name="random"}': 1,
        'actor_ended_total{impl_name="random"}': 1,
        f"actor_received_messages_total{labels}": 1,
        f"actor_rewards_count_total{labels}": 2,
        f"actor_reward_summation{labels}": 1,
    }


def test_an_environment_session_is_counted_under_the_existing_names():
    """The duration's label has an odd name, and the implementation as its value."""
    registry = CollectorRegistry()
    session = EnvironmentMetrics(registry).session("default")
    for _ in range(3):
        session.updated()
    session.message_received()
    session.message_sent()
    session.message_sent()
    session.ended()
    after = shown(registry)
    assert after.pop('environment_trial_duration_in_second_sum{trial_actor="default"}') > 0
    labels = '{impl_name="default"}'
    assert after == {
        'environment_trial_duration_in_second_count{trial_actor="default"}': 1,
        f"environment_update_count_per_trial_count{labels}": 1,
        f"environment_update_count_per_trial_sum{labels}": 3,
        f"environment_trials_started_total{labels}": 1,
        f"environment_trials_ended_total{labels}": 1,
        f"environment_received_messages_total{labels}": 1,
        f"environment_sent_messages_total{labels}": 2,
    }


def test_a_reward_that_is_not_a_number_does_not_spoil_the_sum():
    """NaN is counted, not added."""
    registry = CollectorRegistry()
    session = ActorMetrics(registry).session("ann", "random")
    session.reward_received(math.nan)
    session.reward_received(2)
    labels = '{impl_name="random",name="ann"}'
    assert shown(registry)[f"actor_rewards_count_total{labels}"] == 2
    assert shown(registry)[f"actor_reward_summation{labels}"] == 2


def test_two_contexts_share_the_metrics_of_a_registry():
    """The second to serve adds to the same series; another registry has its own."""
    registry, other = CollectorRegistry(), CollectorRegistry()
    for _ in range(2):
        ActorMetrics(registry).session("ann", "random")
        EnvironmentMetrics(registry).session("default")
    ActorMetrics(other).session("ann", "random")
    assert shown(registry)['actor_started_total{impl_name="random"}'] == 2
    assert shown(registry)['environment_trials_started_total{impl_name="default"}'] == 2
    assert shown(other)['actor_started_total{impl_name="random"}'] == 1
    assert not any(name.startswith("environment") for name in shown(other))


def test_somebody_elses_metric_of_the_same_name_is_no_reason_to_fail(caplog):
    """The one metric is left out with a warning, and sessions run."""
    registry = CollectorRegistry()
    Counter("actor_started", "Not ours", registry=registry)
    with caplog.at_level(logging.WARNING, "cogment.sdk"):
        ActorMetrics(registry).session("ann", "random").ended()
    assert "'actor_started' is not published" in caplog.text
    assert shown(registry)["actor_started_total"] == 0
    assert shown(registry)['actor_ended_total{impl_name="random"}'] == 1


def test_a_registry_is_not_kept_alive():
    """What belongs to a registry goes with it."""
    registry = CollectorRegistry()
    ActorMetrics(registry).session("ann", "random").ended()
    EnvironmentMetrics(registry).session("default").ended()
    alive = weakref.ref(registry)
    del registry
    gc.collect()
    assert alive() is None


def test_without_registry_nothing_is_counted_nor_imported():
    """No registry means no metrics, and no import of `prometheus_client`."""
    code = """
import sys
from cogment_core.metrics import ActorMetrics, EnvironmentMetrics
for session in (ActorMetrics(None).session("ann", "random"), EnvironmentMetrics(None).session("default")):
    session.reward_received(1.0)
    session.message_received()
    session.message_sent()
    session.updated()
    session.ended()
assert not [name for name in sys.modules if "prometheus" in name]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)


def fetch(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as reply:
        return reply.read().decode()


async def test_metrics_are_served_until_closed():
    """Port 0 gives a free port; closing, once or twice, frees it for the next."""
    registry = CollectorRegistry()
    ActorMetrics(registry).session("ann", "random")
    server = serve_metrics(registry, 0, "127.0.0.1")
    port = server.port
    assert 'actor_started_total{impl_name="random"} 1.0' in await asyncio.to_thread(fetch, port)
    await server.close()
    await server.close()
    with pytest.raises(urllib.error.URLError):
        await asyncio.to_thread(fetch, port)
    again = serve_metrics(registry, port, "127.0.0.1")
    assert again.port == port
    assert "actor_started" in await asyncio.to_thread(fetch, port)
    await again.close()


async def test_an_address_that_cannot_be_served_on_is_told():
    """A port in use, and one that is none, are usage errors that name the address."""
    registry = CollectorRegistry()
    server = serve_metrics(registry, 0, "127.0.0.1")
    try:
        for port in (server.port, 65536):
            with pytest.raises(UsageError, match=f"127.0.0.1:{port}"):
                serve_metrics(registry, port, "127.0.0.1")
    finally:
        await server.close()
