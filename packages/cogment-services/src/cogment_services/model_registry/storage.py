"""The store, as the event loop uses it: its thread, and those that move data."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import grpc

from cogment_core.api.model_registry_pb2 import ModelVersionInfo
from cogment_services.model_registry.older_archive import import_older_archive
from cogment_services.model_registry.settings import Settings
from cogment_services.model_registry.store import Followers, Store
from cogment_services.model_registry.upload import Upload
from cogment_services.model_registry.workers import Workers
from cogment_services.refusals import Refusal

__all__ = ["Storage"]

MOVERS = 4
"""Threads that read, write and hash."""

ArgsT = ParamSpec("ArgsT")
ResultT = TypeVar("ResultT")


class Storage:
    """What is kept, from `open` to `close`.

    Args:
        path: The directory; None for a temporary one, whose content ends with the registry.
        settings: Bounds.
        followers: Who is told of changes, on the event loop.
    """

    def __init__(self, path: str | Path | None, settings: Settings, followers: Followers) -> None:
        self._path = path
        self._settings = settings
        self._followers = followers
        self._temporary: Path | None = None
        self._store: Store | None = None
        self._keeper = Workers("model registry", 1)
        self.movers = Workers("model registry data", MOVERS)
        """The threads for what blocks and changes nothing in the store."""

    async def open(self) -> None:
        """Open the directory.

        Raises:
            UsageError: It cannot be used, or another process uses it.
        """
        followers = _OnLoop(asyncio.get_running_loop(), self._followers)
        self._store = await self._keeper.start(self._open, followers)

    def _open(self, followers: Followers) -> Store:
        path = self._path
        if path is None:
            path = self._temporary = Path(tempfile.mkdtemp(prefix="cogment-models-"))
        store = Store(Path(path), self._settings.cache_max_items, self._settings.cache_max_bytes, followers)
        try:
            import_older_archive(Path(path), store)
        except BaseException:
            store.close()
            raise
        return store

    async def ask(
        self, method: Callable[Concatenate[Store, ArgsT], ResultT], *args: ArgsT.args, **kwargs: ArgsT.kwargs
    ) -> ResultT:
        """What a method of the store returns.

        Raises:
            Refusal: The method refuses, the disk fails, or the store is not open.
        """
        store = self._opened()
        return await self._keeper.start(lambda: method(store, *args, **kwargs))

    def new_upload(self) -> Upload:
        """Where data go that are to become those of a version.

        Raises:
            Refusal: The store is not open.
        """
        return self._opened().scratch.new()

    def _opened(self) -> Store:
        if self._store is None:
            raise Refusal(grpc.StatusCode.UNAVAILABLE, "the Model Registry does not run")
        return self._store

    async def close(self) -> None:
        """Do what was begun, and let go of the directory."""
        store, self._store = self._store, None
        await self.movers.close()
        if store is not None:
            self._keeper.later(store.close)
        await self._keeper.close()
        if self._temporary is not None:
            await asyncio.to_thread(shutil.rmtree, self._temporary, ignore_errors=True)


class _OnLoop:
    """Passes on to followers what happens in the thread of the store, in the same order, before it is answered."""

    def __init__(self, loop: asyncio.AbstractEventLoop, followers: Followers) -> None:
        self._loop = loop
        self._followers = followers

    def version_created(self, info: ModelVersionInfo) -> None:
        self._call(self._followers.version_created, info)

    def model_deleted(self, model_id: str) -> None:
        self._call(self._followers.model_deleted, model_id)

    def _call(self, callback: Callable[[Any], None], argument: object) -> None:
        self._loop.call_soon_threadsafe(callback, argument)
