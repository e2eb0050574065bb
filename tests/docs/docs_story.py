"""Plays a page: writes the files that it shows, runs its commands, and compares what they print."""

from __future__ import annotations

import os
import queue
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

from docs_pages import blocks_of, commands_of

COMMAND_TIMEOUT = 40.0
"""Seconds that a command may take, and a server until it says that it serves."""

SERVERS = ("cogment services", "python serve.py")
"""Commands that run until the end of their page. The first line that they print says that they serve."""

NOT_RUN = ("pip install", "python3 dev.py")
"""Commands that are left out: the packages are installed, and ``dev.py`` runs these tests."""

PROGRAMS = {"python": [sys.executable], "cogment": [sys.executable, "-m", "cogment_services"]}

ANSWERS = "".join(f"{number}\n" for number in range(1, 101))
"""What is typed into programs: they ask for numbers from 1 to 100."""


class Story:
    """A page that is played in a folder.

    Ports that begin with 90 are replaced with free ones, because tests run at the same time as other things do.

    Args:
        folder: Where files are written, and commands run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports: dict[str, str] = {}
        self._servers: list[Server] = []
        self._printed = ""

    def play(self, page: Path) -> None:
        """Play ``page`` from top to bottom."""
        for block in blocks_of(page):
            text = re.sub(r"\b90\d\d\b", lambda found: self._ports.setdefault(found[0], _free_port()), block.text)
            if block.title:
                (self._folder / block.title).write_text(text)
            elif block.language == "sh":
                self._printed = "".join([self._run(command) for command in commands_of(text)])
            elif block.language == "text" and self._printed:
                missing = _shapes(text) - _shapes(self._printed)
                assert not missing, f"{block}: {missing} was not printed:\n{self._printed}"

    def close(self) -> None:
        """End the servers."""
        for server in self._servers:
            server.close()

    def _run(self, command: str) -> str:
        """Run ``command``. Returns what it printed."""
        if command.startswith(NOT_RUN):
            return ""
        arguments, environment = _parsed(command)
        if command.startswith(SERVERS):
            self._servers.append(Server(arguments, environment, self._folder))
            return ""
        done = subprocess.run(
            arguments,
            cwd=self._folder,
            env=environment,
            input=ANSWERS,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
        printed = done.stdout + done.stderr
        logs = "\n".join(server.printed for server in self._servers)
        assert done.returncode == 0, f"{command}\n{printed}\n{logs}"
        assert "Traceback" not in printed, f"{command}\n{printed}"
        assert "never retrieved" not in printed, f"{command}\n{printed}"
        return printed


class Server:
    """A command that runs until it is closed; made once it serves."""

    def __init__(self, arguments: list[str], environment: dict[str, str], folder: Path) -> None:
        self.printed = ""
        self._process = subprocess.Popen(
            arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        try:
            line = self._lines.get(timeout=COMMAND_TIMEOUT)
        except queue.Empty:
            line = ""
        if not line:
            self.close()
            raise AssertionError(f"{arguments} does not serve:\n{self.printed}")

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self.printed += line
                self._lines.put(line)
        self._lines.put("")

    def close(self) -> None:
        """End it as Ctrl-C does, or by force."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(COMMAND_TIMEOUT / 4)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()


def _parsed(command: str) -> tuple[list[str], dict[str, str]]:
    """The arguments and the environment variables of ``command``."""
    words = shlex.split(command)
    # Old versions of protobuf warn on new Pythons, which pytest would count in what it prints.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "100", "PYTEST_ADDOPTS": "-p no:warnings"}
    while "=" in words[0]:
        name, _, environment[name] = words.pop(0).partition("=")
    return [*PROGRAMS.get(words[0], [words[0]]), *words[1:]], environment


def _shapes(text: str) -> set[str]:
    """The lines of ``text`` without their numbers and colours: numbers may be others the next time."""
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    return {re.sub(r"[+-]?\d[\d.,]*", "#", line).strip() for line in plain.splitlines() if line.strip()}


def _free_port() -> str:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])
