"""Clients of a Trial Datastore, whose every message the test decides on."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from cogment_core.api import common_pb2, datalog_pb2_grpc, environment_pb2, trial_datastore_pb2_grpc
from cogment_core.api.common_pb2 import ENDED, RUNNING
from cogment_core.api.datalog_pb2 import DatalogSample, RunTrialDatalogInput, SampleInfo
from cogment_core.api.trial_datastore_pb2 import (
    AddSampleRequest,
    AddTrialRequest,
    DeleteTrialsRequest,
    RetrieveSamplesRequest,
    RetrieveTrialsReply,
    RetrieveTrialsRequest,
    StoredTrialInfo,
    StoredTrialSample,
)

PATIENCE = 20.0
"""Seconds that a test waits for what has to come."""

READY = re.compile(r"server listening \[port:(\d+)\]\n")


def params(*names: str, **changes: Any) -> common_pb2.TrialParams:
    """Parameters of a trial with these actors, of class ``player``, or as in ``name:class``."""
    actors = [name.partition(":") for name in names or ("alice", "bob")]
    return common_pb2.TrialParams(
        actors=[
            common_pb2.ActorParams(name=name, actor_class=actor_class or "player", implementation=f"runs_{name}")
            for name, _, actor_class in actors
        ],
        **changes,
    )


def sample(tick: int, *, last: bool = False, size: int = 20, **changes: Any) -> DatalogSample:
    """A sample of a trial with two actors, as the Orchestrator sends it."""
    filling = (b"%d " % tick) * (size // len(b"%d " % tick) + 1)
    return DatalogSample(
        info=SampleInfo(tick_id=tick, timestamp=1_000 + tick, state=ENDED if last else RUNNING),
        observations=environment_pb2.ObservationSet(tick_id=tick, observations=[filling], actors_map=[0, 0]),
        actions=[common_pb2.Action(tick_id=tick, content=b"left"), common_pb2.Action(tick_id=tick, content=b"right")],
        **changes,
    )


def reward(receiver: str, value: float, sender: str = "", confidence: float = 1.0) -> common_pb2.Reward:
    source = common_pb2.RewardSource(sender_name=sender, value=value, confidence=confidence)
    return common_pb2.Reward(receiver_name=receiver, sources=[source])


def late(tick: int, *rewards: common_pb2.Reward, timestamp: int = 5_000) -> DatalogSample:
    """Rewards for a tick whose sample was sent before."""
    info = SampleInfo(tick_id=tick, timestamp=timestamp, out_of_sync=True, special_events=["Out of sync reward"])
    return DatalogSample(info=info, rewards=rewards)


class Log:
    """One datalog stream."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def send(self, *messages: DatalogSample | common_pb2.TrialParams | RunTrialDatalogInput | bytes) -> None:
        for message in messages:
            if isinstance(message, DatalogSample):
                message = RunTrialDatalogInput(sample=message)
            elif isinstance(message, common_pb2.TrialParams):
                message = RunTrialDatalogInput(trial_params=message)
            await asyncio.wait_for(self.call.write(message), PATIENCE)

    async def answers(self, count: int) -> None:
        """Take that many answers."""
        for _ in range(count):
            assert await self._read() is not grpc.aio.EOF

    async def store(self, *samples: DatalogSample) -> None:
        """Send samples, and wait until they are stored."""
        await self.send(*samples)
        await self.answers(len(samples))

    async def complete(self) -> None:
        """Complete the stream, and wait for its end, with no more answers."""
        await self.call.done_writing()
        assert await self._read() is grpc.aio.EOF

    async def status(self) -> tuple[grpc.StatusCode, str]:
        """How the call ended."""
        code = await asyncio.wait_for(self.call.code(), PATIENCE)
        return code, await self.call.details()

    async def _read(self) -> Any:
        # Cancelling a read cancels the call: this is the end of the test anyway.
        return await asyncio.wait_for(self.call.read(), PATIENCE)


