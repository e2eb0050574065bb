"""The processes of a test: started, watched, frozen, killed, and always gone at its end."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cogment
from harness.clock import bounded
from harness.specs import SETTINGS

PATIENCE = 20.0
"""Seconds that a test waits for what has no bound of its own."""

FORBIDDEN = ("never retrieved", "Task was destroyed", "never awaited", "Traceback", "AssertionError", "goes on after")
"""What must not be in the log of a process that was not told to expect it."""

_HERE = Path(__file__).parent.parent
_LISTENING = re.compile(r"server listening \[port:(\d+)\]")


@dataclass(frozen=True)
class Event:
    """Something that a process told."""

    name: str
    at: float
    """When, in seconds of ``time.monotonic``, which all processes share."""
    data: dict[str, Any]

    def __getattr__(self, name: str) -> Any:
        try:
            return self.data[name]
        except KeyError:
            raise AttributeError(name) from None


class Process:
    """One process of a test."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.port = 0
        self.events: list[Event] = []
        self.log: list[str] = []
        self.expected_end = False
        self.is_frozen = False
        self.forgiven: tuple[str, ...] = ()
        """Texts that excuse what is `FORBIDDEN` in the same line of the log, or the next."""
        self._process = process
        self._news = asyncio.Event()
        self._readers = [asyncio.create_task(self._read_output()), asyncio.create_task(self._read_log())]

    @property
    def endpoint(self) -> str:
        return f"grpc://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.returncode is None

    @property
    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    # --- what it tells

    async def _read_output(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self._take(line.decode().rstrip())
            self._tell()

    async def _read_log(self) -> None:
        assert self._process.stderr is not None
        async for line in self._process.stderr:
            self.log.append(line.decode().rstrip())
            self._tell()

    def _take(self, line: str) -> None:
        listening = _LISTENING.match(line)
        if listening:
            self.events.append(Event("ready", time.monotonic(), {"port": int(listening[1])}))
        elif line.startswith("{"):
            data = json.loads(line)
            self.events.append(Event(data.pop("event"), data.pop("at"), data))
        else:
            self.log.append(line)

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def find(self, name: str, **data: Any) -> list[Event]:
        """The events of that name, with that data, so far."""
        return [
            event
            for event in self.events
            if event.name == name and all(event.data.get(key) == value for key, value in data.items())
        ]

    async def expect(self, name: str, *, count: int = 1, timeout: float = PATIENCE, **data: Any) -> Event:
        """Wait for the ``count``-th event of that name with that data."""
        wanted = f"{name} {data or ''} x{count}"
        await self.until(lambda: len(self.find(name, **data)) >= count, wanted, timeout)
        return self.find(name, **data)[count - 1]

    async def until(self, condition: Callable[[], bool], what: str, timeout: float = PATIENCE) -> None:
        """Wait until the process has told what makes ``condition`` true."""
        timeout = bounded(timeout)
        until = time.monotonic() + timeout
        while not condition():
            ended = not self.is_alive and all(reader.done() for reader in self._readers)
            left = until - time.monotonic()
            if ended or left <= 0:
                why = f"it has ended with {self._process.returncode}" if ended else f"not within {timeout:g} s"
                raise AssertionError(f"{self.name}: {what}: {why}")
            news = asyncio.create_task(self._news.wait())
            # The end of a process is no news by itself: it is looked for now and then.
            await asyncio.wait({news}, timeout=min(left, 0.2))
            news.cancel()

    async def expect_log(self, text: str, timeout: float = PATIENCE) -> None:
        await self.until(lambda: any(text in line for line in self.log), f"{text!r} in the log", timeout)

    def transcript(self) -> str:
        """All that it told."""
        told = (f"{event.at:.3f} {event.name} {event.data}" for event in self.events)
        return "\n".join([*told, "--- log", *self.log])

    # --- what is done to it

    def send(self, **command: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")

    def kill(self) -> float:
        """``kill -9``. Returns when."""
        return self.signal(signal.SIGKILL, ends=True)

    def freeze(self) -> float:
        """Stop it as a debugger would: its connections stay open. Returns when."""
        self.is_frozen = True
        return self.signal(signal.SIGSTOP)

    def thaw(self) -> float:
        """Let it go on. Returns when."""
        self.is_frozen = False
        return self.signal(signal.SIGCONT)

    def signal(self, number: int, *, ends: bool = False) -> float:
        self.expected_end = self.expected_end or ends
        at = time.monotonic()
        os.kill(self.pid, number)
        return at

    async def exit(self, timeout: float = PATIENCE) -> tuple[int, float]:
        """Wait for its end. Returns its exit code and when it was noticed."""
        code = await asyncio.wait_for(self._process.wait(), bounded(timeout))
        at = time.monotonic()
        await asyncio.wait(self._readers, timeout=PATIENCE)
        return code, at

    async def stop(self) -> int:
        """Let it end by itself. Returns its exit code."""
        if self.is_alive:
            if self._process.stdin is not None:
                self._process.stdin.close()
            else:
                os.kill(self.pid, signal.SIGTERM)
        return (await self.exit())[0]

    async def kill_now(self) -> None:
        if self.is_alive:
            self._process.kill()
        await self._process.wait()
        for reader in self._readers:
            reader.cancel()

    def complaints(self) -> list[str]:
        """Lines of its log that should not be there, each with the line before."""
        pairs = zip(["", *self.log], self.log, strict=False)
        said = [f"{before} / {line}" for before, line in pairs if any(text in line for text in FORBIDDEN)]
        return [line for line in said if not any(text in line for text in self.forgiven)]


class Stage:
    """The processes of a test."""

    def __init__(self) -> None:
        self.pace = 1
        """How much faster than by default the processes ask each other whether they live."""
        self.processes: list[Process] = []
        self._contexts: list[cogment.Context] = []

    @staticmethod
    def now() -> float:
        """The clock of all processes."""
        return time.monotonic()

    async def orchestrator(self, *options: str) -> Process:
        """Start the ``cogment services orchestrator`` command, and wait until it listens."""
        return await self._ready(await self.orchestrator_at(0, 0, *options))

    async def orchestrator_at(self, port: int, actor_port: int, *options: str) -> Process:
        """Start an Orchestrator with these ports, without waiting until it listens."""
        ports = (f"--lifecycle_port={port}", f"--actor_port={actor_port}")
        program = ("harness.scaled", str(self.pace)) if self.pace > 1 else ("cogment_services",)
        command = (sys.executable, "-m", *program, "services", "orchestrator", *ports, *options)
        return await self._start("orchestrator", command, stdin=None)

    async def server(self, name: str, *command: str) -> Process:
        """Start another server, and wait until it listens; it ends when it is told to by a signal."""
        return await self._ready(await self._start(name, command, stdin=None))

    async def component(self, name: str, *serve: str, port: int = 0) -> Process:
        """Start a process that serves these kinds of components: environment, actor, datalog."""
        return await self._ready(await self.start_component(name, *serve, port=port))

    async def start_component(self, name: str, *serve: str, port: int = 0) -> Process:
        """As `component`, without waiting until it listens."""
        options = json.dumps({"name": name, "serve": serve, "port": port, "pace": self.pace})
        command = (sys.executable, "-m", "harness.component", options)
        return await self._start(name, command, stdin=asyncio.subprocess.PIPE)

    async def cast(self, **components: Iterable[str] | str) -> list[Process]:
        """Start an Orchestrator, and at the same time components: what they serve, by the name of the process."""
        starting = [self.orchestrator()]
        for name, serve in components.items():
            starting.append(self.component(name, *([serve] if isinstance(serve, str) else serve)))
        return list(await asyncio.gather(*starting))

    async def _start(self, name: str, command: Iterable[str], stdin: int | None) -> Process:
        path = filter(None, (str(_HERE), os.environ.get("PYTHONPATH")))
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=2**20,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"},
        )
        started = Process(name, process)
        self.processes.append(started)
        return started

    async def _ready(self, process: Process) -> Process:
        process.port = (await process.expect("ready")).port
        return process

    def controller(self, orchestrator: Process) -> Any:
        """A Controller in the process of the test."""
        context = cogment.Context("test", SETTINGS, prometheus_registry=None)
        self._contexts.append(context)
        return context.get_controller(cogment.Endpoint(orchestrator.endpoint))

    async def close(self) -> None:
        """Let all processes end, and check that they do, and did not before."""
        problems = [f"{process.name} has ended" for process in self.processes if self._vanished(process)]
        for context in self._contexts:
            await context.close()
        for process in self.processes:
            if process.is_frozen:
                process.kill()
        lasting = [process for process in self.processes if process.is_alive and not process.expected_end]
        codes = await asyncio.gather(*(process.stop() for process in lasting))
        for process, code in zip(lasting, codes, strict=True):
            if code:
                problems.append(f"{process.name} ended with {code}")
            problems.extend(f"{process.name} left the task {task}" for task in _left_tasks(process))
        for process in self.processes:
            problems.extend(f"{process.name} logged: {line}" for line in process.complaints())
        assert not problems, "\n".join(problems)

    @staticmethod
    def _vanished(process: Process) -> bool:
        return not process.is_alive and not process.expected_end

    async def kill_all(self) -> None:
        for context in self._contexts:
            await context.close()
        await asyncio.gather(*(process.kill_now() for process in self.processes))


def _left_tasks(process: Process) -> list[str]:
    return [task for event in process.find("done") for task in event.tasks]
