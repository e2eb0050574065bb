"""What all services share: the guard, the version, the status and the health of a server."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Callable
from importlib import metadata
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hypothesis import given
from hypothesis import strategies as st
from transports import MAKERS, PATH, AnyTransport, OneMethod, within

from cogment_core.api import agent_pb2_grpc, common_pb2
from cogment_core.cancellation import task_is_cancelled
from cogment_core.serving import Health, guard, guarded, overall_load, status_reply, version_info

SECRET = "/etc/passwd is a secret"


class Transport(AnyTransport):
    """Serves one method with the guard around it, and gives what calls it."""

    async def serve(self, kind: str, method: Callable[..., Any], *, by_name: bool = False) -> Any:
        def add(server: Any) -> None:
            if by_name:
                guarded(server).add_registered_method_handlers("test.Service", {"Do": MAKERS[kind](method)})
            else:
                guarded(server).add_generic_rpc_handlers((OneMethod(kind, method),))

        await self.start(add)
        return getattr(self.channel, kind)(PATH)


@pytest.fixture(params=["grpc", "inprocess"])
async def transport(request: pytest.FixtureRequest) -> AsyncIterator[Transport]:
    async with Transport(request.param) as transport:
        yield transport


@pytest.fixture
async def over_grpc() -> AsyncIterator[Transport]:
    async with Transport("grpc") as transport:
        yield transport


async def outcome(call: Any) -> grpc.aio.AioRpcError:
    """The error of a call of any kind."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await within(call if hasattr(call, "__await__") else call.read())
    return caught.value


def failing(kind: str, error: BaseException) -> Callable[..., Any]:
    """A method that raises ``error``, as a generator for streams of replies."""

    async def one(request: Any, context: Any) -> bytes:
        raise error

    async def many(request: Any, context: Any) -> AsyncIterator[bytes]:
        raise error
        yield b""

    return many if kind == "unary_stream" else one


# --- the guard --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MAKERS)
async def test_what_a_method_raises_stays_in_the_log(transport: Transport, kind: str, caplog: pytest.LogCaptureFixture):
    """A caller gets INTERNAL and a number; the exception and its traceback are in the log under that number."""
    do = await transport.serve(kind, failing(kind, ValueError(SECRET)))
    error = await outcome(do() if kind.startswith("stream") else do(b""))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert SECRET not in str(error)
    number = re.search(r"internal error (\w{8})", error.details() or "")
    assert number is not None
    assert number[1] in caplog.text
    assert SECRET in caplog.text
    assert "failing" in caplog.text


@pytest.mark.parametrize("kind", MAKERS)
async def test_a_cancellation_of_its_own_is_answered(transport: Transport, kind: str):
    """A method that meets a CancelledError without being cancelled answers INTERNAL at once."""
    do = await transport.serve(kind, failing(kind, asyncio.CancelledError()))
    error = await outcome(do() if kind.startswith("stream") else do(b""))
    assert error.code() is grpc.StatusCode.INTERNAL


async def test_the_cancellation_of_the_call_passes(transport: Transport, caplog: pytest.LogCaptureFixture):
    """A method whose call is cancelled is cancelled, and nobody calls that an error."""
    started, ended = asyncio.Event(), asyncio.Event()
    cancelled: list[bool | None] = []

    async def method(request: bytes, context: Any) -> bytes:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(task_is_cancelled())
            raise
        finally:
            ended.set()
        return b""

    call = (await transport.serve("unary_unary", method))(b"")
    await within(started.wait())
    call.cancel()
    await within(ended.wait())
    await asyncio.sleep(0.05)
    assert cancelled == [True if sys.version_info >= (3, 11) else None]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.parametrize("kind", MAKERS)
async def test_abort_passes(transport: Transport, kind: str, caplog: pytest.LogCaptureFixture):
    """What a method aborts with is the caller's error, and is not in the log."""

    async def one(request: Any, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
        return b""

    async def many(request: Any, context: Any) -> AsyncIterator[bytes]:
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
        yield b""

    do = await transport.serve(kind, many if kind == "unary_stream" else one)
    error = await outcome(do() if kind.startswith("stream") else do(b""))
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "no such thing")
    assert not [record for record in caplog.records if record.name.startswith("cogment")]


@pytest.mark.parametrize("by_name", [False, True])
async def test_replies_pass(transport: Transport, by_name: bool):
    """The guard changes nothing for a method that does its work, however it was added."""

    async def many(request: bytes, context: Any) -> AsyncIterator[bytes]:
        for number in request:
            yield bytes([number])

    if by_name and not hasattr(grpc.aio.Server, "add_registered_method_handlers") and transport.name == "grpc":
        pytest.skip("this grpcio has no methods by name")
    do = await transport.serve("unary_stream", many, by_name=by_name)
    assert [reply async for reply in do(b"abc")] == [b"a", b"b", b"c"]
    assert [reply async for reply in do(b"d")] == [b"d"]


