"""What the participants of a trial have to have seen."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from cogment import TrialState
from harness.clock import bounded
from harness.specs import EnvironmentPlan, Role, parameters
from harness.stage import PATIENCE, Event, Process, Stage

BYSTANDER_GAP = 1.0
"""Seconds that a trial may stand still when something happens to another one."""


def check_end(left: Event, reason: str = "") -> None:
    """A participant that lived to see the end saw exactly one, after ticks without a gap."""
    assert (left.over, left.finals, left.in_order) == (True, 1, True), left
    assert reason in left.reason, left


def check_loss(left: Event) -> None:
    """A participant that lost its trial was told so, and of no end."""
    assert (left.over, left.finals, left.in_order) == (False, 0, True), left
    assert left.reason, left


async def all_left(process: Process, names: Iterable[str], **data: Any) -> list[Event]:
    """Wait until these participants, all of ``process``, have left."""
    return [await process.expect("left", who=name, **data) for name in names]


async def state_of(controller: Any, trial: str) -> TrialState | None:
    """The state of a trial, None if there is none."""
    infos = await controller.get_trial_info([trial])
    return infos[0].state if infos else None


async def wait_until_ended(controller: Any, trial: str) -> None:
    """Wait until a trial is ENDED."""

    async def watch() -> None:
        async for info in controller.watch_trials([TrialState.ENDED]):
            if info.trial_id == trial:
                return

    await asyncio.wait_for(watch(), PATIENCE)


class Bystander:
    """A trial in a process of its own, which must not notice what happens to others of the same Orchestrator."""

    def __init__(self, process: Process, controller: Any, trial: str) -> None:
        self._process = process
        self._controller = controller
        self._trial = trial

    @classmethod
    async def start(cls, stage: Stage, controller: Any) -> Bystander:
        """Start it, and wait until it runs."""
        process = await stage.component("bystander", "environment", "actor")
        roles = [Role("bystander", process.endpoint)]
        trial = await controller.start_trial(
            trial_params=parameters(process.endpoint, roles, EnvironmentPlan(period=0.02))
        )
        await process.expect("tick", tick=10)
        return cls(process, controller, trial)

    async def check(self) -> None:
        """End it: it has to have gone on all the time."""
        before = len(self._process.find("tick"))
        await self._process.expect("tick", count=before + 2)
        await self._controller.terminate_trial([self._trial])
        left = await self._process.expect("left", who="bystander")
        check_end(left)
        assert left.gap < bounded(BYSTANDER_GAP), left
