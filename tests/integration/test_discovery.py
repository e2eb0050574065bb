"""Trials whose parts find each other through a Directory, each of them a process of its own."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from harness.checks import check_end
from harness.clock import bounded
from harness.specs import CLIENT, SETTINGS, EnvironmentPlan, Role, parameters
from harness.stage import Process, Stage

import cogment
from cogment.directory import Directory, ServiceType
from cogment.errors import EndpointError, UnavailableError

FOUND = "cogment://discover"
TOKEN = "planted-token-of-the-directory"
RETURN = 5.0
"""Seconds after its return within which a Directory knows all services again."""
SERVICES = 6
"""Of an Orchestrator (2), an environment and two processes of actors with one class (1 + 1 + 1), and a datalog."""


class Town:
    """A Directory, and all that is registered there."""

    def __init__(self, stage: Stage, file: Path | None) -> None:
        self.stage = stage
        self.file = file
        self.directory: Process
        self.orchestrator: Process
        self.world: Process
        self.players: Process
        self.url = ""

    async def open(self, port: int = 0) -> None:
        """Start the Directory; at the port that it had before, to bring it back."""
        file = f"--persistence_file={self.file or ''}"
        command = (sys.executable, "-m", "cogment_services", "services", "directory", f"--port={port}", file)
        self.directory = await self.stage.server("directory", *command)
        self.url = self.directory.endpoint

    async def fill(self) -> None:
        """Start everything else; where the Directory is stands in the environment."""
        self.orchestrator, self.world, self.players = await asyncio.gather(
            self.stage.orchestrator(),
            self.stage.component("world", "environment"),
            self.stage.component("players", "actor", "datalog"),
        )

    async def entries(self) -> list[Any]:
        directory = Directory(self.url, TOKEN)
        try:
            return await directory.entries()
        finally:
            await directory.close()

    async def until_known(self, count: int, bound: float) -> float:
        """Wait until so many services are known. Returns how long that took."""
        start = time.monotonic()
        while True:
            try:
                known = len(await self.entries())
            except UnavailableError:
                known = 0
            if known == count:
                return time.monotonic() - start
            assert time.monotonic() - start < bound, known
            await asyncio.sleep(0.05)


@pytest.fixture
async def make_town(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    async def make(*, persistent: bool = False) -> Town:
        town = Town(stage, tmp_path / "entries" if persistent else None)
        monkeypatch.setenv("COGMENT_DIRECTORY_AUTHENTICATION_TOKEN", TOKEN)
        await town.open()
        monkeypatch.setenv("COGMENT_DIRECTORY_ENDPOINT", town.url)
        await town.fill()
        return town

    yield make
    # F11: whatever happened, the token is in nobody's log.
    for process in stage.processes:
        assert TOKEN not in process.transcript(), process.name


def context() -> cogment.Context:
    """A Context that knows of the Directory from the environment variables."""
    return cogment.Context("test", SETTINGS, prometheus_registry=None)


def found(*names: str, plan: EnvironmentPlan | None = None, **settings: Any) -> cogment.TrialParameters:
    """Parameters of a trial whose parts are all to be found."""
    return parameters(FOUND, [Role(name, FOUND) for name in names], plan, datalog=FOUND, **settings)


async def test_a_trial_whose_parts_are_all_discovered(make_town: Any) -> None:
    """Controller, environment, actors, datalog and a client actor find each other by what they are."""
    town = await make_town()
    types = sorted(entry.type.name for entry in await town.entries())
    assert types == ["ACTOR", "ACTOR", "CLIENT_ACTOR", "DATALOG", "ENVIRONMENT", "LIFE_CYCLE"]
    params = parameters(
        FOUND,
        [Role("ann", FOUND), Role("person", CLIENT)],
        EnvironmentPlan(steps=20, period=0.0),
        datalog=FOUND,
    )
    async with context() as here:
        controller = here.get_controller()
        trial = await controller.start_trial(trial_params=params)
        town.players.send(trial=trial, endpoint=FOUND, name="person")
        logged = await town.players.expect("logged")
    assert (logged.trial, logged.state) == (trial, "ENDED")
    person = await town.players.expect("left", who="person")

    def anns_end() -> list[Any]:  # two processes have actors of her class
        return [*town.players.find("left", who="ann"), *town.world.find("left", who="ann")]

    await town.players.until(lambda: len(anns_end()) == 1, "ann has left")
    for left in (*anns_end(), person):
        check_end(left)


async def test_a13_a_directory_killed_and_restarted_with_nothing(make_town: Any) -> None:
    """Inquiries fail fast meanwhile, trials go on, and within 5 s of its return everything is known again."""
    town = await make_town()
    async with context() as here:
        controller = here.get_controller()
        running = await controller.start_trial(trial_params=found("ann"))
        await _ticks(town, "ann", 10)
        port = town.directory.port
        town.directory.kill()
        await town.directory.exit()
        start = time.monotonic()
        with pytest.raises(UnavailableError):
            await town.entries()
        with pytest.raises(UnavailableError):  # the Controller has found its Orchestrator, who cannot find anything
            await controller.start_trial(trial_params=found("bob"))
        assert time.monotonic() - start < bounded(2)
        await _ticks(town, "ann", 30)

        await town.open(port)
        assert await town.until_known(SERVICES, 60) < bounded(RETURN)
        second = await controller.start_trial(trial_params=found("bob", plan=EnvironmentPlan(steps=10, period=0.0)))
        await town.players.expect("logged", trial=second)
        await controller.terminate_trial(running)
        await town.players.expect("logged", trial=running)


async def test_a13_a_directory_killed_and_restarted_with_its_file(make_town: Any) -> None:
    """What was registered is still there, once: nobody is registered twice."""
    town = await make_town(persistent=True)
    before = {entry.service_id for entry in await town.entries()}
    port = town.directory.port
    town.directory.kill()
    await town.directory.exit()
    await town.open(port)
    assert await town.until_known(SERVICES, 60) < bounded(RETURN)
    await asyncio.sleep(2.5)  # everybody has looked once
    after = [entry.service_id for entry in await town.entries()]
    assert len(after) == SERVICES
    assert before & set(after)


async def test_what_stops_is_not_found_any_more(make_town: Any) -> None:
    """Each process deregisters when it is told to end; the Orchestrator then says what it does not find."""
    town = await make_town()
    for process in (town.world, town.players, town.orchestrator):
        process.expected_end = True
    await asyncio.gather(town.world.stop(), town.players.stop())
    assert {entry.type for entry in await town.entries()} == {ServiceType.LIFE_CYCLE, ServiceType.CLIENT_ACTOR}
    async with context() as here:
        with pytest.raises(Exception, match="knows no ENVIRONMENT service"):
            await here.get_controller().start_trial(trial_params=found("ann"))
        await town.orchestrator.stop()
        assert await town.entries() == []
    async with context() as here:
        with pytest.raises(EndpointError, match="knows no LIFE_CYCLE service"):
            await here.get_controller().get_trial_info([])


async def _ticks(town: Town, who: str, tick: int) -> None:
    """Wait for a tick of an actor, wherever it was found."""
    deadline = time.monotonic() + 20
    while not any(process.find("tick", who=who, tick=tick) for process in (town.players, town.world)):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
