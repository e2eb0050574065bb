"""Models that are followed in the background."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
import weakref
from collections.abc import AsyncIterator, Awaitable
from functools import partial
from typing import Any, TypeVar

import grpc
import pytest

from cogment_core.context import Context
from cogment_core.endpoints import Endpoint
from cogment_core.errors import CogmentError, NotFoundError, RpcError, UnavailableError, UsageError
from cogment_model_registry import DamagedModelError, DeserializationError, ModelRegistry, connect
from cogment_model_registry.tracker import Backoff

T = TypeVar("T")


async def soon(awaitable: Awaitable[T]) -> T:
    """What ``awaitable`` gives, if that does not take for ever."""
    return await asyncio.wait_for(awaitable, 20)


def decode(data: bytes) -> str:
    """A deserializer that does not like everything."""
    if data.startswith(b"bad"):
        raise ValueError(f"cannot decode {data!r}")
    return data.decode().upper()


async def test_latest_iteration_is_at_hand(registry: ModelRegistry, fake: Any) -> None:
    """A tracked model is the latest iteration, and each newer one as it comes."""
    fake.add("m", b"one")
    latest = await registry.track_latest_model("m")
    assert latest.name == "m"
    assert not latest.is_deserialized()
    await soon(latest.wait_for_available())
    data, info = await soon(latest.get())
    assert (data, info.iteration) == (b"one", 1)
    fake.add("m", b"two")
    await soon(latest.wait_for_newer(1))
    assert latest.get_no_wait()[0] == b"two"
    await soon(latest.wait_for_newer(1))  # that is so already


async def test_waiters_wait_for_the_first_iteration(registry: ModelRegistry, fake: Any) -> None:
    """A model without iterations is not available; all who wait get the first one."""
    await registry.update_model_info("m", {})
    latest = await registry.track_latest_model("m", decode)
    assert latest.is_deserialized()
    assert not latest.is_available()
    with pytest.raises(UsageError, match="no iteration"):
        latest.get_no_wait()
    waiters = [asyncio.ensure_future(wait) for wait in (latest.get(), latest.get(), latest.wait_for_newer(0))]
    await soon(fake.watched.wait())
    fake.add("m", b"one")
    first, second, _ = await soon(asyncio.gather(*waiters))
    assert first is not None
    assert second is not None
    assert first[0] == "ONE"
    assert first[0] is second[0]
    assert latest.is_available()


async def test_all_who_track_a_model_share_it(registry: ModelRegistry, fake: Any) -> None:
    """One model is watched and downloaded once, and is one object for all."""
    fake.add("m", b"one")
    first = await registry.track_latest_model("m", bytearray)
    assert await registry.track_latest_model("m", bytearray) is first
    model, _ = await soon(first.get())
    model.extend(b"!")
    again = await registry.track_latest_model(name="m", deserialize_func=bytearray, initial_wait=1)
    assert (await again.get())[0] == b"one!"
    assert fake.calls.count("VersionUpdate") == fake.calls.count("RetrieveVersionData") == 1


async def test_another_function_for_the_same_model_is_refused(registry: ModelRegistry, fake: Any) -> None:
    """One ModelRegistry deserializes a model in one way; bound methods of one object are one function."""

    class Models:
        def load(self, data: bytes) -> int:
            return len(data)

    fake.add("m", b"one")
    models = Models()
    latest = await registry.track_latest_model("m", models.load)
    assert await registry.track_latest_model("m", models.load) is latest
    with pytest.raises(UsageError, match="another deserialize_func"):
        await registry.track_latest_model("m", decode)
    assert (await soon(latest.get()))[0] == 3


async def test_failed_first_call_does_not_spoil_the_name(registry: ModelRegistry, fake: Any) -> None:
    """A model can be tracked after a call for it that could not be."""
    with pytest.raises(NotFoundError, match="no model 'm'"):
        await registry.track_latest_model("m")
    with pytest.raises(UsageError):
        await registry.track_latest_model("m", lambda: None)  # type: ignore[arg-type,misc]
    fake.add("m", b"one")
    assert (await soon((await registry.track_latest_model("m")).get()))[0] == b"one"


async def test_model_may_come_within_the_initial_wait(registry: ModelRegistry, fake: Any) -> None:
    """``initial_wait`` waits for the name; past it there is an error that says so."""
    with pytest.raises(NotFoundError, match=r"within 0\.2 s"):
        await registry.track_latest_model("m", initial_wait=0.2)  # type: ignore[call-overload]
    tracking = asyncio.ensure_future(registry.track_latest_model("m", initial_wait=20))
    while fake.calls.count("RetrieveModels") < 4:
        await asyncio.sleep(0.01)
    fake.models["m"] = {}
    assert not (await soon(tracking)).is_available()


async def test_deserializing_leaves_the_event_loop_alone(registry: ModelRegistry, fake: Any) -> None:
    """A function that takes its time runs in a thread: everything else goes on, and what comes meanwhile is skipped."""
    release = threading.Event()
    seen: list[bytes] = []

    def slow(data: bytes) -> int:
        seen.append(data)
        assert threading.current_thread() is not threading.main_thread()
        assert release.wait(20)
        return len(data)

    fake.add("m", b"1")
    latest = await registry.track_latest_model("m", slow)
    getting = asyncio.ensure_future(latest.get())
    while not seen:
        await asyncio.sleep(0.01)
    updates = registry.iteration_updates("m")
    for size in range(2, 6):
        fake.add("m", b"x" * size)
        while (await soon(anext(updates))).iteration < size:
            pass
    await updates.aclose()
    release.set()
    assert (await soon(getting))[1].iteration == 1
    await soon(latest.wait_for_newer(4))
    assert (await latest.get())[0] == 5
    assert len(seen) <= 3


async def test_failing_function_is_seen_by_those_who_wait(registry: ModelRegistry, fake: Any) -> None:
    """An iteration that cannot be deserialized is a typed error for all who wait, and later ones are tracked."""
    fake.add("m", b"bad")
    latest = await registry.track_latest_model("m", decode)
    waiters = [asyncio.ensure_future(latest.get()), asyncio.ensure_future(latest.wait_for_available())]
    for waiter in waiters:
        with pytest.raises(DeserializationError, match="iteration 1 of model 'm': ValueError: cannot decode") as caught:
            await soon(waiter)
        assert isinstance(caught.value.__cause__, ValueError)
        assert (caught.value.model_name, caught.value.iteration) == ("m", 1)
    with pytest.raises(DeserializationError):  # as long as there is nothing else
        await soon(latest.get())
    fake.add("m", b"good")
    await soon(latest.wait_for_newer(1))
    assert (await latest.get())[0] == "GOOD"


async def test_failing_newer_iteration_leaves_the_one_before(registry: ModelRegistry, fake: Any) -> None:
    """What is available stays so when a newer iteration fails; who waits for that one is told."""
    fake.add("m", b"good")
    latest = await registry.track_latest_model("m", decode)
    await soon(latest.get())
    fake.add("m", b"bad")
    with pytest.raises(DeserializationError) as caught:
        await soon(latest.wait_for_newer(1))
    assert (await latest.get())[0] == "GOOD"
    waiter = asyncio.ensure_future(latest.wait_for_newer(caught.value.iteration))
    fake.add("m", b"better")
    await soon(waiter)
    assert (await latest.get())[0] == "BETTER"


async def test_exceptions_that_cannot_travel_are_seen_too(registry: ModelRegistry, fake: Any) -> None:
    """A function that raises StopIteration, which futures do not take, does not leave its waiters hanging."""

    def stop(data: bytes) -> int:
        raise StopIteration("odd")

    fake.add("m", b"1")
    latest = await registry.track_latest_model("m", stop)
    with pytest.raises(DeserializationError, match="StopIteration"):
        await soon(latest.get())


async def test_damaged_iteration_is_seen_by_those_who_wait(registry: ModelRegistry, fake: Any) -> None:
    """Data that is not what it should be never becomes a model."""

    async def corrupt(data: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"x" * len(data)

    fake.add("m", b"one")
    fake.send = corrupt
    latest = await registry.track_latest_model("m")
    with pytest.raises(DamagedModelError):
        await soon(latest.get())
    fake.send = None
    fake.add("m", b"two")
    await soon(latest.wait_for_newer(1))
    assert (await latest.get())[0] == b"two"


async def test_equal_data_is_another_iteration(registry: ModelRegistry, fake: Any) -> None:
    """Iterations with the same data are downloaded once, but deserialized anew: users may have changed the model."""
    fake.add("m", b"one")
    latest = await registry.track_latest_model("m", bytearray)
    model, _ = await soon(latest.get())
    model.clear()
    fake.add("m", b"one")
    await soon(latest.wait_for_newer(1))
    assert (await latest.get())[0] == b"one"
    assert fake.calls.count("RetrieveVersionData") == 1


async def test_closing_wakes_those_who_wait(registry: ModelRegistry, fake: Any) -> None:
    """When the ModelRegistry is closed, who waits gets an error, and what is available stays so."""
    fake.add("m", b"one")
    fake.models["empty"] = {}
    empty = await registry.track_latest_model("empty")
    latest = await registry.track_latest_model("m")
    await soon(latest.get())
    waiters = [asyncio.ensure_future(wait) for wait in (empty.get(), latest.wait_for_newer(1))]
    await asyncio.sleep(0)
    await registry.close()
    for waiter in waiters:
        with pytest.raises(UsageError, match="was closed"):
            await soon(waiter)
    assert (await latest.get())[0] == b"one"
    with pytest.raises(UsageError, match="was closed"):
        await soon(empty.get())
    with pytest.raises(UsageError, match="closed"):
        await registry.track_latest_model("m")
    while fake.watchers:
        await asyncio.sleep(0.01)
    await registry.close()


async def test_closed_context_wakes_those_who_wait(registry: ModelRegistry, fake: Any, context: Any) -> None:
    """When the connections are closed for good, who waits gets that error."""
    fake.models["m"] = {}
    latest = await registry.track_latest_model("m")
    await soon(fake.watched.wait())
    context.failure = UsageError("the connections are closed")
    fake.failure = (grpc.StatusCode.UNAVAILABLE, "gone")
    fake.tell()
    with pytest.raises(UsageError, match="connections are closed"):
        await soon(latest.get())


async def test_closed_context_is_noticed_by_itself(registry: ModelRegistry, fake: Any, context: Any) -> None:
    """That the Context was closed needs no failing call to be known."""
    fake.models["m"] = {}
    latest = await registry.track_latest_model("m")
    await soon(fake.watched.wait())
    context.closed.set()
    with pytest.raises(UsageError, match="was closed"):
        await soon(latest.get())


async def test_refusal_is_told_and_asked_again(registry: ModelRegistry, fake: Any) -> None:
    """A Model Registry that refuses is heard by those who wait; once it does not, they get the model."""
    fake.models["m"] = {}
    latest = await registry.track_latest_model("m")
    await soon(fake.watched.wait())
    fake.failure = (grpc.StatusCode.PERMISSION_DENIED, "not yours")
    fake.tell()
    with pytest.raises(RpcError, match="not yours"):
        await soon(latest.get())
    fake.failure = None
    fake.add("m", b"one")
    while not latest.is_available():
        await asyncio.sleep(0.01)
    assert (await latest.get())[0] == b"one"


async def test_lost_connection_is_logged_and_made_again(
    registry: ModelRegistry, fake: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Who waits does not notice that the connection was lost; the log does."""
    fake.add("m", b"one")
    latest = await registry.track_latest_model("m")
    await soon(latest.get())
    waiter = asyncio.ensure_future(latest.wait_for_newer(1))
    with caplog.at_level(logging.WARNING, "cogment.sdk"):
        fake.failure = (grpc.StatusCode.UNAVAILABLE, "restarting")
        fake.tell()
        while "updates of model 'm' are lost" not in caplog.text:
            await asyncio.sleep(0.01)
    assert not waiter.done()
    fake.failure = None
    fake.add("m", b"two")
    await soon(waiter)
    assert (await latest.get())[0] == b"two"


