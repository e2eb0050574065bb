"""``cogment services trial_datastore``: its options, old command lines, and an Orchestrator that logs to it."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from google.protobuf.wrappers_pb2 import StringValue
from storekit import PATIENCE, Client, sample

from cogment_core.api import common_pb2, orchestrator_pb2, orchestrator_pb2_grpc
from cogment_core.api.common_pb2 import ENDED, RUNNING
from cogment_core.channels import open_channel
from cogment_core.context import Context
from cogment_core.enums import EventType
from cogment_core.specs import ActorClass, ActorClassList
from cogment_services.cli import cogment as command_line
from cogment_services.cli import trial_datastore as module
from cogment_services.datastore import TrialDatastore
from cogment_services.orchestrator import Orchestrator

# --- where samples go -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "env", "path"),
    [
        ([], {}, module.DEFAULT_FILE),
        (["--file_storage"], {}, module.DEFAULT_FILE),
        (["--file_storage=a.db"], {}, "a.db"),
        (["--file_storage", "a.db"], {}, "a.db"),
        (["--memory"], {}, None),
        (["--memory_storage_max_samples_size=1000"], {}, None),
        (["--memory_storage_max_samples_size=1000", "--file_storage=a.db"], {}, "a.db"),
        ([], {"FILE_STORAGE_PATH": "b.db"}, "b.db"),
        (["--file_storage=a.db"], {"FILE_STORAGE_PATH": "b.db"}, "a.db"),
        ([], {"FILE_STORAGE_PATH": ""}, module.DEFAULT_FILE),
        ([], {"MEMORY_STORAGE_MAX_SAMPLE_SIZE": "1000"}, None),
        ([], {"MEMORY": "1"}, None),
    ],
)
def test_old_command_lines_mean_what_they_meant(
    monkeypatch: pytest.MonkeyPatch, args: list[str], env: dict[str, str], path: str | None
) -> None:
    """The file is the one that is named, or the default; memory is used if it is asked for, or its size is given."""
    made: list[Any] = []
    monkeypatch.setattr("cogment_services.app.run", lambda make, options: made.append((make(None), options)))
    monkeypatch.setattr("sys.setswitchinterval", lambda seconds: None)
    monkeypatch.setattr(
        "cogment_services.datastore.TrialDatastore", lambda path, **settings: made.append((path, settings))
    )
    full = {f"COGMENT_TRIAL_DATASTORE_{name}": value for name, value in env.items()}
    result = CliRunner().invoke(command_line, ["services", "datastore", *args], env=full)
    assert result.exit_code == 0, result.output
    used, settings = made[0]
    assert used == path
    assert settings["port"] == 9003
    assert settings["host"] == "127.0.0.1"


@pytest.mark.parametrize(
    "args",
    [
        ["--memory", "--file_storage=a.db"],
        ["--host="],
        ["--grace=nan"],
        ["--grpc_reflection"],
        ["--memory_storage_max_samples_size=0"],
        ["--port=70000"],
    ],
)
def test_mistakes_are_refused(args: list[str]) -> None:
    """What makes no sense is said, and nothing is started."""
    result = CliRunner().invoke(command_line, ["services", "trial_datastore", *args])
    assert result.exit_code != 0


async def test_the_command_serves_and_stops(command: Any, tmp_path: Path) -> None:
    """It makes its file with its folder, tells that it is ready, and keeps what it has when it is told to stop."""
    for expected in (0, 2):
        running = await command(f"--status_file={tmp_path / 'status'}", cwd=tmp_path)
        await running.ready()
        async with running.channel() as channel:
            client = Client(channel)
            assert len((await client.list()).trial_infos) == expected
            if not expected:
                await client.log_all("whole", 3)
                log = await client.log("running")
                await log.store(sample(0))
        running.process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(running.process.wait(), PATIENCE) == 0
    assert (tmp_path / ".cogment" / "trial_datastore.db").exists()
    assert (tmp_path / "status").read_text() == "IRTIRT"


SPECS = SimpleNamespace(
    actor_classes=ActorClassList(ActorClass("player", None, StringValue, StringValue)),
    trial=SimpleNamespace(config_type=None),
    environment=SimpleNamespace(config_type=None),
)


# --- with an Orchestrator ---------------------------------------------------------------------------------------------


async def test_an_embedded_orchestrator_logs_to_it(tmp_path: Path) -> None:
    """An Orchestrator finds an attached datastore as the datalog of its trials, without any address."""
    context = Context("test", SPECS, prometheus_registry=None)

    async def environment(session: Any) -> None:
        session.start([("*", StringValue(value="look"))])
        async for event in session.all_events():
            if event.actions and session.get_tick_id() < 4:
                session.produce_observations([("*", StringValue(value="look"))])
            elif event.actions:
                session.end([("*", StringValue(value="end"))])

    async def actor(session: Any) -> None:
        session.start()
        async for event in session.all_events():
            if event.observation and event.type == EventType.ACTIVE:
                session.do_action(StringValue(value="act"))

    context.register_environment(environment, "world")
    context.register_actor(actor, "plays")
    async with TrialDatastore(tmp_path / "trials.db") as datastore, Orchestrator() as orchestrator, context:
        orchestrator.attach(context)
        orchestrator.attach(datastore)
        parameters = common_pb2.TrialParams(
            datalog=common_pb2.DatalogParams(endpoint="cogment://discover"),
            environment=common_pb2.EnvironmentParams(implementation="world"),
            actors=[common_pb2.ActorParams(name="alice", actor_class="player", implementation="plays")],
        )
        async with open_channel(orchestrator.endpoint) as channel:
            lifecycle: Any = orchestrator_pb2_grpc.TrialLifecycleSPStub(channel)
            request = orchestrator_pb2.TrialStartRequest(params=parameters)
            trial_id = (await lifecycle.StartTrial(request, timeout=PATIENCE)).trial_id
        async with open_channel(datastore.endpoint) as channel:
            client = Client(channel)
            await client.list(timeout=15_000, trial_ids=[trial_id])
            samples = await asyncio.wait_for(client.samples(trial_id), PATIENCE)
    assert [each.tick_id for each in samples] == list(range(6))
    assert [each.state for each in samples][-2:] == [RUNNING, ENDED]
    assert StringValue.FromString(samples[2].payloads[samples[2].actor_samples[0].action]).value == "act"
