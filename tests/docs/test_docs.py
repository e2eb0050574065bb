"""What the README and the documentation show works: programs run, fragments use names that exist, paths are there."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import queue
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import cogment
import cogment_controller
import pytest
from cogment_core import events
from cogment_core.sessions.actor import ActorSession
from cogment_core.sessions.datalog import DatalogSession
from cogment_core.sessions.environment import EnvironmentSession
from cogment_core.sessions.prehook import PrehookSession
from cogment_services.orchestrator import Orchestrator

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
START = DOCS / "index.md"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

COMMAND_TIMEOUT = 40.0
"""Seconds that a command of a page may take, and that a server may take until it says that it serves."""

SERVERS = ("cogment services", "python serve")
"""Commands that run until the end of their page; the first line that they print says that they serve."""

NOT_RUN = ("pip install", "python3 dev.py", "docker ")
"""Commands that are not run here: the packages are installed, and other tests run ``dev.py``."""

FILES_OF_PAGES = {"cog_settings", "data_pb2", "guess"}
"""Modules that are made by the tour in ``index.md``, which other pages go on from."""

SUBJECTS: dict[str, Sequence[type]] = {
    "session": (ActorSession, EnvironmentSession, DatalogSession, PrehookSession),
    "context": (cogment.Context,),
    "controller": (cogment_controller.Controller,),
    "orchestrator": (Orchestrator,),
    "event": (events.RecvEvent,),
    "params": (cogment.TrialParameters,),
    "endpoint": (cogment.Endpoint,),
    "served": (cogment.ServedEndpoint,),
    "sample": (cogment.LogSample,),
    "info": (cogment_controller.TrialInfo,),
}
"""What the variables of fragments are, by name."""


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    language: str
    title: str
    """Name of the file that it is; empty for a fragment."""
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of ``page``, in order."""
    text = page.read_text()
    found = re.finditer(r'^( *)```(\w+)(?: title="([^"]+)")?\n(.*?)^\1```$', text, re.M | re.S)
    return [
        Block(match[2], match[3] or "", _dedent(match[4], match[1]), text.count("\n", 0, match.start()) + 1)
        for match in found
    ]


def _dedent(text: str, indent: str) -> str:
    return re.sub(f"^{indent}", "", text, flags=re.M)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


# --- fragments ----------------------------------------------------------------------------------------------------------


def python_blocks() -> Iterator[object]:
    for page in PAGES:
        for block in blocks(page):
            if block.language == "python":
                yield pytest.param(block, id=f"{name_of(page)}:{block.line}")


@pytest.mark.parametrize("block", list(python_blocks()))
def test_python_uses_what_exists(block: Block) -> None:
    """Each Python block compiles, and what it takes from modules, sessions, Contexts and so on is there."""
    compile(block.text, block.title or "fragment", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    tree = ast.parse(block.text)
    for module, name in imported(tree):
        if module.partition(".")[0] not in FILES_OF_PAGES and not (module.startswith("gymnasium") and not name):
            assert not name or hasattr(importlib.import_module(module), name), f"{module}.{name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in SUBJECTS:
            assert any(node.attr in members(kind) for kind in SUBJECTS[node.value.id]), ast.unparse(node)


def imported(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """The modules that ``tree`` imports, and the names that it takes from them."""
    modules = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.asname or alias.name: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.module, alias.name) for alias in node.names)
    modules.setdefault("cogment", "cogment")  # fragments need not repeat this import
    yield from ((module, "") for module in modules.values())
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield modules[node.value.id], node.attr


def members(kind: type) -> set[str]:
    """The attributes of ``kind`` and of its instances."""
    found = set(dir(kind))
    for base in kind.__mro__:
        if base.__module__.startswith("cogment"):
            found |= {*base.__dict__.get("__annotations__", ()), *re.findall(r"\bself\.(\w+)", inspect.getsource(base))}
    return found


# --- programs -----------------------------------------------------------------------------------------------------------


