"""Owned tasks."""

from __future__ import annotations

import asyncio

import pytest

from cogment_core.tasks import TaskOwner


async def test_a_task_is_kept_while_it_runs():
    """The owner holds a task until it is done, and gives its result to who awaits it."""
    owner = TaskOwner("test")

    async def work() -> int:
        return 5

    task = owner.spawn(work(), what="work")
    assert len(owner) == 1
    assert await task == 5
    await asyncio.sleep(0)
    assert len(owner) == 0


async def test_a_failure_is_logged(caplog: pytest.LogCaptureFixture):
    """A task that nobody awaits does not die unnoticed."""
    owner = TaskOwner("test")

    async def work() -> None:
        raise ValueError("broken")

    owner.spawn(work(), what="work")
    assert await owner.wait(5)
    await asyncio.sleep(0)
    (record,) = caplog.records
    assert record.getMessage() == "test: work failed: broken"
    assert record.exc_info


async def test_a_cancellation_is_no_failure(caplog: pytest.LogCaptureFixture):
    """Tasks that were cancelled are forgotten in silence."""
    owner = TaskOwner("test")
    owner.spawn(asyncio.Event().wait(), what="waiting")
    await owner.close()
    assert len(owner) == 0
    assert caplog.records == []


async def test_waiting_has_a_bound():
    """wait() tells whether all tasks ended in time, and cancels none."""
    owner = TaskOwner("test")
    assert await owner.wait(0)
    task = owner.spawn(asyncio.Event().wait(), what="waiting")
    assert not await owner.wait(0.01)
    assert not task.done()
    await owner.close()


async def test_a_task_that_does_not_end_is_named(caplog: pytest.LogCaptureFixture):
    """close() gives up after a while, and says on whom."""
    owner = TaskOwner("test")
    proceed = asyncio.Event()

    async def stubborn() -> None:
        while not proceed.is_set():
            try:
                await proceed.wait()
            except asyncio.CancelledError:
                continue

    task = owner.spawn(stubborn(), what="stubborn")
    await asyncio.sleep(0)
    await owner.close(timeout=0.01)
    assert "test: stubborn" in caplog.text
    proceed.set()
    await task
