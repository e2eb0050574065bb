"""A Trial Datastore in a process of its own, and what it has stored."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc.aio

from cogment_core.api.trial_datastore_pb2 import (
    RetrieveSamplesRequest,
    RetrieveTrialsRequest,
    StoredTrialInfo,
    StoredTrialSample,
)
from cogment_core.api.trial_datastore_pb2_grpc import TrialDatastoreSPStub

if TYPE_CHECKING:
    from harness.stage import Process, Stage

PATIENCE = 20.0
"""Seconds that a reader may take."""


async def start_store(stage: Stage, file: Path, *, port: int = 0, resume_within: float = 60.0) -> Process:
    """Start the ``cogment services trial_datastore`` command, and wait until it listens."""
    command = (sys.executable, "-m", "cogment_services", "services", "trial_datastore")
    options = (f"--port={port}", f"--file_storage={file}", f"--resume_within={resume_within}")
    return await stage.server("datastore", *command, *options)


class Reader:
    """Reads from a Trial Datastore."""

    def __init__(self, store: Process) -> None:
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{store.port}")
        self._stub: Any = TrialDatastoreSPStub(self._channel)

    async def trials(self, *ids: str) -> list[StoredTrialInfo]:
        """What there is to know of these trials, or of all."""
        reply = await self._stub.RetrieveTrials(RetrieveTrialsRequest(trial_ids=ids), timeout=PATIENCE)
        return list(reply.trial_infos)

    async def samples(self, *ids: str) -> list[StoredTrialSample]:
        """The samples of these trials, as they come, up to the end of all of them."""
        call = self._stub.RetrieveSamples(RetrieveSamplesRequest(trial_ids=ids), timeout=PATIENCE)
        return [reply.trial_sample async for reply in call]

    async def ticks(self, trial: str) -> list[int]:
        """The ticks of the samples of one trial."""
        return [sample.tick_id for sample in await self.samples(trial)]

    async def follow(self, trials: Iterable[str]) -> dict[str, list[int]]:
        """Read several trials at the same time. Returns their ticks."""
        ids = list(trials)
        return dict(zip(ids, await asyncio.gather(*map(self.ticks, ids)), strict=True))

    async def __aenter__(self) -> Reader:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()