class Story:
    """A page, played from top to bottom in a folder: files are written, commands are run, output is compared.

    Args:
        folder: Where to play it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports: dict[str, str] = {}
        self._servers: list[Server] = []
        self._output = ""

    def play(self, page: Path) -> None:
        """Play all of ``page``."""
        for block in blocks(page):
            if block.title:
                (self.folder / block.title).write_text(self._with_free_ports(block.text))
            elif block.language == "sh":
                self._output = "".join(map(self._run, commands(self._with_free_ports(block.text))))
            elif block.language == "text" and self._output:
                self._compare(self._with_free_ports(block.text))

    def close(self) -> None:
        """End the servers."""
        for server in self._servers:
            server.close()

    def _with_free_ports(self, text: str) -> str:
        return re.sub(r"\b90\d\d\b", lambda match: self._ports.setdefault(match[0], free_port()), text)

    def _run(self, command: str) -> str:
        if command.startswith(NOT_RUN):
            return ""
        arguments, environment = parsed(command)
        if command.startswith(SERVERS):
            self._servers.append(Server(arguments, environment, self.folder))
            return ""
        answers = "".join(f"{number}\n" for number in range(1, 101))  # to whoever asks for a number
        done = subprocess.run(
            arguments,
            cwd=self.folder,
            env=environment,
            input=answers,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}\n{self._logs()}"
        assert "Traceback" not in done.stderr, f"{command}\n{done.stderr}"
        assert "never retrieved" not in done.stderr, f"{command}\n{done.stderr}"
        return done.stdout + done.stderr

    def _compare(self, shown: str) -> None:
        """The lines that a page shows are of the same shape as those that came: numbers may be others."""
        missing = shapes(shown) - shapes(self._output)
        assert not missing, f"{missing} is not in:\n{self._output}"

    def _logs(self) -> str:
        return "\n".join(server.output for server in self._servers)


class Server:
    """A command that runs until it is closed."""

    def __init__(self, arguments: list[str], environment: dict[str, str], folder: Path) -> None:
        self._process = subprocess.Popen(
            arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self.output = ""
        threading.Thread(target=self._read, daemon=True).start()
        self._lines.get(timeout=COMMAND_TIMEOUT)
        assert self._process.poll() is None, self.output

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self.output += line
                self._lines.put(line)
        self._lines.put("")

    def close(self) -> None:
        """End it as Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(COMMAND_TIMEOUT / 2)
        finally:
            self._process.kill()
            self._process.wait()


def commands(text: str) -> list[str]:
    """The commands in ``text``, one per line; lines that end with a backslash go on."""
    joined = re.sub(r"\\\n\s*", "", text)
    return [line for line in joined.splitlines() if line and not line.startswith("#")]


def parsed(command: str) -> tuple[list[str], dict[str, str]]:
    """The arguments and the environment variables of ``command``."""
    words = shlex.split(command)
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "100"}
    while re.fullmatch(r"\w+=.*", words[0]):
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    programs = {"python": [sys.executable], "cogment": [sys.executable, "-m", "cogment_services"]}
    return [*programs.get(words[0], [words[0]]), *words[1:]], environment


def shapes(text: str) -> set[str]:
    """The lines of ``text`` without their numbers and colours."""
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)
    return {re.sub(r"[+-]?\d[\d.,]*", "#", line).strip() for line in plain.splitlines() if line.strip()}


def free_port() -> str:
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


@pytest.fixture(scope="session")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the tour, which the other pages go on from."""
    folder = tmp_path_factory.mktemp("tour")
    Story(folder).play(START)
    return folder


@pytest.fixture
def story(tour: Path, tmp_path: Path) -> Iterator[Story]:
    folder = tmp_path / "page"
    shutil.copytree(tour, folder, ignore=shutil.ignore_patterns("__pycache__"))
    result = Story(folder)
    try:
        yield result
    finally:
        result.close()


def pages_with_commands() -> Iterator[object]:
    for page in PAGES:
        text = "\n".join(block.text for block in blocks(page) if block.language == "sh")
        if [command for command in commands(text) if not command.startswith(NOT_RUN)]:
            yield pytest.param(page, id=name_of(page))


@pytest.mark.parametrize("page", list(pages_with_commands()))
def test_programs_run(story: Story, page: Path) -> None:
    """Played from top to bottom, each page does what it says: commands succeed, and print what is shown."""
    if "openssl " in page.read_text() and shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    story.play(page)


def test_the_readme_stands_alone(tmp_path: Path) -> None:
    """The program in the README needs nothing but an empty folder."""
    story = Story(tmp_path)
    try:
        story.play(ROOT / "README.md")
    finally:
        story.close()
    assert (tmp_path / "cog_settings.py").exists()


# --- the rest -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_paths_of_the_repository_exist(page: Path) -> None:
    """What a page says is in the repository is there."""
    paths = re.findall(r"`((?:tests|examples|benchmarks|packages|proto|docs|scripts)/[\w./-]*)`", page.read_text())
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_every_page_is_in_the_navigation() -> None:
    """No page is left out of ``mkdocs.yml``."""
    navigation = (ROOT / "mkdocs.yml").read_text()
    assert not [page for page in sorted(DOCS.rglob("*.md")) if f": {page.relative_to(DOCS)}" not in navigation]
