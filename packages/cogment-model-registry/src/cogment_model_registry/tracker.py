"""Following a model: tasks that learn of its iterations, get the newest, and notice the end."""

from __future__ import annotations

import asyncio
import random
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, Generic, Protocol, TypeVar

import grpc

from cogment_core.errors import CogmentError, DeadlineError, NotFoundError, RpcError, UnavailableError, UsageError
from cogment_core.logs import logger
from cogment_core.tasks import TaskOwner
from cogment_model_registry.errors import DeserializationError
from cogment_model_registry.infos import ModelIterationInfo
from cogment_model_registry.latest import LatestModel, Newest

__all__ = ["Backoff", "Feed", "Tracker"]

T = TypeVar("T")

LINGER = 300.0
"""Seconds that a model is still followed when nobody has its `LatestModel` any more."""

_LOST = (UnavailableError, DeadlineError)


class Feed(Protocol):
    """Where iterations come from."""

    def updates(self, name: str) -> AsyncGenerator[ModelIterationInfo, None]:
        """The latest iteration, and each newer one."""
        ...

    async def load(self, info: ModelIterationInfo) -> bytes:
        """The data of an iteration."""
        ...

    async def wait_closed(self) -> None:
        """Wait until nothing comes any more, for good."""
        ...


class Backoff:
    """How long to wait before something is tried again: longer each time, and never all at the same moment."""

    def __init__(self, first: float = 0.2, longest: float = 5.0) -> None:
        self._first = first
        self._longest = longest
        self._seconds = first

    async def wait(self) -> None:
        """Wait."""
        seconds, self._seconds = self._seconds, min(self._seconds * 2, self._longest)
        await asyncio.sleep(seconds * random.uniform(0.5, 1))

    def reset(self) -> None:
        """Begin with a short wait again."""
        self._seconds = self._first


