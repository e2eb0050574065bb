"""Running a command that Ctrl-C and SIGTERM end, whatever it is doing."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, TypeVar

__all__ = ["run_interruptible"]

ResultT = TypeVar("ResultT")


def run_interruptible(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run ``work`` in an event loop of its own. A signal cancels it; a second one does not wait for its cleaning up.

    What a handler of signals raises comes up wherever the program is. Within gRPC, that may be where nobody hears of
    it, or where half of an event has been handled and the rest never is: the program goes on, or never ends. Seen with
    grpcio 1.62 on Python 3.10, whose `asyncio.run` leaves Ctrl-C at that.

    Raises:
        KeyboardInterrupt: Ctrl-C was pressed.
        SystemExit: The process got SIGTERM: 143, as a shell has it.
    """
    signals: list[int] = []

    async def cancelled_by_signals() -> ResultT:
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None  # this is a coroutine

        def note(number: int, frame: FrameType | None) -> None:
            signals.append(number)
            if len(signals) > 1:
                _end(signals[0])
            loop.call_soon_threadsafe(task.cancel)

        with _handled_by(note):
            return await work

    try:
        return asyncio.run(cancelled_by_signals())
    except asyncio.CancelledError:
        if not signals:
            raise
        _end(signals[0])


@contextmanager
def _handled_by(handler: Callable[[int, FrameType | None], None]) -> Generator[None, None, None]:
    if threading.current_thread() is not threading.main_thread():  # only that one hears of signals
        yield
        return
    before = {
        number: signal.signal(number, handler)
        for number in (signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN  # as shells have it for what runs in the background
    }
    try:
        yield
    finally:
        for number, handler_before in before.items():
            signal.signal(number, handler_before)


def _end(number: int) -> NoReturn:
    """End as those expect who sent the signal."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
