"""What the benchmarks run: trials whose environment and actors do nothing but answer."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from google.protobuf.wrappers_pb2 import BytesValue

import cogment

logging.getLogger("cogment.sdk").setLevel(logging.ERROR)  # thousands of trials are ended on purpose

ACTOR_CLASS = "echo"

SETTINGS: Any = SimpleNamespace(
    actor_classes=cogment.ActorClassList(
        cogment.ActorClass(name=ACTOR_CLASS, config_type=None, action_space=BytesValue, observation_space=BytesValue)
    ),
    trial=SimpleNamespace(config_type=None),
    environment=SimpleNamespace(config_type=BytesValue),
)
"""Specs whose payloads are plain bytes."""


@dataclass(frozen=True)
class Case:
    """One size of workload."""

    trials: int
    actors: int
    payload: int
    """Bytes of an observation; an action has as many."""

    def __str__(self) -> str:
        size = f"{self.payload // 1024} KiB" if self.payload >= 1024 else f"{self.payload} B"
        return f"{self.trials}x{self.actors}, {size}"


CASES = [
    Case(1, 1, 64),
    Case(1, 8, 64),
    Case(16, 1, 64),
    Case(1, 1, 65_536),
    Case(1, 8, 65_536),
    Case(16, 1, 65_536),
]


@dataclass
class Span:
    """When a trial's steps began and ended, seconds of ``time.monotonic``, the same clock in all processes."""

    begin: float
    end: float
    steps: int
    latencies: list[float]


class Workload:
    """The environment and actors of benchmark trials.

    The number of steps and the payload travel in the environment's config, as ``steps,payload``.

    Args:
        keep_latencies: Whether to keep the seconds that each step took.
    """

    def __init__(self, keep_latencies: bool = False) -> None:
        self.spans: list[Span] = []
        self._keep_latencies = keep_latencies

    async def environment(self, session: cogment.environment.EnvironmentSession) -> None:
        """Send the same observation to everybody, as often as the config says."""
        steps, payload = (int(part) for part in session.config.value.decode().split(","))
        observations = [("*", BytesValue(value=b"o" * payload))]
        session.start(observations)
        span = Span(time.monotonic(), 0.0, 0, [])
        before = span.begin
        async for event in session.all_events():
            if not event.actions:
                continue
            span.steps += 1
            if self._keep_latencies:
                now = time.monotonic()
                span.latencies.append(now - before)
                before = now
            if span.steps < steps:
                session.produce_observations(observations)
            elif span.steps == steps:
                span.end = time.monotonic()
                self.spans.append(span)
                session.end(observations)

    async def idle_environment(self, session: cogment.environment.EnvironmentSession) -> None:
        """Send one observation, and wait for the end."""
        session.start([("*", BytesValue(value=b"o"))])
        async for _ in session.all_events():
            pass

    async def actor(self, session: cogment.actor.ActorSession) -> None:
        """Answer each observation."""
        action = BytesValue(value=b"a" * 64)
        session.start()
        async for event in session.all_events():
            if event.observation is not None and event.type is cogment.EventType.ACTIVE:
                session.do_action(action)


def parameters(case: Case, steps: int, environment: str = "", actors: str = "") -> cogment.TrialParameters:
    """Parameters of one trial of ``case``; empty endpoints find what is attached to an embedded Orchestrator."""
    return cogment.TrialParameters(
        SETTINGS,
        environment_name="environment",
        environment_endpoint=environment,
        environment_implementation="echo",
        environment_config=BytesValue(value=f"{steps},{case.payload}".encode()),
        actors=[
            cogment.ActorParameters(
                SETTINGS, ACTOR_CLASS, name=f"actor_{index}", endpoint=actors, implementation="echo"
            )
            for index in range(case.actors)
        ],
    )


async def run_to_the_end(controller: cogment.control.Controller, params: cogment.TrialParameters, trials: int) -> None:
    """Start ``trials`` trials, and return when all have ended."""
    ids: set[str] = set()
    ended: set[str] = set()
    watching = controller.watch_trials([cogment.TrialState.ENDED])

    async def watch() -> None:
        async for info in watching:
            ended.add(info.trial_id)
            if len(ids) == trials and ids <= ended:
                return

    watcher = asyncio.get_running_loop().create_task(watch())
    for _ in range(trials):
        ids.add(await controller.start_trial(trial_params=params))
    await watcher
