"""OpenTelemetry traces of trials, and how the command is told to send them."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from importlib import metadata
from typing import Any

import grpc.aio
import pytest
from opentelemetry import trace
from opentelemetry.sdk.resources import SERVICE_NAME
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from cogment_core.api import orchestrator_pb2
from cogment_core.api.common_pb2 import ENDED, PENDING, RUNNING, TrialParams
from cogment_core.api.orchestrator_pb2_grpc import TrialLifecycleSPStub
from cogment_core.errors import UsageError
from cogment_services.orchestrator import Orchestrator
from cogment_services.orchestrator.limits import Limits
from cogment_services.orchestrator.metrics import OrchestratorMetrics
from cogment_services.orchestrator.observer import NOBODY, Loss
from cogment_services.orchestrator.shared import Shared
from cogment_services.orchestrator.traces import TrialTraces
from cogment_services.tracing import traced, tracer_provider

PATIENCE = 60.0


class Recorder:
    """A provider whose spans are kept."""

    def __init__(self, **settings: Any) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False, **settings)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def spans(self, name: str) -> list[ReadableSpan]:
        return sorted(
            (span for span in self._exporter.get_finished_spans() if span.name == name),
            key=lambda span: (span.start_time, span.end_time),
        )


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def parent(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def ended(trial_traces: TrialTraces, trial_id: str = "t", reason: str = "") -> None:
    """A trial of two actors and one step that is over."""
    trial = trial_traces.trial(trial_id)
    assert trial is not None
    trial.entered(PENDING)
    trial.began(["pilot", "judge"])
    trial.observed(0, [b"secret", b"secret"])
    trial.entered(RUNNING)
    trial.acted(1)
    trial.acted(0)
    trial.answered([b"secret", b"secret"], last=True)
    trial.observed(1, [b"secret", b"secret"])
    trial.entered(ENDED, reason)


def test_a_trial_has_ticks_and_these_have_responses(recorder: Recorder) -> None:
    """The trial is the root, ticks are in it, and responses in their tick, from the observations on."""
    ended(TrialTraces(recorder.provider))
    (trial,) = recorder.spans("trial")
    first, second = recorder.spans("tick")
    responses = recorder.spans("actor response")
    assert [parent(span) for span in (trial, first, second)] == [None, *[trial.context.span_id] * 2]
    assert [parent(span) for span in responses] == [first.context.span_id] * 2
    assert trial.attributes == {"cogment.trial_id": "t", "cogment.trial.state": "ENDED", "cogment.trial.actors": 2}
    assert [event.name for event in trial.events] == ["PENDING", "RUNNING", "ENDED"]
    assert [dict(span.attributes or {}) for span in (first, second)] == [{"cogment.tick_id": 0}, {"cogment.tick_id": 1}]
    assert [dict(span.attributes or {}) for span in responses] == [
        {"cogment.actor.index": 1, "cogment.actor.class": "judge"},
        {"cogment.actor.index": 0, "cogment.actor.class": "pilot"},
    ]
    assert {span.start_time for span in responses} == {first.start_time}
    assert trial.status.is_ok or trial.status.is_unset


def test_the_end_reason_of_a_trial_that_was_forced_to_end_is_an_error(recorder: Recorder) -> None:
    """Whoever looks for trials that went wrong finds them, and who was lost."""
    traces = TrialTraces(recorder.provider)
    trial = traces.trial("t")
    assert trial is not None
    trial.lost(3, Loss.UNRESPONSIVE)
    trial.lost(None, Loss.DISCONNECTED)
    trial.entered(ENDED, "the actors slept")
    (span,) = recorder.spans("trial")
    assert (span.attributes or {})["cogment.trial.end_reason"] == "the actors slept"
    assert (span.status.is_ok, span.status.description) == (False, "the actors slept")
    assert [(event.name, dict(event.attributes or {})) for event in span.events[:2]] == [
        (
            "participant lost",
            {"cogment.participant": "actor", "cogment.actor.index": 3, "cogment.cause": "unresponsive"},
        ),
        ("participant lost", {"cogment.participant": "environment", "cogment.cause": "disconnected"}),
    ]


def test_a_trial_is_a_root_wherever_it_is_started(recorder: Recorder) -> None:
    """It outlives what started it."""
    with recorder.provider.get_tracer("test").start_as_current_span("outside"):
        ended(TrialTraces(recorder.provider))
    (trial,) = recorder.spans("trial")
    assert trial.parent is None


def test_trials_that_the_sampler_leaves_out_are_not_watched() -> None:
    """Nothing is done in their steps."""
    traces = TrialTraces(Recorder(sampler=ALWAYS_OFF).provider)
    assert traces.trial("t") is None
    shared = Shared(Limits(), OrchestratorMetrics(None), traces=traces)
    assert shared.observer("t") is NOBODY
    assert Shared(Limits(), OrchestratorMetrics(None)).observer("t") is NOBODY


async def test_an_orchestrator_traces_its_trials(recorder: Recorder) -> None:
    """A trial that cannot be started has its span, and the provider is left to whose it is."""
    async with Orchestrator(tracer_provider=recorder.provider, port=0) as orchestrator:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{orchestrator.port}") as channel:
            await refused(channel)
        (span,) = recorder.spans("trial")
    assert [event.name for event in span.events] == ["INITIALIZING", "ENDED"]
    assert (span.attributes or {})["cogment.trial_id"] == "mine"
    assert span.status.description == "it was not started"
    assert "planted" not in span.to_json()
    with recorder.provider.get_tracer("test").start_as_current_span("later"):
        pass
    assert recorder.spans("later")


async def refused(channel: Any) -> None:
    """Start a trial that has no environment."""
    params = TrialParams(properties={"password": "planted"})
    params.environment.endpoint = "cogment://discover?token=planted"
    request = orchestrator_pb2.TrialStartRequest(params=params, trial_id_requested="mine", user_id="planted")
    stub: Any = TrialLifecycleSPStub(channel)
    with pytest.raises(grpc.aio.AioRpcError):
        await stub.StartTrial(request, timeout=PATIENCE)


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_SERVICE_NAME": "mine"},
        {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"},
        {"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_TRACES_EXPORTER": "", "OTEL_EXPORTER_OTLP_ENDPOINT": ""},
    ],
)
def test_traces_are_off_unless_asked_for(variables: dict[str, str]) -> None:
    """As the specification of the variables says."""
    assert tracer_provider("orchestrator", variables) is None


def test_traces_go_where_the_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exporter is found by its name, and the service has one."""
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    provider = tracer_provider("orchestrator", {"OTEL_TRACES_EXPORTER": "console"})
    assert provider is not None
    assert provider.resource.attributes[SERVICE_NAME] == "orchestrator"
    provider.shutdown()
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    provider = tracer_provider("orchestrator", {"OTEL_TRACES_EXPORTER": "console"})
    assert provider is not None
    assert provider.resource.attributes[SERVICE_NAME] == "mine"
    provider.shutdown()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, ["otlp_proto_grpc", "otlp_proto_http"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x"}, ["otlp_proto_grpc", "otlp_proto_http"]),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ["otlp_proto_grpc"]),
        (
            {
                "OTEL_TRACES_EXPORTER": "otlp",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            ["otlp_proto_http"],
        ),
    ],
)
def test_the_protocol_chooses_the_exporter(
    variables: dict[str, str], expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An endpoint alone asks for traces, too; without a protocol any exporter does."""
    asked: list[str] = []

    def entry_points(*, group: str, name: str | None = None) -> list[Any]:
        assert group == "opentelemetry_traces_exporter"
        asked.extend([] if name is None else [name])
        return []

    monkeypatch.setattr(metadata, "entry_points", entry_points)
    with pytest.raises(UsageError, match=re.escape('"cogment-services[otel]"')):
        tracer_provider("orchestrator", variables)
    assert asked == expected


def test_an_exporter_that_is_not_there_is_an_error() -> None:
    """The text says which there are, and what to install."""
    with pytest.raises(UsageError, match=r"no exporter of traces 'jager', only: .*console.*\[otel\]"):
        tracer_provider("orchestrator", {"OTEL_TRACES_EXPORTER": "console, jager"})
    with pytest.raises(UsageError, match="'udp', it has to be grpc or http/protobuf"):
        tracer_provider("orchestrator", {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "udp"})


def test_without_the_package_a_warning_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The server works all the same."""
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with caplog.at_level("WARNING", "cogment.sdk"):
        assert tracer_provider("orchestrator", {"OTEL_TRACES_EXPORTER": "otlp"}) is None
    (record,) = caplog.records
    assert 'install "cogment-services[otel]"' in record.getMessage()


def test_nothing_is_imported_without_need() -> None:
    """Neither an Orchestrator nor the command's module brings OpenTelemetry in."""
    code = (
        "import sys, cogment_services.tracing as t; from cogment_services.orchestrator import Orchestrator;"
        "Orchestrator(); t.tracer_provider('x', {}); assert 'opentelemetry' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)


class Quiet:
    """A server that does nothing."""

    listening = "[port:1]"

    async def start(self) -> None:
        """Serve nothing."""

    async def close(self, grace: float) -> None:
        """Stop nothing."""


async def test_the_last_spans_are_sent_when_the_server_stops(recorder: Recorder) -> None:
    """Once, however often it is closed."""
    server = traced(Quiet(), recorder.provider)
    await server.start()
    await server.close(5.0)
    await server.close(0.0)
    assert server.listening == "[port:1]"
    with recorder.provider.get_tracer("test").start_as_current_span("later"):
        pass
    assert not recorder.spans("later")
    quiet = Quiet()
    assert traced(quiet, None) is quiet


async def test_a_collector_that_does_not_answer_keeps_no_server(caplog: pytest.LogCaptureFixture) -> None:
    """The server stops within its grace, and says what was lost."""
    loop = asyncio.get_running_loop()
    answered = asyncio.Event()
    over = asyncio.Event()

    class Deaf(TracerProvider):
        def shutdown(self) -> None:
            asyncio.run_coroutine_threadsafe(answered.wait(), loop).result(PATIENCE)
            loop.call_soon_threadsafe(over.set)

    with caplog.at_level("WARNING", "cogment.sdk"):
        await asyncio.wait_for(traced(Quiet(), Deaf(shutdown_on_exit=False)).close(0.0), PATIENCE)
    assert "the last spans are not sent" in caplog.text
    answered.set()
    await asyncio.wait_for(over.wait(), PATIENCE)


async def test_the_command_sends_traces() -> None:
    """``cogment services orchestrator`` traces as the environment variables say, up to its last span."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("COGMENT_", "OTEL_"))}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cogment_services", "services", "orchestrator"),
        *("--lifecycle_port=0", "--actor_port=0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**variables, "OTEL_TRACES_EXPORTER": "console"},
    )
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), PATIENCE)).decode()
        match = re.fullmatch(r"server listening \[port:(\d+)\].*\n", line)
        assert match, line
        async with grpc.aio.insecure_channel(f"127.0.0.1:{match[1]}") as channel:
            await refused(channel)
        process.send_signal(signal.SIGTERM)
        output, log = await asyncio.wait_for(process.communicate(), PATIENCE)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    span = json.loads(output)
    assert (span["name"], span["parent_id"]) == ("trial", None)
    assert span["resource"]["attributes"]["service.name"] == "cogment-orchestrator"
    assert "traces are sent (console)" in log.decode()
    assert (process.returncode, b"planted" in output) == (0, False)


def test_a_provider_without_the_sdk_does_nothing() -> None:
    """The API alone has a provider that makes no spans."""
    assert TrialTraces(trace.NoOpTracerProvider()).trial("t") is None