async def test_download_that_is_lost_is_repeated(registry: ModelRegistry, fake: Any) -> None:
    """A connection that is lost during the download only delays the model."""
    attempts: list[bytes] = []

    async def flaky(data: bytes, context: Any) -> AsyncIterator[bytes]:
        attempts.append(data)
        if len(attempts) < 3:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "lost")
        yield data

    fake.add("m", b"one")
    fake.send = flaky
    assert (await soon((await registry.track_latest_model("m")).get()))[0] == b"one"
    assert len(attempts) == 3


async def test_download_that_is_refused_for_now_is_repeated(registry: ModelRegistry, fake: Any) -> None:
    """A Model Registry that has too much to do is heard by those who wait, and asked for the same iteration again."""
    refusals = 1

    async def busy(data: bytes, context: Any) -> AsyncIterator[bytes]:
        nonlocal refusals
        refusals -= 1
        if refusals >= 0:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "try again later")
        yield data

    fake.add("m", b"one")
    fake.send = busy
    latest = await registry.track_latest_model("m")
    with pytest.raises(RpcError, match="later"):
        await soon(latest.get())
    while not latest.is_available():
        await asyncio.sleep(0.01)
    assert (await latest.get())[0] == b"one"


async def test_restarted_registry_may_count_again(registry: ModelRegistry, fake: Any) -> None:
    """A Model Registry that gives lower numbers after a restart, having lost transient iterations, is followed."""
    for data in (b"one", b"two", b"three"):
        fake.add("m", data)
    latest = await registry.track_latest_model("m")
    assert (await soon(latest.get()))[1].iteration == 3
    fake.failure = (grpc.StatusCode.UNAVAILABLE, "restarting")
    fake.versions["m"] = []
    fake.tell()
    while fake.watchers:
        await asyncio.sleep(0.01)
    fake.failure = None
    fake.add("m", b"four")
    while latest.get_no_wait()[0] != b"four":
        await asyncio.sleep(0.01)
    assert (await latest.get())[1].iteration == 1


