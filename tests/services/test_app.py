"""What all servers have in common: their process, their log and their status file."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import signal
import time

import pytest

from cogment_core.errors import UsageError
from cogment_core.logs import LOG_LEVELS, TRACE, logger
from cogment_services import app, status_file
from cogment_services.app import AppOptions
from cogment_services.log_output import JsonFormatter, LogOptions, TextFormatter, start_logging
from cogment_services.status_file import ServerState, StatusFile


class FakeServer:
    """A server that sends its own process the signals that a test wants."""

    listening = "[port:1]"

    def __init__(self, *, start: float = 0.0, close: float = 0.0, error: Exception | None = None) -> None:
        self._start = start
        self._close = close
        self._error = error
        self.closed: list[float] = []

    def signal_after(self, *seconds: float) -> None:
        for delay in seconds:
            asyncio.get_running_loop().call_later(delay, os.kill, os.getpid(), signal.SIGTERM)

    async def start(self) -> None:
        if self._error is not None:
            raise self._error
        self.signal_after(0.01)
        await asyncio.sleep(self._start)

    async def close(self, grace: float) -> None:
        self.closed.append(grace)
        await asyncio.sleep(min(self._close, grace) if self._close < 100 else self._close)


def run(server: FakeServer, **options: object) -> float:
    """Run ``server`` to its end. Returns how long that took."""
    began = time.monotonic()
    app.run(lambda registry: server, AppOptions(name="Test", **options))
    return time.monotonic() - began


def test_a_server_is_closed_with_its_grace(capsys, tmp_path) -> None:
    """The ready line goes to the standard output, the status to its file, and the handlers of signals go back."""
    before = signal.getsignal(signal.SIGTERM)
    server = FakeServer()
    run(server, grace=3.0, status_file=str(tmp_path / "status"))
    assert server.closed == [3.0]
    assert capsys.readouterr().out == "server listening [port:1]\n"
    assert (tmp_path / "status").read_text() == "IRT"
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_server_that_is_told_to_stop_while_it_starts(capsys, tmp_path) -> None:
    """It is never ready, and closed all the same."""
    server = FakeServer(start=60)
    assert run(server, status_file=str(tmp_path / "status")) < 5
    assert server.closed == [5.0]
    assert capsys.readouterr().out == ""
    assert (tmp_path / "status").read_text() == "IT"


def test_a_server_that_cannot_start_is_closed(tmp_path) -> None:
    """What it had begun is undone, and the error is the caller's."""
    server = FakeServer(error=UsageError("no"))
    with pytest.raises(UsageError, match="no"):
        run(server, status_file=str(tmp_path / "status"))
    assert server.closed == [0.0]
    assert (tmp_path / "status").read_text() == "I"


def test_a_second_signal_cuts_the_grace_short() -> None:
    """The server is told that there is no grace any more."""

    class Patient(FakeServer):
        async def close(self, grace: float) -> None:
            self.closed.append(grace)
            if grace:
                self.signal_after(0.01)
                await asyncio.sleep(grace)

    server = Patient()
    assert run(server, grace=60.0) < 5
    assert server.closed == [60.0, 0.0]


def test_a_server_that_does_not_stop_does_not_keep_its_process(capsys, monkeypatch) -> None:
    """The process ends, and its log says that something is wrong."""
    monkeypatch.setattr(app, "LAST_MOMENTS", 0.1)
    assert run(FakeServer(close=1000), grace=0.1) < 5
    assert "does not stop in time" in capsys.readouterr().err


def test_metrics_are_made_only_when_they_are_served() -> None:
    """Without a port there is no registry."""
    registries = []

    def make(registry):
        registries.append(registry)
        return FakeServer()

    app.run(make, AppOptions(name="Test"))
    assert registries == [None]


# --- The log


