"""Ctrl-C and SIGTERM in commands."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cogment_services.cli.interrupts import run_interruptible

PATIENCE = 20.0

COMMAND = """
    import asyncio, signal, sys
    from cogment_services.cli.interrupts import run_interruptible

    async def work():
        try:
            print("working", flush=True)
            await asyncio.Event().wait()
        finally:
            print("cleaning", flush=True)
            if "slowly" in sys.argv:
                await asyncio.Event().wait()
            if "blocked" in sys.argv:
                sys.stdin.read()
            print("clean", flush=True)

    if "background" in sys.argv:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        run_interruptible(work())
    except KeyboardInterrupt:
        sys.exit(130)
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts processes that work for ever, unless they are told to end; at last they are killed."""
    processes: list[subprocess.Popen[str]] = []

    def run(*args: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", textwrap.dedent(COMMAND), *args]
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        processes.append(process := subprocess.Popen(command, **pipes, text=True))
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are not sent there")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_lets_a_command_clean_up(start: Start, number: int, status: int) -> None:
    """It is cancelled, and what it does then is waited for; nothing else is said."""
    process = start()
    process.send_signal(number)
    assert process.communicate(timeout=PATIENCE) == ("cleaning\nclean\n", "")
    assert process.returncode == status


@pytest.mark.skipif(sys.platform == "win32", reason="signals are not sent there")
@pytest.mark.parametrize("how", ["slowly", "blocked"])
@pytest.mark.parametrize(("first", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_does_not_wait(start: Start, how: str, first: int, status: int) -> None:
    """Whatever the command does to clean up, and whether it gives way to the event loop, it ends; as the first says."""
    process = start(how)
    assert process.stdout is not None
    process.send_signal(first)
    assert process.stdout.readline() == "cleaning\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == status
    out, err = process.communicate()
    assert "clean\n" not in out
    assert "Traceback" not in err


@pytest.mark.skipif(sys.platform == "win32", reason="signals are not sent there")
def test_what_a_shell_has_ignored_stays_ignored(start: Start) -> None:
    """Ctrl-C is not for what runs in the background; SIGTERM is."""
    process = start("background")
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=PATIENCE) == ("cleaning\nclean\n", "")
    assert process.returncode == 143


def test_a_result_is_returned() -> None:
    """And handlers of signals are as before; in another thread than the main one it works, too."""

    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(run_interruptible, work()).result(PATIENCE) == 7
    assert run_interruptible(work()) == 7
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_what_cancels_itself_is_no_interruption() -> None:
    """A command that was cancelled without a signal says so."""

    async def work() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run_interruptible(work())
