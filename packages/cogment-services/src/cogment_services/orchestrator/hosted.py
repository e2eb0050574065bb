"""One trial of an Orchestrator, from the request that starts it until it is forgotten."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

import grpc

from cogment_core.api.common_pb2 import (
    ENDED,
    INITIALIZING,
    PENDING,
    UNKNOWN,
    ActorRunTrialOutput,
    TrialActor,
    TrialParams,
    TrialState,
)
from cogment_core.api.orchestrator_pb2 import TrialInfo
from cogment_services.orchestrator.channels import Route
from cogment_services.orchestrator.datalog import DatalogStream
from cogment_services.orchestrator.engine import Trial
from cogment_services.orchestrator.peers import ActorDuplex, ClientPeer
from cogment_services.orchestrator.sample_queue import SampleQueue
from cogment_services.orchestrator.shared import Shared
from cogment_services.orchestrator.world import Routes, TrialWorld
from cogment_services.refusals import Refusal

__all__ = ["HostedTrial"]

NOT_STARTED = "it was not started"
"""Why a trial ended that did not get as far as its participants."""


class HostedTrial:
    """A trial as requests see it.

    Args:
        trial_id: Its id.
        user_id: Who started it.
        shared: What it shares with other trials.
        on_state: Called with the trial and the state that it was in before, whenever that changes.
    """

    def __init__(
        self,
        trial_id: str,
        user_id: str,
        shared: Shared,
        on_state: Callable[[HostedTrial, TrialState.ValueType], None],
    ) -> None:
        self.trial_id = trial_id
        self.user_id = user_id
        self._shared = shared
        self._on_state = on_state
        self._state: TrialState.ValueType = UNKNOWN
        self._params: TrialParams | None = None
        self._created = time.time_ns()
        self._duration: int | None = None
        self._tick_id = 0
        self._engine: Trial | None = None
        self._world: TrialWorld | None = None
        self._preparing: asyncio.Task[None] | None = None
        self._end_requested = False
        self._observer = shared.observer(trial_id)
        self.enter(INITIALIZING)

    @property
    def state(self) -> TrialState.ValueType:
        """How far the trial is."""
        return self._state

    @property
    def duration(self) -> int:
        """How long the trial has lasted, ns."""
        return time.time_ns() - self._created if self._duration is None else self._duration

    def enter(self, state: TrialState.ValueType) -> None:
        """The trial is now in ``state``."""
        before, self._state = self._state, state
        reason = ""
        if state == ENDED:
            self._duration = self.duration
            reason = NOT_STARTED
            if self._engine is not None:
                self._tick_id = self._engine.tick_id
                reason = self._engine.end_reason
            self._engine = self._world = None
        self._observer.entered(state, reason)
        self._on_state(self, before)

    async def prepare(self, work: Coroutine[Any, Any, None]) -> None:
        """Do ``work``, which ends with `run`; a termination of the trial meanwhile cancels it.

        Raises:
            Refusal: The trial was terminated.
            Exception: What ``work`` raises.
        """
        self._preparing = asyncio.get_running_loop().create_task(work)
        try:
            await asyncio.wait({self._preparing})
        except asyncio.CancelledError:
            self._preparing.cancel()
            await asyncio.wait({self._preparing})
            raise
        if self._preparing.cancelled():
            raise Refusal(grpc.StatusCode.ABORTED, "the trial was terminated before it had started")
        self._preparing.result()

    def run(self, params: TrialParams, routes: Routes) -> None:
        """Run the trial, with parameters that are final."""
        self._params = params
        self._observer.began([actor.actor_class for actor in params.actors])
        world = TrialWorld(self.trial_id, routes, shared=self._shared, on_state=self.enter)
        engine = Trial(
            self.trial_id,
            params,
            world,
            user_id=self.user_id,
            client_slots=[route is None for route in routes.actors],
            logged=routes.datalog is not None,
            limits=self._shared.limits,
            created=self._created,
            observer=self._observer,
        )
        self._engine, self._world = engine, world
        datalog = None if routes.datalog is None else self._open_datalog(params, routes.datalog, world.datalog_lost)
        world.run(engine, datalog)
        if self._end_requested:
            world.terminate(hard=False)

    def _open_datalog(self, params: TrialParams, route: Route, on_lost: Callable[[str], None]) -> DatalogStream:
        shared = self._shared
        limits = shared.limits
        return DatalogStream(
            self.trial_id,
            params,
            route,
            self.user_id,
            queue=SampleQueue(limits.datalog_samples, limits.datalog_bytes, shared.sample_budget),
            policy=shared.datalog_policy,
            pumps=shared.pumps,
            listeners=shared.peers,
            on_dropped=shared.metrics.samples_dropped,
            on_reconnect=shared.metrics.datalog_reconnects,
            on_lost=on_lost,
        )

    def terminate(self, *, hard: bool, details: str | None = None) -> None:
        """End the trial: at once, or with the actions of its current tick."""
        if self._world is not None:
            self._world.terminate(hard=hard, details=details)
        elif self._state != ENDED:
            self._end_requested = True
            if hard and self._preparing is not None:
                self._preparing.cancel()

    def abandon(self) -> None:
        """End the trial, whatever it is doing."""
        self.terminate(hard=True)
        if self._state != ENDED:
            self.enter(ENDED)

    def join(self, duplex: ActorDuplex, name: str | None, actor_class: str | None) -> tuple[int, ClientPeer]:
        """Let a client actor join; see `TrialWorld.join`."""
        if self._world is None:
            state = TrialState.Name(self._state)
            text = f"trial [{self.trial_id}] is {state}; actors join while it is PENDING"
            raise Refusal(grpc.StatusCode.FAILED_PRECONDITION, text)
        return self._world.join(duplex, name, actor_class)

    def joined(self, index: int) -> None:
        """The client that was let in is ready for what the trial has to say."""
        if self._world is not None:
            self._world.joined(index)

    def actor_said(self, index: int, message: ActorRunTrialOutput) -> None:
        """A client actor that has joined sent ``message``."""
        if self._world is not None:
            self._world.actor_said(index, message)

    def info(self, *, actors: bool = False, observation: bool = False) -> TrialInfo:
        """The trial as it is now.

        Args:
            actors: Whether to list its actors.
            observation: Whether to tell the latest observations.
        """
        info = TrialInfo(trial_id=self.trial_id, state=self._state, trial_duration=self.duration)
        info.tick_id = self._tick_id if self._engine is None else self._engine.tick_id
        if self._params is not None:
            info.env_name = self._params.environment.name
            info.properties.update(self._params.properties)
            if actors and self._state >= PENDING:
                roles = [TrialActor(name=actor.name, actor_class=actor.actor_class) for actor in self._params.actors]
                info.actors_in_trial.extend(roles)
        latest = self._engine.latest_observations if observation and self._engine is not None else None
        if latest is not None:
            info.latest_observation.CopyFrom(latest)
        return info
