"""Prometheus metrics of actors and environments.

``prometheus_client`` takes long to import and is not imported before it is needed: without a registry it never is.
"""

from __future__ import annotations

import asyncio
import importlib
import math
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast
from weakref import WeakKeyDictionary

from cogment_core.errors import UsageError
from cogment_core.logs import logger
from cogment_core.sessions.observer import SessionObserver

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

    from prometheus_client import CollectorRegistry, Counter, Gauge, Summary
    from prometheus_client.metrics import MetricWrapperBase

    MetricT = TypeVar("MetricT", bound=MetricWrapperBase)

CollectorsT = TypeVar("CollectorsT")

__all__ = ["ActorMetrics", "EnvironmentMetrics", "MetricsServer", "RegistrationMetrics", "serve_metrics"]

_MAX_NAMES = 100
"""How many actors have metrics of their own: trials name actors as they like, and each name stays for ever."""

_OTHER_NAMES = "(other)"
"""Stands for the names of all further actors."""

_CLOSE_TIMEOUT = 5.0
"""Seconds that the server of metrics has to stop."""


class ActorMetrics:
    """Metrics of the served actors; shared by all that use the same registry.

    Args:
        registry: Where the metrics are kept; None for no metrics.
    """

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._collectors = None if registry is None else _collectors(_ActorCollectors, registry)

    def session(self, name: str, impl_name: str) -> SessionObserver:
        """Count a session that starts now, and what it reports until it ends.

        Args:
            name: Name of the actor.
            impl_name: Name of its implementation.
        """
        if self._collectors is None:
            return SessionObserver()
        return _ActorSession(self._collectors, name, impl_name)


class EnvironmentMetrics:
    """Metrics of the served environments; shared by all that use the same registry.

    Args:
        registry: Where the metrics are kept; None for no metrics.
    """

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._collectors = None if registry is None else _collectors(_EnvironmentCollectors, registry)

    def session(self, impl_name: str) -> SessionObserver:
        """Count a session that starts now, and what it reports until it ends.

        Args:
            impl_name: Name of the environment's implementation.
        """
        if self._collectors is None:
            return SessionObserver()
        return _EnvironmentSession(self._collectors, impl_name)


class RegistrationMetrics:
    """Metrics of the registration in a Directory; shared by all that use the same registry.

    Args:
        registry: Where the metrics are kept; None for no metrics.
    """

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._collectors = None if registry is None else _collectors(_RegistrationCollectors, registry)

    def registered_again(self) -> None:
        """A service was registered that had been registered before."""
        if self._collectors is not None:
            self._collectors.renewals.inc()


class _ActorSession(SessionObserver):
    """One actor's session. Labels are resolved once, not per event."""

    def __init__(self, collectors: _ActorCollectors, name: str, impl_name: str) -> None:
        name = collectors.shown_name(name)
        self._duration = collectors.duration.labels(name, impl_name)
        self._ended = collectors.ended.labels(impl_name)
        self._messages = collectors.received_messages.labels(name, impl_name)
        self._rewards = collectors.rewards.labels(name, impl_name)
        self._reward_sum = collectors.reward_sum.labels(name, impl_name)
        collectors.started.labels(impl_name).inc()
        self._start = time.perf_counter()

    def reward_received(self, value: float) -> None:
        self._rewards.inc()
        # NaN is in use as "no reward"; added once, it would stay the sum for ever.
        if not math.isnan(value):
            self._reward_sum.inc(value)

    def message_received(self) -> None:
        self._messages.inc()

    def ended(self) -> None:
        self._duration.observe(time.perf_counter() - self._start)
        self._ended.inc()


class _EnvironmentSession(SessionObserver):
    """One environment's session. Labels are resolved once, not per event."""

    def __init__(self, collectors: _EnvironmentCollectors, impl_name: str) -> None:
        self._duration = collectors.duration.labels(impl_name)
        self._update_counts = collectors.updates.labels(impl_name)
        self._ended = collectors.ended.labels(impl_name)
        self._received = collectors.received_messages.labels(impl_name)
        self._sent = collectors.sent_messages.labels(impl_name)
        collectors.started.labels(impl_name).inc()
        self._updates = 0
        self._start = time.perf_counter()

    def updated(self) -> None:
        self._updates += 1

    def message_received(self) -> None:
        self._received.inc()

    def message_sent(self) -> None:
        self._sent.inc()

    def ended(self) -> None:
        self._duration.observe(time.perf_counter() - self._start)
        self._update_counts.observe(self._updates)
        self._ended.inc()


# Names, labels and their meanings are those that existing dashboards use, odd ones included.


