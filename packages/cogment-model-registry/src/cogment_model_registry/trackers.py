"""The models that one client follows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc

from cogment_core.errors import DeadlineError, NotFoundError, RpcError, UnavailableError, UsageError
from cogment_model_registry.catalog import Catalog
from cogment_model_registry.chunks import STALL_TIMEOUT
from cogment_model_registry.downloads import Downloads
from cogment_model_registry.infos import ModelIterationInfo
from cogment_model_registry.latest import LatestModel
from cogment_model_registry.tracker import Tracker

if TYPE_CHECKING:
    from cogment_core.client import RemoteService

__all__ = ["Trackers"]


class Trackers:
    """One tracker for each model that is followed.

    Args:
        service: The Model Registry.
        catalog: Tells which iterations there are.
        downloads: Gets their data.
    """

    def __init__(self, service: RemoteService, catalog: Catalog, downloads: Downloads) -> None:
        self._catalog = catalog
        self._feed = _Feed(service, catalog, downloads)
        self._target = service.target
        self._trackers: dict[str, Tracker[Any]] = {}
        self._closed = False

    async def follow(
        self, name: str, deserialize: Callable[[bytes], Any] | None, initial_wait: float
    ) -> LatestModel[Any]:
        """Follow a model, see `ModelRegistry.track_latest_model`."""
        await self._wait_for_model(name, initial_wait)
        if self._closed:
            raise UsageError(f"this ModelRegistry is closed: it cannot track model {name!r}")
        tracker = self._find(name)
        if tracker is None:
            tracker = self._trackers[name] = Tracker(self._feed, name, deserialize, self._ended)
        elif tracker.deserialize != deserialize:
            raise UsageError(
                f"model {name!r} is tracked with another deserialize_func: give the same function, or use another "
                "ModelRegistry"
            )
        return tracker.handle()

    async def close(self) -> None:
        """Follow no more; those who wait get a `UsageError`. Does nothing the second time."""
        self._closed = True
        trackers, self._trackers = self._trackers, {}
        for tracker in trackers.values():
            await tracker.close(UsageError(f"the ModelRegistry that tracks model {tracker.name!r} was closed"))

    def _ended(self, tracker: Tracker[Any]) -> None:
        if self._trackers.get(tracker.name) is tracker:
            del self._trackers[tracker.name]  # with what it holds of the model

    def _find(self, name: str) -> Tracker[Any] | None:
        tracker = self._trackers.get(name)
        return None if tracker is None or tracker.has_ended else tracker

    async def _wait_for_model(self, name: str, seconds: float) -> None:
        if self._find(name) is not None:
            return
        deadline = time.monotonic() + seconds
        pause = 0.1
        while True:
            lost: RpcError | None = None
            try:
                if await self._catalog.model(name) is not None:
                    return
            except (UnavailableError, DeadlineError) as error:
                lost = error
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise lost or self._no_model(name, seconds)
            await asyncio.sleep(min(pause, remaining))
            pause = min(pause * 2, 1.0)

    def _no_model(self, name: str, seconds: float) -> NotFoundError:
        text = f"there is no model {name!r}" + (f", nor was one made within {seconds:g} s" if seconds > 0 else "")
        return NotFoundError(grpc.StatusCode.NOT_FOUND, text, target=self._target)


class _Feed:
    """What a tracker needs of a Model Registry; it does not keep the client alive."""

    def __init__(self, service: RemoteService, catalog: Catalog, downloads: Downloads) -> None:
        self.updates = catalog.updates
        self.wait_closed = service.wait_closed
        self._downloads = downloads

    async def load(self, info: ModelIterationInfo) -> bytes:
        return await self._downloads.to_memory(info, None, STALL_TIMEOUT)