class Tracker(Generic[T]):
    """Keeps the latest iteration of one model available.

    Learning of iterations and getting them are tasks of their own, so that a slow transfer or deserialization skips the
    iterations that come meanwhile, up to the newest.

    Args:
        feed: Where iterations come from.
        name: The model.
        deserialize: Makes of the data what users get; runs in a thread. None for the bytes.
        on_end: Called with the tracker when it follows the model no more; more than once, maybe.
    """

    def __init__(
        self,
        feed: Feed,
        name: str,
        deserialize: Callable[[bytes], T] | None,
        on_end: Callable[[Tracker[Any]], None],
    ) -> None:
        self.name = name
        self.deserialize = deserialize
        self._feed = feed
        self._on_end = on_end
        self._newest: Newest[Any] = Newest()
        self._wanted: ModelIterationInfo | None = None
        self._news = asyncio.Event()
        self._handle: weakref.ref[LatestModel[T]] | None = None
        self._loop = asyncio.get_running_loop()
        self._tasks = TaskOwner(f"tracking of model {name!r}")
        self._workers = [
            self._tasks.spawn(self._to_the_end(self._watch()), what="watching"),
            self._tasks.spawn(self._to_the_end(self._fetch()), what="fetching"),
            self._tasks.spawn(self._to_the_end(self._until_closed()), what="waiting for the end"),
        ]
        for worker in self._workers:
            worker.add_done_callback(self._ended)

    # --- from outside -------------------------------------------------------------------------------------------

    def handle(self) -> LatestModel[T]:
        """What users have of it: the same one for as long as somebody has it."""
        handle = self._handle() if self._handle is not None else None
        if handle is None:
            handle = LatestModel(self.name, self._newest, self.deserialize is not None, keep_alive=self)
            self._handle = weakref.ref(handle)
            weakref.finalize(handle, self._dropped).atexit = False
        return handle

    @property
    def has_ended(self) -> bool:
        """Whether the model is not followed any more."""
        return self._newest.is_finished

    async def close(self, error: CogmentError) -> None:
        """Follow the model no more; those who wait for it get ``error``."""
        self._newest.finish(error)
        await self._tasks.close()

    def _dropped(self) -> None:
        # Garbage is collected in any thread.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.call_later, LINGER, self._stop_if_unused)

    def _stop_if_unused(self) -> None:
        if (self._handle is None or self._handle() is None) and not self._newest.is_finished:
            logger.info("model %r is not tracked any more: nobody uses it", self.name)
            self._newest.finish(UsageError(f"model {self.name!r} is not tracked any more: nobody used it"))
            self._stop()

    async def _to_the_end(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except UsageError as error:  # the Context is closed, or of another event loop: that does not change
            logger.info("model %r is not tracked any more: %s", self.name, error)
            self._newest.finish(error)

    def _ended(self, worker: asyncio.Task[None]) -> None:
        """A worker was cancelled, or has failed: those who wait must not wait for it."""
        error = None if worker.cancelled() else worker.exception()
        self._newest.finish(CogmentError(f"tracking of model {self.name!r} has ended: {error or 'it was cancelled'}"))
        self._stop()
        self._on_end(self)

    def _stop(self) -> None:
        for worker in self._workers:
            worker.cancel()

    async def _until_closed(self) -> None:
        await self._feed.wait_closed()
        raise UsageError(f"the Context through which model {self.name!r} is tracked was closed")

    # --- learning of iterations ---------------------------------------------------------------------------------

    async def _watch(self) -> None:
        backoff = Backoff()
        while True:
            try:
                await self._watch_once(backoff)
                reason: object = "the Model Registry ended the stream"
            except _LOST as error:
                reason = error
            except UsageError:
                raise
            except CogmentError as error:
                reason = error
                self._newest.fail(error)
            logger.warning("updates of model %r are lost, and asked for again: %s", self.name, reason)
            await backoff.wait()

    async def _watch_once(self, backoff: Backoff) -> None:
        async with aclosing(self._feed.updates(self.name)) as updates:
            async for info in updates:
                backoff.reset()
                self._wanted = info
                self._news.set()

    # --- getting the newest -------------------------------------------------------------------------------------

    async def _fetch(self) -> None:
        backoff = Backoff()
        while True:
            await self._news.wait()
            self._news.clear()
            info = self._wanted
            if info is None:
                continue
            if self._newest.current is not None and self._newest.current[1] == info:
                # Not by its number: a Model Registry that was restarted may give those of transient iterations again.
                self._newest.publish(*self._newest.current)
                continue
            try:
                self._newest.publish(await self._load(info), info)
                backoff.reset()
            except _LOST as error:
                logger.warning("%s could not be downloaded, and is asked for again: %s", info, error)
                self._news.set()
                await backoff.wait()
            except NotFoundError:
                logger.info("%s was gone before it could be downloaded", info)
            except UsageError:
                raise
            except CogmentError as error:
                logger.error("%s is not available: %s", info, error, exc_info=error.__cause__)
                self._newest.fail(error, info.iteration)
                if _may_be_given_later(error):
                    self._news.set()
                    await backoff.wait()

    async def _load(self, info: ModelIterationInfo) -> Any:
        data = await self._feed.load(info)
        if self.deserialize is None:
            return data
        model, error = await asyncio.to_thread(_attempt, self.deserialize, data)
        if error is not None:
            text = f"deserialize_func failed for {info}: {type(error).__name__}: {error}"
            raise DeserializationError(text, model_name=info.model_name, iteration=info.iteration) from error
        return model


def _may_be_given_later(error: CogmentError) -> bool:
    """Whether a Model Registry has refused because too much is asked of it now."""
    return isinstance(error, RpcError) and error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def _attempt(function: Callable[[bytes], T], data: bytes) -> tuple[T | None, Exception | None]:
    """What ``function`` returns or raises: some exceptions cannot travel through a future, as StopIteration."""
    try:
        return function(data), None
    except Exception as error:
        return None, error