class Client:
    """Everything that a datastore can be asked for."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.datalog: Any = datalog_pb2_grpc.DatalogSPStub(channel)
        self.stub: Any = trial_datastore_pb2_grpc.TrialDatastoreSPStub(channel)

    async def log(self, trial_id: str, parameters: common_pb2.TrialParams | None = None) -> Log:
        """Begin to log a trial."""
        log = Log(self.datalog.RunTrialDatalog(metadata=(("trial-id", trial_id), ("user-id", "carol"))))
        await log.send(parameters or params())
        await log.answers(1)
        return log

    async def log_all(self, trial_id: str, count: int, parameters: common_pb2.TrialParams | None = None) -> None:
        """Log a whole trial with that many samples."""
        log = await self.log(trial_id, parameters)
        await log.store(*(sample(tick, last=tick == count - 1) for tick in range(count)))
        await log.complete()

    async def list(self, **request: Any) -> RetrieveTrialsReply:
        return await self.stub.RetrieveTrials(RetrieveTrialsRequest(**request), timeout=PATIENCE)

    async def info(self, trial_id: str) -> StoredTrialInfo:
        (info,) = (await self.list(trial_ids=[trial_id])).trial_infos
        return info

    def follow(self, *trial_ids: str, **request: Any) -> Any:
        return self.stub.RetrieveSamples(RetrieveSamplesRequest(trial_ids=trial_ids, **request), timeout=PATIENCE)

    async def samples(self, *trial_ids: str, **request: Any) -> list[StoredTrialSample]:
        """All samples of trials, to their end."""
        return [reply.trial_sample async for reply in self.follow(*trial_ids, **request)]

    async def add_trial(self, trial_id: str, parameters: common_pb2.TrialParams | None = None) -> None:
        request = AddTrialRequest(user_id="carol", trial_params=parameters or params())
        await self.stub.AddTrial(request, metadata=(("trial-id", trial_id),), timeout=PATIENCE)

    async def add_samples(self, trial_id: str, samples: Iterable[StoredTrialSample]) -> None:
        requests = [AddSampleRequest(trial_sample=each) for each in samples]
        await self.stub.AddSample(iter(requests), metadata=(("trial-id", trial_id),), timeout=PATIENCE)

    async def delete(self, *trial_ids: str) -> None:
        await self.stub.DeleteTrials(DeleteTrialsRequest(trial_ids=trial_ids), timeout=PATIENCE)

    async def until_over(self, trial_id: str) -> StoredTrialInfo:
        """Wait until a trial is over."""
        while (info := await self.info(trial_id)).last_state != ENDED:
            await asyncio.sleep(0.02)
        return info


class Command:
    """``cogment services trial_datastore``, as a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.port = 0

    @classmethod
    async def start(cls, *args: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> Command:
        """Start it; `ready` waits until it listens."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("COGMENT_")}
        return cls(
            await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "cogment_services", "services", "trial_datastore", *args),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                cwd=cwd,
                env={**inherited, **(env or {})},
            )
        )

    async def ready(self) -> Command:
        assert self.process.stdout is not None
        line = (await asyncio.wait_for(self.process.stdout.readline(), PATIENCE)).decode()
        match = READY.fullmatch(line)
        assert match, (line, await self.log())
        self.port = int(match[1])
        return self

    async def log(self) -> str:
        assert self.process.stderr is not None
        return (await asyncio.wait_for(self.process.stderr.read(), PATIENCE)).decode()

    def channel(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(f"127.0.0.1:{self.port}")

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await asyncio.wait_for(self.process.communicate(), PATIENCE)


class Disk:
    """Connects to SQLite files, and fails when it is told to: in the calls that come after so many others."""

    def __init__(self) -> None:
        self.fails = False
        """Whether everything fails."""
        self.calls_left: int | None = None
        """How many calls still succeed before everything fails; None for all."""
        self.calls = 0
        self.is_done = False
        """Whether a call that fails has done what it was for."""
        self.text = "disk I/O error"
        self.failed: list[FaultyConnection] = []
        """Connections in which a call failed."""
        self.misused = 0
        """How many calls came to a connection after one of its calls had failed."""

    def connect(self, path: str) -> sqlite3.Connection:
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, factory=FaultyConnection, timeout=1
        )
        connection.disk = self
        return connection

    def repair(self) -> None:
        self.fails, self.calls_left = False, None

    def touch(self, connection: FaultyConnection) -> None:
        self.calls += 1
        if connection in self.failed:
            self.misused += 1
        if self.calls_left is not None:
            self.calls_left -= 1
            self.fails = self.fails or self.calls_left < 0
        if self.fails:
            self.failed.append(connection)
            raise sqlite3.OperationalError(self.text)


class FaultyConnection(sqlite3.Connection):
    """A connection to a `Disk`; only writing fails."""

    disk: Disk

    def execute(self, sql: str, *args: Any) -> Any:
        if sql.lstrip().startswith(("SELECT", "PRAGMA query_only", "PRAGMA freelist")):
            return super().execute(sql, *args)
        if not self.disk.is_done:
            self.disk.touch(self)
            return super().execute(sql, *args)
        result = super().execute(sql, *args)
        try:
            self.disk.touch(self)
        except sqlite3.Error:
            result.close()
            raise
        return result