class _ActorCollectors:
    def __init__(self, make: _Maker) -> None:
        from prometheus_client import Counter, Gauge, Summary

        both, impl = ("name", "impl_name"), ("impl_name",)
        self.duration: Summary = make(Summary, "actor_decide_processing_seconds", "Seconds that sessions lasted", both)
        self.started: Counter = make(Counter, "actor_started", "Sessions that started", impl)
        self.ended: Counter = make(Counter, "actor_ended", "Sessions that ended", impl)
        self.received_messages: Counter = make(Counter, "actor_received_messages", "Messages received", both)
        self.rewards: Counter = make(Counter, "actor_rewards_count", "Rewards received", both)
        self.reward_sum: Gauge = make(Gauge, "actor_reward_summation", "Sum of the rewards received", both)
        self._names: set[str] = set()

    def shown_name(self, name: str) -> str:
        """What the label of an actor with this name says."""
        if name in self._names or len(self._names) < _MAX_NAMES:
            self._names.add(name)
            return name
        return _OTHER_NAMES


class _EnvironmentCollectors:
    def __init__(self, make: _Maker) -> None:
        from prometheus_client import Counter, Summary

        impl = ("impl_name",)
        self.duration: Summary = make(
            Summary, "environment_trial_duration_in_second", "Seconds that trials lasted", ("trial_actor",)
        )
        self.updates: Summary = make(
            Summary, "environment_update_count_per_trial", "Sets of observations in a trial", impl
        )
        self.started: Counter = make(Counter, "environment_trials_started", "Trials that started", impl)
        self.ended: Counter = make(Counter, "environment_trials_ended", "Trials that ended", impl)
        self.received_messages: Counter = make(Counter, "environment_received_messages", "Messages received", impl)
        self.sent_messages: Counter = make(Counter, "environment_sent_messages", "Messages sent", impl)


class _RegistrationCollectors:
    def __init__(self, make: _Maker) -> None:
        from prometheus_client import Counter

        self.renewals: Counter = make(
            Counter, "directory_reregistrations", "Services registered again in a Directory that had lost them", ()
        )


class _Maker:
    """Makes metrics in a registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def __call__(self, kind: type[MetricT], name: str, description: str, labels: Sequence[str]) -> MetricT:
        try:
            return kind(name, description, labels, registry=self._registry)
        except ValueError as error:
            # Only somebody else's metrics can be in the way, and they are no reason not to serve.
            logger.warning("metric %r is not published: %s", name, error)
            return kind(name, description, labels, registry=None)


_shared: WeakKeyDictionary[CollectorRegistry, dict[object, Any]] = WeakKeyDictionary()
_shared_lock = threading.Lock()


def _collectors(kind: Callable[[_Maker], CollectorsT], registry: CollectorRegistry) -> CollectorsT:
    """The collectors of this kind in ``registry``, which takes each name once: made by the first who asks."""
    with _shared_lock:
        made = _shared.setdefault(registry, {})
        if kind not in made:
            made[kind] = kind(_Maker(registry))
        return cast("CollectorsT", made[kind])


class MetricsServer:
    """Serves metrics over HTTP, in a thread of its own; made by `serve_metrics`.

    Args:
        server: The HTTP server.
        thread: The thread that runs it.
    """

    def __init__(self, server: WSGIServer, thread: threading.Thread) -> None:
        self._server = server
        self._thread = thread

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.server_port

    async def close(self) -> None:
        """Stop, and free the port. Closing twice is fine."""
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join(_CLOSE_TIMEOUT)
        self._server.server_close()


def serve_metrics(registry: CollectorRegistry, port: int, host: str) -> MetricsServer:
    """Serve the metrics of ``registry`` at ``http://host:port/metrics``.

    Args:
        registry: Where the metrics are kept.
        port: TCP port to listen on; 0 lets the system choose a free one.
        host: Address to listen on, ``0.0.0.0`` for all.

    Raises:
        UsageError: The address cannot be listened on, for example because the port is in use.
    """
    try:
        server = _http_server(registry, port, host)
    except (OSError, OverflowError) as error:
        raise UsageError(f"metrics cannot be served on {host}:{port}: {error}") from error
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    result = MetricsServer(server, thread)
    logger.info("metrics are served on http://%s:%d/metrics", host, result.port)
    return result


def _http_server(registry: CollectorRegistry, port: int, host: str) -> WSGIServer:
    """What ``prometheus_client.start_http_server`` makes; its older versions do not give it back."""
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

    make_app = importlib.import_module("prometheus_client").make_wsgi_app
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]

    class Server(ThreadingMixIn, WSGIServer):
        address_family = family
        daemon_threads = True

    class QuietHandler(WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Scrapes are nothing to tell."""

    return make_server(host, port, make_app(registry), Server, QuietHandler)
