"""Blocking work on what comes, in a thread."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from functools import partial

import pytest

from cogment_core.write_behind import WriteBehind

PATIENCE = 30.0


class Gate:
    """Work that does not go on before it may."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.begun = threading.Event()
        self.open = threading.Event()

    def work(self, item: int) -> None:
        """Do it."""
        self.begun.set()
        assert self.open.wait(PATIENCE)
        if item < 0:
            raise ValueError(item)
        self.done.append(item)


def in_thread() -> Callable[[Callable[[], None]], asyncio.Future[None]]:
    """Begins work in a thread."""
    return partial(asyncio.get_running_loop().run_in_executor, None)


async def test_items_are_worked_on_in_their_order() -> None:
    """All that was put is done once `finish` returns, in the order in which it was put."""
    gate = Gate()
    gate.open.set()
    async with WriteBehind(in_thread(), gate.work) as behind:
        for item in range(500):
            await behind.put(item)
        await behind.finish()
        assert gate.done == list(range(500))


async def test_a_slow_thread_holds_up_who_puts() -> None:
    """While one item is worked on, and another waits, the next has to wait to be put."""
    gate = Gate()
    async with WriteBehind(in_thread(), gate.work, limit=2) as behind:
        for item in range(2):
            await behind.put(item)
        third = asyncio.ensure_future(behind.put(2))
        assert await asyncio.to_thread(gate.begun.wait, PATIENCE)
        assert not third.done()
        gate.open.set()
        await asyncio.wait_for(third, PATIENCE)
        await behind.finish()
    assert gate.done == [0, 1, 2]


async def test_a_failure_is_raised_and_ends_the_work() -> None:
    """What the work raised comes out of `finish`, and nothing after it is worked on."""
    gate = Gate()
    async with WriteBehind(in_thread(), gate.work) as behind:
        await behind.put(-1)
        await behind.put(1)
        gate.open.set()
        with pytest.raises(ValueError, match="-1"):
            await behind.finish()
        await behind.finish()
    assert gate.done == []


async def test_at_the_end_of_the_block_nothing_is_being_done() -> None:
    """Leaving the block with an error waits for the item in work, and drops those that wait."""
    gate = Gate()

    async def fail() -> None:
        async with WriteBehind(in_thread(), gate.work) as behind:
            await behind.put(0)
            await behind.put(1)
            assert await asyncio.to_thread(gate.begun.wait, PATIENCE)
            raise KeyError

    failing = asyncio.ensure_future(fail())
    assert await asyncio.to_thread(gate.begun.wait, PATIENCE)
    assert not failing.done()
    gate.open.set()
    with pytest.raises(KeyError):
        await asyncio.wait_for(failing, PATIENCE)
    assert gate.done == [0]


async def test_an_end_that_is_cancelled_does_not_wait() -> None:
    """Who is cancelled again while the work is waited for goes at once; how it ends is nobody's then."""
    gate = Gate()
    unheard: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unheard.append(context))

    async def work() -> None:
        async with WriteBehind(in_thread(), gate.work) as behind:
            await behind.put(-1)
            await behind.finish()

    working = asyncio.ensure_future(work())
    assert await asyncio.to_thread(gate.begun.wait, PATIENCE)
    for _ in range(2):
        working.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(working, PATIENCE)
    del working
    gate.open.set()
    await asyncio.get_running_loop().shutdown_default_executor()
    await asyncio.sleep(0)
    gc.collect()
    assert unheard == []


async def test_what_is_abandoned_holds_up_nobody() -> None:
    """`abandon` returns at once; nothing more is begun, and a failure of what is being done is nobody's."""
    gate = Gate()
    behind = WriteBehind(in_thread(), gate.work)
    await behind.put(-1)
    await behind.put(1)
    assert await asyncio.to_thread(gate.begun.wait, PATIENCE)
    behind.abandon()
    gate.open.set()
    await behind.finish()
    assert gate.done == []
