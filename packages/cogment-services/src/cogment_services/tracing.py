"""OpenTelemetry traces, as the standard ``OTEL_…`` environment variables say.

Nothing of OpenTelemetry is imported before they ask for traces. The packages are an extra: ``cogment-services[otel]``.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any

from cogment_core.errors import UsageError
from cogment_core.logs import logger
from cogment_services.app import Server

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

__all__ = ["traced", "tracer_provider"]

LAST_SPANS = 0.5
"""Seconds that the last spans have to get out, when the server has no time left."""

_EXPORTERS = "opentelemetry_traces_exporter"
"""Entry points of exporters."""

_OTLP = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
"""The exporter for each protocol of OTLP."""

_INSTALL = 'install "cogment-services[otel]"'


def tracer_provider(service: str, variables: Mapping[str, str]) -> TracerProvider | None:
    """Where spans are to go; None if no traces are asked for, or they cannot be made: a warning says so then.

    ``OTEL_TRACES_EXPORTER``, ``OTEL_EXPORTER_OTLP_ENDPOINT`` or ``OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`` ask for traces.
    All else, for example the sampler, is for the SDK of OpenTelemetry to read.

    Args:
        service: What the server is called, unless the variables say so.
        variables: The environment variables.

    Raises:
        UsageError: There is no such exporter, or it does not work with its settings.
    """
    names = _exporter_names(variables)
    if not names:
        return None
    try:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        logger.warning("OTEL_… variables ask for traces, but opentelemetry-sdk is not here: no traces; %s", _INSTALL)
        return None
    exporters = [_exporter(name, variables) for name in names]
    # Not at the exit of the interpreter: that would wait for a collector that does not answer.
    provider = TracerProvider(resource=_resource(service), shutdown_on_exit=False)
    for exporter in exporters:
        provider.add_span_processor(BatchSpanProcessor(exporter))
    logger.info("traces are sent (%s)", ", ".join(names))
    return provider


def _exporter_names(variables: Mapping[str, str]) -> list[str]:
    if variables.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return []
    named = [name.strip() for name in variables.get("OTEL_TRACES_EXPORTER", "").split(",")]
    named = [name for name in named if name]
    if not named and any(variables.get(f"OTEL_EXPORTER_OTLP_{kind}ENDPOINT") for kind in ("", "TRACES_")):
        named = ["otlp"]
    return [name for name in named if name.lower() != "none"]


def _exporter(name: str, variables: Mapping[str, str]) -> Any:
    candidates = _otlp_exporters(variables) if name == "otlp" else [name]
    for candidate in candidates:
        for entry_point in metadata.entry_points(group=_EXPORTERS, name=candidate):
            try:
                return entry_point.load()()
            except Exception as error:  # whatever a package of somebody else raises
                raise UsageError(f"the exporter of traces {name!r} does not work: {error}") from error
    there = sorted({entry_point.name for entry_point in metadata.entry_points(group=_EXPORTERS)})
    raise UsageError(f"there is no exporter of traces {name!r}, only: {', '.join(there)}; or {_INSTALL}")


def _otlp_exporters(variables: Mapping[str, str]) -> list[str]:
    """Names of exporters for OTLP: that of the protocol, any if none is given."""
    general = variables.get("OTEL_EXPORTER_OTLP_PROTOCOL", "")
    protocol = variables.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or general
    if not protocol:
        return list(_OTLP.values())
    if protocol not in _OTLP:
        raise UsageError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}, it has to be {' or '.join(_OTLP)}")
    return [_OTLP[protocol]]


def _resource(service: str) -> Any:
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource

    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "unknown_service")).startswith("unknown_service"):
        return resource.merge(Resource({SERVICE_NAME: service}))
    return resource


def traced(server: Server, provider: TracerProvider | None) -> Server:
    """``server``, after whose end the last spans are sent.

    Args:
        server: The server, which makes the spans.
        provider: Where they go, which is ours to shut down; None for nowhere.
    """
    return server if provider is None else _TracedServer(server, provider)


class _TracedServer:
    def __init__(self, server: Server, provider: TracerProvider) -> None:
        self._server = server
        self._provider = provider
        self._sent: asyncio.Event | None = None

    @property
    def listening(self) -> str:
        """Where it can be reached."""
        return self._server.listening

    async def start(self) -> None:
        """Serve."""
        await self._server.start()

    async def close(self, grace: float) -> None:
        """Stop, and send the last spans."""
        loop = asyncio.get_running_loop()
        until = loop.time() + grace
        try:
            await self._server.close(grace)
        finally:
            await self._send_last_spans(max(LAST_SPANS, until - loop.time()))

    async def _send_last_spans(self, patience: float) -> None:
        if self._sent is None:
            self._sent = asyncio.Event()
            # A daemon, which the end of the process does not wait for.
            loop = asyncio.get_running_loop()
            threading.Thread(target=self._shut_down, args=(loop, self._sent), name="traces", daemon=True).start()
        try:
            await asyncio.wait_for(self._sent.wait(), patience)
        except asyncio.TimeoutError:
            logger.warning("the last spans are not sent: the collector of traces does not take them")

    def _shut_down(self, loop: asyncio.AbstractEventLoop, sent: asyncio.Event) -> None:
        try:
            self._provider.shutdown()
        finally:
            if not loop.is_closed():
                loop.call_soon_threadsafe(sent.set)
