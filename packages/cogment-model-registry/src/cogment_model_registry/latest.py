"""The latest iteration of a model, kept up to date in the background."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Generic, TypeVar

from cogment_core.errors import CogmentError, UsageError
from cogment_model_registry.infos import ModelIterationInfo

__all__ = ["LatestModel", "Newest"]

T = TypeVar("T")


@dataclass(frozen=True)
class _Failure:
    error: CogmentError
    iteration: int | None
    """The iteration that is not available for it; None if it is the model as a whole."""


class Newest(Generic[T]):
    """What is known of the latest iteration, and those who wait for it.

    Nobody who waits is left alone: there is news, a failure, or an end.
    """

    def __init__(self) -> None:
        self.current: tuple[T, ModelIterationInfo] | None = None
        self._failure: _Failure | None = None
        self._end: CogmentError | None = None
        self._changed = asyncio.Event()

    def publish(self, data: T, info: ModelIterationInfo) -> None:
        """This is the latest iteration now."""
        self.current = (data, info)
        self._failure = None
        self._tell()

    def fail(self, error: CogmentError, iteration: int | None = None) -> None:
        """A newer iteration cannot be had; those who wait for it get ``error``, until there is a newer one still."""
        self._failure = _Failure(error, iteration)
        self._tell()

    def finish(self, error: CogmentError) -> None:
        """Nothing more will come; those who wait get ``error``, now and later. The first one counts."""
        if self._end is None:
            self._end = error
            self._tell()

    @property
    def is_finished(self) -> bool:
        """Whether nothing more will come."""
        return self._end is not None

    def is_newer_than(self, iteration: int) -> bool:
        """Whether there is an iteration with a number above ``iteration``."""
        return self.current is not None and self.current[1].iteration > iteration

    async def wait_for_newer(self, iteration: int) -> None:
        """Wait until `is_newer_than`.

        Raises:
            CogmentError: It failed, or has ended.
        """
        while not self.is_newer_than(iteration):
            failure = self._failure
            if self._end is not None:
                raise self._end.with_traceback(None)
            if failure is not None and (failure.iteration is None or failure.iteration > iteration):
                await asyncio.sleep(0)  # a loop that only tries again must not keep the event loop for itself
                raise failure.error.with_traceback(None)
            await self._changed.wait()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class LatestModel(Generic[T]):
    """The latest iteration of a model, downloaded and deserialized in the background.

    Made by `ModelRegistry.track_latest_model`. All who track a model with one ModelRegistry get the same object: what
    one of them changes in the model, the others see, until a newer iteration replaces it.

    When the connection is lost, it is made again, and said in the log; what is available stays so meanwhile.

    Args:
        name: The model.
        newest: What is known of it.
        is_deserialized: Whether the data is deserialized.
        keep_alive: What has to live as long as this does.
    """

    def __init__(self, name: str, newest: Newest[T], is_deserialized: bool, keep_alive: object = None) -> None:
        self._name = name
        self._newest = newest
        self._is_deserialized = is_deserialized
        self._keep_alive = keep_alive

    def __repr__(self) -> str:
        state = "nothing yet" if self._newest.current is None else str(self._newest.current[1].iteration)
        return f"LatestModel({self._name!r}, {state})"

    @property
    def name(self) -> str:
        """The model."""
        return self._name

    async def get(self) -> tuple[T, ModelIterationInfo]:
        """The latest iteration that is available, and what is known about it. Waits only for the first one.

        A newer iteration that cannot be had does not take the place of this one: the log says so, and so does
        `wait_for_newer`.

        Raises:
            DeserializationError: None is available, and the function that deserializes failed for the latest.
            DamagedModelError: None is available, and the data of the latest is damaged.
            CogmentError: None is available, and none will be, or the Model Registry does not give it.
        """
        await self.wait_for_available()
        return self.get_no_wait()

    def get_no_wait(self) -> tuple[T, ModelIterationInfo]:
        """The latest iteration that is available, and what is known about it.

        Raises:
            UsageError: None is available yet.
        """
        if self._newest.current is None:
            raise UsageError(f"no iteration of model {self._name!r} is available yet; get() waits for one")
        return self._newest.current

    def is_deserialized(self) -> bool:
        """Whether the data is what ``deserialize_func`` made of it, rather than bytes."""
        return self._is_deserialized

    def is_available(self) -> bool:
        """Whether there is an iteration, so that `get` does not wait."""
        return self._newest.current is not None

    async def wait_for_available(self) -> None:
        """Wait until there is an iteration. Errors are those of `get`."""
        await self._newest.wait_for_newer(-1)

    async def wait_for_newer(self, iteration: int) -> None:
        """Wait until there is an iteration that is newer than ``iteration``.

        Args:
            iteration: The number to exceed.

        Raises:
            DeserializationError: The function that deserializes failed for a newer one. Wait for one newer than its
                ``iteration`` to go on.
            DamagedModelError: The data of a newer one is damaged.
            CogmentError: None will come, or the Model Registry does not give it.
        """
        await self._newest.wait_for_newer(iteration)
