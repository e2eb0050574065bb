"""Those who follow a model: they are told of its newest version.

Each has room for one version only. One that is slow misses those in between, delays nobody, and costs no memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc

from cogment_core.api.model_registry_pb2 import ModelVersionInfo
from cogment_core.errors import CogmentError
from cogment_services.model_registry.names import unknown_model
from cogment_services.refusals import Refusal

__all__ = ["MAX_SUBSCRIBERS", "Subscribers", "Subscription"]

MAX_SUBSCRIBERS = 10_000
"""How many there may be."""


class Subscription:
    """One who follows a model: an iterator over its versions, without an end of its own.

    Args:
        model_id: The model.
    """

    def __init__(self, model_id: str) -> None:
        self.model_id = model_id
        self._newest: ModelVersionInfo | None = None
        self._number = 0
        self._end: CogmentError | None = None
        self._news = asyncio.Event()

    def offer(self, info: ModelVersionInfo) -> None:
        """Tell of a version, unless a newer one was told of already."""
        if info.version_number > self._number:
            self._number = info.version_number
            self._newest = info
            self._news.set()

    def end(self, error: CogmentError) -> None:
        """End the iteration with ``error``."""
        self._end = error
        self._news.set()

    async def __aiter__(self) -> AsyncIterator[ModelVersionInfo]:
        """Iterate over the versions.

        Raises:
            CogmentError: There will be no more.
        """
        while True:
            await self._news.wait()
            self._news.clear()
            if self._end is not None:
                raise self._end
            info, self._newest = self._newest, None
            if info is not None:
                yield info


class Subscribers:
    """All who follow models."""

    def __init__(self) -> None:
        self._by_model: dict[str, set[Subscription]] = {}
        self._count = 0
        self._closed = False

    def __len__(self) -> int:
        return self._count

    def add(self, model_id: str) -> Subscription:
        """A new subscription to a model; to be removed in the end.

        Raises:
            Refusal: There are too many already, or the server stops.
        """
        if self._closed:
            raise _stopping()
        if self._count >= MAX_SUBSCRIBERS:
            text = f"there are {MAX_SUBSCRIBERS} who follow models, and no more are allowed"
            raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        subscription = Subscription(model_id)
        self._by_model.setdefault(model_id, set()).add(subscription)
        self._count += 1
        return subscription

    def remove(self, subscription: Subscription) -> None:
        """Forget a subscription."""
        subscriptions = self._by_model[subscription.model_id]
        subscriptions.remove(subscription)
        self._count -= 1
        if not subscriptions:
            del self._by_model[subscription.model_id]

    def version_created(self, info: ModelVersionInfo) -> None:
        """Tell those who follow its model of a new version."""
        for subscription in self._by_model.get(info.model_id, ()):
            subscription.offer(info)

    def model_deleted(self, model_id: str) -> None:
        """Tell those who follow a model that it is gone."""
        for subscription in self._by_model.get(model_id, ()):
            subscription.end(unknown_model(model_id))

    def close(self) -> None:
        """Tell all that the server stops; they may look for it again."""
        self._closed = True
        for subscriptions in self._by_model.values():
            for subscription in subscriptions:
                subscription.end(_stopping())


def _stopping() -> Refusal:
    return Refusal(grpc.StatusCode.UNAVAILABLE, "the Model Registry stops")
