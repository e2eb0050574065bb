"""Serves Prometheus metrics over HTTP."""

from __future__ import annotations

import asyncio
import importlib
import socket
import threading
from typing import TYPE_CHECKING, Any

from cogment_core.errors import UsageError
from cogment_core.logs import logger

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

    from prometheus_client import CollectorRegistry

__all__ = ["MetricsServer", "serve_metrics"]

_CLOSE_TIMEOUT = 5.0
"""Seconds that the server of metrics has to stop."""


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