async def test_methods_of_a_servicer_are_guarded(transport: Transport):
    """A whole servicer is guarded where it is added; a method that it lacks stays UNIMPLEMENTED."""

    class Servicer(agent_pb2_grpc.ServiceActorSPServicer):
        async def Version(self, request: Any, context: Any) -> Any:  # type: ignore[override]
            raise ValueError(SECRET)

    await transport.start(
        lambda server: agent_pb2_grpc.add_ServiceActorSPServicer_to_server(Servicer(), guarded(server))
    )
    stub: Any = agent_pb2_grpc.ServiceActorSPStub(transport.channel)
    error = await outcome(stub.Version(common_pb2.VersionRequest()))
    assert (error.code(), SECRET in str(error)) == (grpc.StatusCode.INTERNAL, False)
    assert (await outcome(stub.Status(common_pb2.StatusRequest()))).code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_request_that_cannot_be_decoded_is_refused(over_grpc: Transport):
    """Bytes that are no message are an INVALID_ARGUMENT of the caller, not a failure of the method."""

    class Servicer(agent_pb2_grpc.ServiceActorSPServicer):
        async def Status(self, request: Any, context: Any) -> Any:  # type: ignore[override]
            return common_pb2.StatusReply(statuses={name: "" for name in request.names})

    await over_grpc.start(
        lambda server: agent_pb2_grpc.add_ServiceActorSPServicer_to_server(Servicer(), guarded(server))
    )
    error = await outcome(over_grpc.channel.unary_unary("/cogmentAPI.ServiceActorSP/Status")(b"\xff\xff"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_guard_keeps_the_kind_of_a_method():
    """gRPC looks at what kind of function a method is; the guarded method is of the same kind, and has its name."""

    async def one(request: Any, context: Any) -> None:
        """Doc."""

    async def many(request: Any, context: Any) -> AsyncIterator[None]:
        yield None

    def plain(request: Any, context: Any) -> None:
        pass

    assert asyncio.iscoroutinefunction(guard(one))
    assert guard(one).__doc__ == "Doc."
    assert hasattr(guard(many)(None, None), "__anext__")
    assert guard(plain) is plain


# --- version and status -----------------------------------------------------------------------------------------------


def test_the_versions_are_told():
    """The version of the SDK and that of gRPC are told, after those of the service itself."""
    versions = [(entry.name, entry.version) for entry in version_info(cogment="3.0").versions]
    assert versions == [
        ("cogment", "3.0"),
        ("cogment_sdk", metadata.version("cogment-core")),
        ("grpc", metadata.version("grpcio")),
    ]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], {}),
        (["load"], {"load": "7"}),
        (["other"], {}),
        (["other", "nb"], {"nb": "2"}),
        (["*"], {"load": "7", "nb": "2"}),
        (["other", "*", "nothing"], {"load": "7", "nb": "2"}),
        (["nb", "nb"], {"nb": "2"}),
    ],
)
def test_a_status_is_what_was_asked_for(names: list[str], expected: dict[str, str]):
    """No names give nothing, unknown names are left out, and ``*`` is everything."""
    assert dict(status_reply(names, {"load": lambda: 7, "nb": lambda: 2}).statuses) == expected


def test_only_what_is_asked_for_is_measured():
    """An entry that nobody asks for is not measured."""

    def fail() -> int:
        raise AssertionError

    assert dict(status_reply(["a"], {"a": lambda: 1, "b": fail}).statuses) == {"a": "1"}


@given(load=st.floats(0, 1e6), processors=st.one_of(st.none(), st.integers(1, 512)))
def test_the_load_is_a_number_from_0_to_254(load: float, processors: int | None):
    """The load is a percentage of all processors, at most 254, because 255 means that a service does not answer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0), raising=False)
        patch.setattr(os, "cpu_count", lambda: processors)
        assert overall_load() == min(254, int(load / (processors or 1) * 100))


def test_the_load_is_0_where_it_is_not_known(monkeypatch: pytest.MonkeyPatch):
    """A system that does not tell its load has none."""

    def fail() -> tuple[float, float, float]:
        raise OSError

    monkeypatch.setattr(os, "getloadavg", fail, raising=False)
    assert overall_load() == 0


# --- health -----------------------------------------------------------------------------------------------------------


async def test_health_is_told_and_watched(transport: Transport):
    """A server is healthy from the beginning, until it says otherwise; watchers learn each change."""
    healths: list[Health] = []
    await transport.start(lambda server: healths.append(Health(server, ["test.Service"])))
    (health,) = healths
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    stub: Any = health_pb2_grpc.HealthStub(transport.channel)
    watching = stub.Watch(health_pb2.HealthCheckRequest(service="test.Service"))
    for is_serving, status in ((True, serving), (False, not_serving), (True, serving)):
        await health.set_serving(is_serving)
        for service in ("", "test.Service"):
            assert (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status == status
        assert (await within(watching.read())).status == status
    watching.cancel()
    unknown = await outcome(stub.Check(health_pb2.HealthCheckRequest(service="other")))
    assert unknown.code() is grpc.StatusCode.NOT_FOUND
