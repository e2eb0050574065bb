"""C1: a datastore that is killed at any instant has lost nothing that it answered for."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from storekit import PATIENCE, Client, late, params, reward, sample

KILLS = 200 if os.environ.get("COGMENT_LONG_TESTS") else 20
WRITERS = 8
RESUMED = 40
"""How many samples a writer may have unanswered."""


class Writer:
    """Logs one trial, for as long as there is a datastore, and knows what it was told."""

    def __init__(self, trial_id: str) -> None:
        self.trial_id = trial_id
        self.began = False
        """Whether the parameters were answered."""
        self.sent = 0
        """Ticks that were sent, ever."""
        self.answered = 0
        """Ticks that were answered."""
        self.late: set[int] = set()
        """Ticks with a late reward that was answered."""

    async def write(self, client: Client) -> None:
        """Log until the datastore is gone: first again what was not answered."""
        log = await client.log(self.trial_id, params("alice", "bob"))
        self.began = True
        unanswered: list[tuple[str, int]] = []

        async def send() -> None:
            tick = self.answered
            while True:
                unanswered.append(("sample", tick))
                self.sent = max(self.sent, tick + 1)
                await log.send(sample(tick, size=300))
                if tick % 10 == 5:
                    unanswered.append(("late", tick - 3))
                    await log.send(late(tick - 3, reward("alice", 1.0)))
                tick += 1
                # Not only the cancellation ends it: wait_for() may swallow one.
                while len(unanswered) > RESUMED and not log.call.done():
                    await asyncio.sleep(0.001)

        sending = asyncio.ensure_future(send())
        try:
            while await log.call.read() is not grpc.aio.EOF:
                kind, tick = unanswered.pop(0)
                if kind == "late":
                    self.late.add(tick)
                else:
                    self.answered = tick + 1
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


async def _check(client: Client, writer: Writer) -> None:
    if not writer.began:
        return  # killed before the first answer: it may be there or not
    info = await client.info(writer.trial_id)
    assert writer.answered <= info.samples_count <= writer.sent
    call = client.follow(writer.trial_id)
    for tick in range(info.samples_count):
        stored = (await call.read()).trial_sample
        assert stored.tick_id == tick
        wanted = sample(tick, size=300)
        assert list(stored.payloads) == [
            wanted.observations.observations[0],
            *(action.content for action in wanted.actions),
        ]
        rewards = len(stored.actor_samples[0].received_rewards)
        assert rewards <= 1
        if tick in writer.late:
            assert rewards == 1, tick
    call.cancel()


@pytest.mark.slow
@pytest.mark.timeout(120 + 20 * KILLS)
async def test_what_was_answered_survives_kill_9(command: Callable[..., Any], tmp_path: Path) -> None:
    """Killed again and again while eight trials are logged, it keeps all that it answered, once, and nothing else."""
    path = tmp_path / "trials.db"
    choose = random.Random(KILLS)
    writers = [Writer(f"trial {number}") for number in range(WRITERS)]
    for kill in range(KILLS + 1):
        began = time.monotonic()
        running = await (await command(f"--file_storage={path}")).ready()
        assert time.monotonic() - began < PATIENCE
        async with running.channel() as channel:
            client = Client(channel)
            for writer in writers:
                await _check(client, writer)
            if kill == KILLS:
                await running.kill()
                break
            writing = [asyncio.ensure_future(writer.write(client)) for writer in writers]
            await asyncio.sleep(choose.uniform(0.02, 0.4))
            running.process.kill()
            await running.kill()
            for result in await asyncio.wait_for(asyncio.gather(*writing, return_exceptions=True), 3 * PATIENCE):
                assert isinstance(result, (grpc.aio.AioRpcError, AssertionError, asyncio.InvalidStateError)), result
    assert all(writer.answered for writer in writers)
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
