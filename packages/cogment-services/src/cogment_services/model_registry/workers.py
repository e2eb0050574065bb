"""Threads for what blocks: files and the database."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import grpc

from cogment_core.logs import logger
from cogment_services.refusals import Refusal

__all__ = ["Workers", "abandon"]

ResultT = TypeVar("ResultT")

_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG}


class Workers:
    """Some threads, and the work that waits for them.

    Args:
        name: What they are called.
        threads: How many they are; with one, work is done one after the other, in the order in which it came.
        backlog: How much work may wait.
    """

    def __init__(self, name: str, threads: int, backlog: int = 10_000) -> None:
        self._name = name
        self._backlog = backlog
        self._waiting = 0
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name)

    def start(self, work: Callable[..., ResultT], *args: Any) -> asyncio.Future[ResultT]:
        """Let a thread do ``work``. Cancelling the result prevents it only if it was not begun.

        Raises:
            Refusal: Too much work waits.
        """
        if self._waiting >= self._backlog:
            text = f"more than {self._backlog} requests wait for the disk"
            raise Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
        self._waiting += 1
        future = asyncio.get_running_loop().run_in_executor(self._executor, _run, work, args)
        future.add_done_callback(self._done)
        return future

    def later(self, work: Callable[..., object], *args: Any) -> None:
        """Let a thread do ``work`` some time; a failure is only logged. It is done even if the caller is cancelled."""
        try:
            future = self._executor.submit(_run, work, args)
        except RuntimeError:  # the threads have gone already
            work(*args)
        else:
            future.add_done_callback(self._report)

    async def close(self) -> None:
        """Wait until all work is done, and let the threads go."""
        await asyncio.to_thread(self._executor.shutdown)

    def _done(self, _future: asyncio.Future[Any]) -> None:
        self._waiting -= 1

    def _report(self, future: Future[object]) -> None:
        if not future.cancelled() and (error := future.exception()) is not None:
            logger.error("%s: %s", self._name, error)


def abandon(future: asyncio.Future[Any]) -> None:
    """Nobody wants the result any more, nor to know of its failure."""
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    future.cancel()


def _run(work: Callable[..., ResultT], args: tuple[Any, ...]) -> ResultT:
    try:
        return work(*args)
    except (OSError, sqlite3.Error) as error:
        logger.error("the storage of models fails: %s", error)
        raise _refusal(error) from error


def _refusal(error: OSError | sqlite3.Error) -> Refusal:
    """What to answer. The text of the error stays in the log: there are paths in it."""
    if getattr(error, "errno", None) in _FULL or "disk is full" in str(error):
        return Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "there is no space left where models are stored")
    return Refusal(grpc.StatusCode.INTERNAL, "the storage of models fails: the log of the server says why")
