"""Those who watch trials."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from cogment_core.api.common_pb2 import ENDED, INITIALIZING, PENDING, RUNNING
from cogment_core.api.orchestrator_pb2 import TrialInfo, TrialListEntry
from cogment_core.errors import BacklogError
from cogment_services.orchestrator import watchers as module
from cogment_services.orchestrator.watchers import Watcher, Watchers


@dataclass
class FakeTrial:
    trial_id: str
    state: int = INITIALIZING

    def info(self) -> TrialInfo:
        return TrialInfo(trial_id=self.trial_id, state=self.state)


def told(entries: list[TrialListEntry]) -> list[tuple[str, int]]:
    return [(entry.trial_id, entry.state) for entry in entries]


async def all_of(watcher: Watcher) -> list[TrialListEntry]:
    watcher.close()
    return [entry async for entry in watcher]


async def test_a_watcher_is_told_what_is_there_and_then_every_change() -> None:
    """First one entry for each trial, then one for each change, in order."""
    watchers, watcher = Watchers(), Watcher((), False)
    one, two = FakeTrial("one", RUNNING), FakeTrial("two", ENDED)
    watchers.add(watcher, [one, two])
    one.state = ENDED
    watchers.tell(one)
    assert told(await all_of(watcher)) == [("one", RUNNING), ("two", ENDED), ("one", ENDED)]


async def test_a_filter_keeps_the_states_that_are_wanted() -> None:
    """Only entries with a state of the filter are told, then and later."""
    watchers, watcher = Watchers(), Watcher([ENDED], False)
    trial = FakeTrial("one", PENDING)
    watchers.add(watcher, [trial, FakeTrial("old", ENDED)])
    for state in (RUNNING, ENDED):
        trial.state = state
        watchers.tell(trial)
    assert told(await all_of(watcher)) == [("old", ENDED), ("one", ENDED)]


async def test_full_info_replaces_id_and_state() -> None:
    """An entry has either id and state, or the information."""
    watchers, plain, full = Watchers(), Watcher((), False), Watcher((), True)
    for watcher in (plain, full):
        watchers.add(watcher, [])
    watchers.tell(FakeTrial("one", RUNNING))
    assert [entry.HasField("info") for entry in await all_of(plain)] == [False]
    (entry,) = await all_of(full)
    assert (entry.trial_id, entry.state) == ("", 0)
    assert (entry.info.trial_id, entry.info.state) == ("one", RUNNING)


async def test_a_watcher_waits_for_news() -> None:
    """The iteration goes on while trials change, until it is closed."""
    watchers, watcher = Watchers(), Watcher((), False)
    watchers.add(watcher, [])
    seen: list[TrialListEntry] = []

    async def watch() -> None:
        async for entry in watcher:
            seen.append(entry)
            if len(seen) == 2:
                watchers.close()

    task = asyncio.create_task(watch())
    for trial_id in ("one", "two"):
        await asyncio.sleep(0)
        watchers.tell(FakeTrial(trial_id))
    await asyncio.wait_for(task, 5)
    assert [entry.trial_id for entry in seen] == ["one", "two"]


async def test_one_that_left_is_told_nothing() -> None:
    """After `remove` nothing is kept for a watcher."""
    watchers, watcher = Watchers(), Watcher((), False)
    watchers.add(watcher, [])
    watchers.remove(watcher)
    watchers.tell(FakeTrial("one"))
    assert len(watchers) == 0
    assert await all_of(watcher) == []


async def test_one_that_falls_behind_gets_only_the_newest_states(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the queue is full, intermediate states are left out: the last state of each trial is always told."""
    monkeypatch.setattr(module, "QUEUE_LIMIT", 10)
    watchers, watcher = Watchers(), Watcher((), False)
    watchers.add(watcher, [])
    trials = [FakeTrial("one"), FakeTrial("two")]
    for state in (INITIALIZING, PENDING, RUNNING) * 5 + (ENDED,):
        for trial in trials:
            trial.state = state
            watchers.tell(trial)
    entries = told(await all_of(watcher))
    assert len(entries) <= 10
    assert dict(entries) == {"one": ENDED, "two": ENDED}


async def test_one_that_never_reads_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for a watcher has a limit, whatever it does; it is told that it was too slow."""
    monkeypatch.setattr(module, "QUEUE_LIMIT", 10)
    watchers, watcher = Watchers(), Watcher((), False)
    watchers.add(watcher, [])
    for number in range(100):
        watchers.tell(FakeTrial(str(number)))
    entries = []
    with pytest.raises(BacklogError, match="does not take"):
        async for entry in watcher:
            entries.append(entry)
    assert len(entries) == 11


async def test_so_many_may_watch_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """E6: one more is refused with an error that says the limit; it can come in once another has left."""
    monkeypatch.setattr(module, "WATCHER_LIMIT", 2)
    watchers, those = Watchers(), [Watcher((), False) for _ in range(3)]
    for watcher in those[:2]:
        watchers.add(watcher, [])
    with pytest.raises(BacklogError, match="2 watch trials here already"):
        watchers.add(those[2], [])
    watchers.remove(those[0])
    watchers.add(those[2], [])
    assert len(watchers) == 2