@pytest.fixture
def logged(capsys):
    """Logs, as an application would, and gives the lines."""

    def logged(options: LogOptions) -> list[str]:
        stop = start_logging(options)
        try:
            for level in ("error", "warning", "info", "debug", "trace"):
                logger.log(LOG_LEVELS[level], "said at %s", level)
            logging.getLogger("somebody.else").info("not interesting")
            logging.getLogger("somebody.else").warning("interesting")
        finally:
            stop()
        return capsys.readouterr().err.splitlines()

    return logged


@pytest.mark.parametrize(("level", "count"), [("off", 0), ("error", 1), ("warning", 3), ("INFO", 4), ("trace", 6)])
def test_the_level_says_what_is_logged(logged, level, count) -> None:
    """Cogment logs from its level up; other libraries only warnings and errors."""
    assert len(logged(LogOptions(level))) == count


def test_logging_can_be_undone() -> None:
    """Everything is as it was before."""
    before = logger.level, list(logging.getLogger().handlers), logging.getLogger().level
    start_logging(LogOptions("trace"))()
    assert (logger.level, list(logging.getLogger().handlers), logging.getLogger().level) == before


def test_json_lines_are_for_programs(logged) -> None:
    """Each line is one object."""
    lines = [json.loads(line) for line in logged(LogOptions("trace", format="json"))]
    assert [line["level"] for line in lines] == ["error", "warning", "info", "debug", "trace", "warning"]
    assert lines[0]["message"] == "said at error"
    assert lines[-1]["logger"] == "somebody.else"


def test_a_log_file_is_appended_to(logged, tmp_path) -> None:
    """Files get JSON unless told otherwise, and nothing goes to the console."""
    file = tmp_path / "log"
    file.write_text("before\n")
    assert logged(LogOptions(file=str(file))) == []
    before, first, *_ = file.read_text().splitlines()
    assert before == "before"
    assert json.loads(first)["level"] == "error"


def record(message: str, *args: object, error: BaseException | None = None) -> logging.LogRecord:
    info = None if error is None else (type(error), error, error.__traceback__)
    return logging.LogRecord("cogment.sdk", logging.ERROR, "file", 1, message, args, info)


def test_what_peers_say_cannot_forge_lines_of_the_log() -> None:
    """Control characters are escaped, in both formats."""
    hostile = record("said %s", "x\n2026 [INFO] all is well\x1b[2J\u2028")
    text = TextFormatter().format(hostile)
    assert text.endswith("said x\\n2026 [INFO] all is well\\x1b[2J\\u2028")
    assert "\n" not in JsonFormatter().format(hostile)


def test_lines_of_text_have_time_level_and_logger() -> None:
    """A traceback follows its line; the level has a colour on terminals."""
    line, *traceback = TextFormatter().format(record("oh", error=ValueError("no"))).splitlines()
    assert line.endswith("Z [ERRO] [cogment.sdk] oh")
    assert traceback == ["ValueError: no"]
    assert "\x1b[31m[ERRO]\x1b[0m" in TextFormatter(coloured=True).format(record("oh"))
    assert json.loads(JsonFormatter().format(record("oh", error=ValueError("no"))))["exception"] == "ValueError: no"
    assert logging.getLevelName(TRACE) == "TRACE"


# --- The status file


async def test_without_a_status_file_nothing_is_written() -> None:
    """None is no file."""
    await StatusFile(None).write(ServerState.READY)


async def test_letters_are_appended(tmp_path) -> None:
    """A file from before keeps what it has."""
    file = tmp_path / "status"
    file.write_text("IRT")
    for state in ServerState:
        await StatusFile(file).write(state)
    assert file.read_text() == "IRTIRT"


async def test_a_pipe_that_nobody_reads_is_given_up(tmp_path, monkeypatch) -> None:
    """A server does not wait for ever for somebody to read its status."""
    monkeypatch.setattr(status_file, "PIPE_PATIENCE", 0.05)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match=os.strerror(errno.ENXIO)):
        await StatusFile(pipe).write(ServerState.INITIALIZING)