async def test_model_that_nobody_uses_is_followed_no_more(
    registry: ModelRegistry, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some time after nobody has the LatestModel any more, its model is not followed; it can be tracked again."""
    monkeypatch.setattr("cogment_model_registry.tracker.LINGER", 0.05)
    fake.add("m", b"one")
    latest = await registry.track_latest_model("m")
    await soon(latest.get())
    del latest
    while fake.watchers:
        gc.collect()
        await asyncio.sleep(0.01)
    assert (await soon((await registry.track_latest_model("m")).get()))[0] == b"one"


class Weights:
    """A model that can be watched."""

    def __init__(self, data: bytes) -> None:
        self.data = data


async def test_model_that_is_followed_no_more_is_not_kept(
    registry: ModelRegistry, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a model that nobody uses, nothing stays in memory."""
    monkeypatch.setattr("cogment_model_registry.tracker.LINGER", 0.05)
    fake.add("m", b"one")
    latest = await registry.track_latest_model("m", Weights)
    model = weakref.ref((await soon(latest.get()))[0])
    del latest
    end = time.monotonic() + 20
    while model() is not None:
        assert time.monotonic() < end
        gc.collect()
        await asyncio.sleep(0.01)


async def test_model_that_is_used_again_is_still_followed(
    registry: ModelRegistry, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who tracks a model again soon enough gets it without a download, and keeps it."""
    monkeypatch.setattr("cogment_model_registry.tracker.LINGER", 0.2)
    fake.add("m", b"one")
    await soon((await registry.track_latest_model("m")).get())
    gc.collect()
    latest = await registry.track_latest_model("m")
    assert latest.is_available()
    await asyncio.sleep(0.4)
    fake.add("m", b"two")
    await soon(latest.wait_for_newer(1))
    assert fake.calls.count("VersionUpdate") == 1


async def test_cancelled_waiter_does_not_disturb_the_others(registry: ModelRegistry, fake: Any) -> None:
    """A waiter that gives up is the only one that does."""
    fake.models["m"] = {}
    latest = await registry.track_latest_model("m")
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(latest.get(), 0.05)
    fake.add("m", b"one")
    assert (await soon(latest.get()))[0] == b"one"


async def test_tracking_that_dies_wakes_those_who_wait(registry: ModelRegistry, fake: Any) -> None:
    """Whatever kills the tasks that track a model, nobody is left waiting, and it can be tracked again."""
    fake.models["m"] = {}
    latest = await registry.track_latest_model("m")
    waiter = asyncio.ensure_future(latest.get())
    await soon(fake.watched.wait())
    for task in asyncio.all_tasks():
        if "fetching" in task.get_name():
            task.cancel()
    with pytest.raises(CogmentError, match="has ended: it was cancelled"):
        await soon(waiter)
    fake.add("m", b"one")
    assert (await soon((await registry.track_latest_model("m")).get()))[0] == b"one"


# --- over the network ----------------------------------------------------------------------------------------------


async def test_server_that_comes_back_is_found(fake: Any, serve: Any) -> None:
    """A Model Registry that was stopped and started again is followed on; transfers in between are errors."""
    fake.add("m", b"one")
    async with serve(fake) as (server, port), Context("me", None) as context:
        registry = connect(context, Endpoint(f"grpc://127.0.0.1:{port}"))
        latest = await registry.track_latest_model("m")
        await soon(latest.get())
        await server.stop(None)
        with pytest.raises(UnavailableError):
            await soon(registry.retrieve_model("m"))
        fake.add("m", b"two")
        async with serve(fake, f"127.0.0.1:{port}"):
            await soon(latest.wait_for_newer(1))
            assert (await latest.get())[0] == b"two"
            await registry.close()


async def test_closing_the_context_ends_tracking(fake: Any, serve: Any) -> None:
    """A Context that is closed before its ModelRegistry leaves nobody waiting."""
    fake.models["m"] = {}
    async with serve(fake) as (_, port):
        async with Context("me", None) as context:
            latest = await connect(context, Endpoint(f"grpc://127.0.0.1:{port}")).track_latest_model("m")
            await soon(fake.watched.wait())
            waiter = asyncio.ensure_future(latest.get())
            await asyncio.sleep(0)
        with pytest.raises(CogmentError):
            await soon(waiter)


async def test_closing_the_context_wakes_at_once(
    fake: Any, serve: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Who waits for a model is told that the Context was closed, also while the Model Registry is away."""
    monkeypatch.setattr("cogment_model_registry.tracker.Backoff", partial(Backoff, 600.0, 600.0))
    fake.models["m"] = {}
    for away in (False, True):
        async with serve(fake) as (server, port):
            async with Context("me", None) as context:
                latest = await connect(context, Endpoint(f"grpc://127.0.0.1:{port}")).track_latest_model("m")
                await soon(fake.watched.wait())
                waiter = asyncio.ensure_future(latest.get())
                if away:
                    await server.stop(None)
                    while "are lost" not in caplog.text:
                        await asyncio.sleep(0.01)
            with pytest.raises(UsageError, match="was closed"):
                await soon(waiter)
        assert ("are lost" in caplog.text) is away


async def test_upload_whose_server_dies_is_an_error(fake: Any, serve: Any) -> None:
    """A connection that is lost in the middle of an upload or a download is an error at once."""
    fake.add("m", bytes(50_000_000))
    halfway = asyncio.Event()

    async def receive(message: Any, context: Any) -> None:
        halfway.set()
        await asyncio.sleep(0.02)

    async def send(data: bytes, context: Any) -> AsyncIterator[bytes]:
        yield data[:1_000_000]
        halfway.set()
        await asyncio.Event().wait()

    fake.receive, fake.send = receive, send
    async with Context("me", None) as context:
        for transfer in ("store_model", "retrieve_model"):
            halfway.clear()
            async with serve(fake) as (server, port):
                registry = connect(context, Endpoint(f"grpc://127.0.0.1:{port}"))
                model = (bytes(100_000_000),) if transfer == "store_model" else ()
                running = asyncio.ensure_future(getattr(registry, transfer)("m", *model))
                await soon(halfway.wait())
                await server.stop(None)
                with pytest.raises(UnavailableError):
                    await soon(running)
    assert len(fake.versions["m"]) == 1
