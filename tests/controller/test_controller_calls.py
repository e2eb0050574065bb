"""How the Controller uses its channel: each remote method is called once, and its failure is translated once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator
from typing import Any, NamedTuple, NoReturn

import grpc
import grpc.aio
import pytest

from cogment_controller import Controller, connect
from cogment_core.api import orchestrator_pb2
from cogment_core.endpoints import Endpoint
from cogment_core.enums import TrialState
from cogment_core.errors import NotFoundError, RpcError, UsageError

FAILURE = grpc.aio.AioRpcError(
    grpc.StatusCode.NOT_FOUND, grpc.aio.Metadata(), grpc.aio.Metadata(("reason", "gone")), "there is no such thing"
)


class Opened(NamedTuple):
    """A call that was made."""

    path: str
    request: Any
    timeout: float | None
    metadata: tuple[tuple[str, str | bytes], ...]


class FailingCall:
    """A call in progress that fails."""

    def __init__(self) -> None:
        self.cancelled = False

    def __await__(self) -> Generator[Any, None, NoReturn]:
        return self.read().__await__()

    async def read(self) -> NoReturn:
        raise FAILURE

    def cancel(self) -> bool:
        self.cancelled = True
        return True


class RecordingChannel:
    """A channel whose calls are noted, and fail."""

    def __init__(self) -> None:
        self.opened: list[Opened] = []
        self.calls: list[FailingCall] = []

    def unary_unary(self, path: str, *_: Any, **__: Any) -> Callable[..., FailingCall]:
        def call(request: Any, *, timeout: float | None = None, metadata: Any = (), **_: Any) -> FailingCall:
            self.opened.append(Opened(path, request, timeout, tuple(metadata)))
            self.calls.append(FailingCall())
            return self.calls[-1]

        return call

    unary_stream = unary_unary


CALLS: dict[str, Callable[[Controller], Awaitable[Any]]] = {
    "StartTrial": lambda controller: controller.start_trial(),
    "TerminateTrial": lambda controller: controller.terminate_trial(["a"]),
    "GetTrialInfo": lambda controller: controller.get_trial_info(["a"]),
    "GetTrialInfo with actors": lambda controller: controller.get_actors("a"),
    "WatchTrials": lambda controller: anext(controller.watch_trials([TrialState.ENDED])),
    "Version": lambda controller: controller.get_remote_versions(),
}


@pytest.fixture
def recording() -> RecordingChannel:
    return RecordingChannel()


@pytest.fixture
def recorded(recording: RecordingChannel, make_context: Any) -> Controller:
    return connect(make_context(recording), Endpoint("grpc://orchestrator:9000"))


@pytest.mark.parametrize("name", CALLS)
async def test_each_call_is_made_once_and_translated_once(
    recording: RecordingChannel, recorded: Controller, name: str
) -> None:
    """A call that fails was made once; its error is ours, with the method, the target, the status and the cause."""
    with pytest.raises(NotFoundError) as raised:
        await CALLS[name](recorded)
    error = raised.value
    (opened,) = recording.opened
    assert opened.path == error.method == f"/cogmentAPI.TrialLifecycleSP/{name.partition(' ')[0]}"
    assert error.target == "grpc://orchestrator:9000"
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "there is no such thing")
    assert error.trailing_metadata() == FAILURE.trailing_metadata()
    assert error.__cause__ is FAILURE
    assert not isinstance(error.__cause__, RpcError)


@pytest.mark.parametrize("name", CALLS)
async def test_each_call_has_the_metadata_and_a_bound(
    recording: RecordingChannel, recorded: Controller, name: str
) -> None:
    """Each call carries the Context's metadata; all but the watch, which is the caller's own loop, have a deadline."""
    with pytest.raises(NotFoundError):
        await CALLS[name](recorded)
    (opened,) = recording.opened
    assert ("authorization", "basic xyz") in opened.metadata
    assert (opened.timeout is None) == (name == "WatchTrials")


def test_endpoint_has_to_be_an_endpoint(make_context: Any) -> None:
    """A URL alone is refused at once, with what to write instead."""
    with pytest.raises(UsageError, match=r"Endpoint\('grpc://orchestrator:9000'\)"):
        connect(make_context(None), "grpc://orchestrator:9000")


async def test_failed_watch_leaves_no_call_open(recording: RecordingChannel, recorded: Controller) -> None:
    """A watch that fails cancels its call."""
    with pytest.raises(NotFoundError):
        await CALLS["WatchTrials"](recorded)
    assert [call.cancelled for call in recording.calls] == [True]


def test_every_method_of_the_service_is_used() -> None:
    """The Controller has a call for each method of the life-cycle service but ``Status``, which is for Directories."""
    service = orchestrator_pb2.DESCRIPTOR.services_by_name["TrialLifecycleSP"]
    assert {name.partition(" ")[0] for name in CALLS} | {"Status"} == {method.name for method in service.methods}


async def test_the_channel_is_asked_for_at_each_call(make_context: Any) -> None:
    """When the Context gives another channel, because what it discovers has moved, the next call goes there."""
    context = make_context(RecordingChannel())
    controller = connect(context, Endpoint("cogment://discover"))
    channels = [RecordingChannel(), RecordingChannel()]
    for channel in channels:
        context.lead_to(channel)
        for _ in range(2):
            with pytest.raises(NotFoundError):
                await controller.get_remote_versions()
    assert [len(channel.opened) for channel in channels] == [2, 2]
