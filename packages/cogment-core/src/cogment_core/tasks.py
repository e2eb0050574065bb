"""Owned tasks: nothing runs that nobody waits for, and no death goes unnoticed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from cogment_core.logs import logger

__all__ = ["TaskOwner"]

T = TypeVar("T")


class TaskOwner:
    """Owns tasks that live longer than the calls that start them.

    Args:
        name: Whose tasks these are, for the log.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, T], *, what: str) -> asyncio.Task[T]:
        """Run ``work`` as a task of this owner; its failure is logged as that of ``what``."""
        task = asyncio.get_running_loop().create_task(work, name=f"{self._name}: {what}")
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error("%s failed: %s", task.get_name(), error, exc_info=error)

    async def wait(self, timeout: float) -> bool:
        """Wait for the tasks to end by themselves. Returns whether all did within ``timeout`` seconds."""
        tasks = set(self._tasks)
        if not tasks:
            return True
        _, pending = await asyncio.wait(tasks, timeout=timeout)
        return not pending

    async def close(self, timeout: float = 5.0) -> None:
        """Cancel the tasks and wait for them, for at most ``timeout`` seconds."""
        for task in list(self._tasks):
            task.cancel()
        if not await self.wait(timeout):
            stuck = ", ".join(task.get_name() for task in self._tasks)
            logger.error("%s: tasks do not end after they were cancelled: %s", self._name, stuck)
