"""The world of one trial: does what its engine asks for, and tells the engine what happens."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from cogment_core.api.agent_pb2_grpc import ServiceActorSPStub
from cogment_core.api.common_pb2 import ENDED, ActorRunTrialInput, ActorRunTrialOutput, TrialState
from cogment_core.api.datalog_pb2 import DatalogSample
from cogment_core.api.environment_pb2 import EnvRunTrialInput, EnvRunTrialOutput
from cogment_core.api.environment_pb2_grpc import EnvironmentSPStub
from cogment_core.logs import logger
from cogment_services.orchestrator.channels import Route
from cogment_services.orchestrator.datalog import DatalogStream
from cogment_services.orchestrator.effects import Timer
from cogment_services.orchestrator.engine import Trial
from cogment_services.orchestrator.peers import ActorDuplex, ClientPeer, Peer, ServicePeer
from cogment_services.orchestrator.shared import Shared

__all__ = ["Routes", "TrialWorld"]


@dataclass(frozen=True)
class Routes:
    """How the components of a trial are reached."""

    environment: Route
    """The environment."""
    actors: Sequence[Route | None]
    """The actors, in the order of the trial parameters; None for those that join as clients."""
    datalog: Route | None = None
    """The datalog, None for a trial that is not logged."""


class TrialWorld:
    """The `Effects` of one trial.

    Args:
        trial_id: The trial.
        routes: How its components are reached.
        shared: What it shares with other trials.
        on_state: Called with each state that the trial enters.
    """

    def __init__(
        self,
        trial_id: str,
        routes: Routes,
        *,
        shared: Shared,
        on_state: Callable[[TrialState.ValueType], None],
    ) -> None:
        self._trial_id = trial_id
        self._routes = routes
        self._shared = shared
        self._on_state = on_state
        self._loop = asyncio.get_running_loop()
        self._engine: Trial | None = None
        self._environment: Peer[EnvRunTrialInput] | None = None
        self._actors: list[Peer[ActorRunTrialInput] | None] = [None] * len(routes.actors)
        self._timers: dict[Timer, asyncio.TimerHandle] = {}
        self._datalog: DatalogStream | None = None
        self.now = self._loop.time
        self.timestamp = time.time_ns

    def run(self, engine: Trial, datalog: DatalogStream | None) -> None:
        """Start ``engine``, which was made with this world, and serve it until it has ended."""
        self._engine = engine
        self._datalog = datalog
        self._tell(engine.start)

    # What happens

    def join(self, duplex: ActorDuplex, name: str | None, actor_class: str | None) -> tuple[int, ClientPeer]:
        """Let a client actor join.

        Args:
            duplex: Its stream.
            name: Who it wants to be, None if any of a class.
            actor_class: The class of actor that it wants to be.

        Returns:
            Index of the actor, and its peer; `joined` has to follow.

        Raises:
            SlotError: It cannot be that.
        """
        assert self._engine is not None, "a client joins a trial that runs"
        index = self._engine.join(name, actor_class)
        self._actors[index] = peer = ClientPeer(duplex, partial(self._actor_gone, index))
        return index, peer

    def joined(self, index: int) -> None:
        """The client that was let in is ready for what the trial has to say."""
        if self._engine is not None:
            self._tell(self._engine.joined, index)

    def actor_said(self, index: int, message: ActorRunTrialOutput) -> None:
        """An actor sent ``message``."""
        engine = self._engine
        if engine is not None:
            try:
                engine.actor_said(index, message)
            except Exception:
                self._log_failure()

    def terminate(self, *, hard: bool, details: str | None = None) -> None:
        """End the trial, see `Trial.terminate`."""
        if self._engine is not None:
            self._tell(self._engine.terminate, hard, *(() if details is None else (details,)))

    def datalog_lost(self, reason: str) -> None:
        """The datalog takes no more samples, and the trial is not to go on without; see `Trial.datalog_lost`."""
        if self._engine is not None:
            self._tell(self._engine.datalog_lost, reason)

    def _environment_said(self, message: EnvRunTrialOutput) -> None:
        engine = self._engine
        if engine is not None:
            try:
                engine.environment_said(message)
            except Exception:
                self._log_failure()

    def _environment_gone(self, reason: str) -> None:
        self._environment = None
        if self._engine is not None:
            logger.warning("trial [%s]: the environment is gone: %s", self._trial_id, reason)
            self._tell(self._engine.environment_gone, reason)

    def _actor_gone(self, index: int, reason: str) -> None:
        self._actors[index] = None
        if self._engine is not None:
            name = self._engine.params.actors[index].name
            logger.warning("trial [%s]: actor [%s] is gone: %s", self._trial_id, name, reason)
            self._tell(self._engine.actor_gone, index, reason)

    def _fire(self, timer: Timer) -> None:
        del self._timers[timer]
        if self._engine is not None:
            self._tell(self._engine.timer_fired, timer)

    def _tell(self, engine_input: Callable[..., None], *args: Any) -> None:
        """Call an input of the engine. If it fails it has ended the trial; the caller is not to blame, nor to know."""
        try:
            engine_input(*args)
        except Exception:
            self._log_failure()

    def _log_failure(self) -> None:
        logger.exception("trial [%s] was ended by an error of the Orchestrator", self._trial_id)

    # What the engine asks for (see `Effects`)

    def connect_actor(self, index: int) -> None:
        """See `Effects.connect_actor`."""
        route = self._routes.actors[index]
        assert route is not None, "a client actor is not connected to"
        self._actors[index] = ServicePeer(
            f"actor {index} of trial [{self._trial_id}]",
            route,
            "cogmentAPI.ServiceActorSP",
            ServiceActorSPStub,
            self._trial_id,
            on_message=partial(self.actor_said, index),
            on_gone=partial(self._actor_gone, index),
            tasks=self._shared.peers,
            farewells=self._shared.farewells,
        )

    def connect_environment(self) -> None:
        """See `Effects.connect_environment`."""
        self._environment = ServicePeer(
            f"environment of trial [{self._trial_id}]",
            self._routes.environment,
            "cogmentAPI.EnvironmentSP",
            EnvironmentSPStub,
            self._trial_id,
            on_message=self._environment_said,
            on_gone=self._environment_gone,
            tasks=self._shared.peers,
            farewells=self._shared.farewells,
        )

    def send_actor(self, index: int, message: ActorRunTrialInput) -> None:
        """See `Effects.send_actor`."""
        peer = self._actors[index]
        if peer is not None:
            peer.send(message)

    def send_environment(self, message: EnvRunTrialInput) -> None:
        """See `Effects.send_environment`."""
        if self._environment is not None:
            self._environment.send(message)

    def release_actor(self, index: int) -> None:
        """See `Effects.release_actor`."""
        peer, self._actors[index] = self._actors[index], None
        if peer is not None:
            peer.release()

    def release_environment(self) -> None:
        """See `Effects.release_environment`."""
        peer, self._environment = self._environment, None
        if peer is not None:
            peer.release()

    def start_timer(self, timer: Timer, seconds: float) -> None:
        """See `Effects.start_timer`."""
        self.stop_timer(timer)
        self._timers[timer] = self._loop.call_later(seconds, self._fire, timer)

    def stop_timer(self, timer: Timer) -> None:
        """See `Effects.stop_timer`."""
        handle = self._timers.pop(timer, None)
        if handle is not None:
            handle.cancel()

    def state_changed(self, state: TrialState.ValueType) -> None:
        """See `Effects.state_changed`."""
        self._on_state(state)
        if state == ENDED:
            self._loop.call_soon(self._end)  # the engine hands over the last samples after it has said so

    def log_sample(self, sample: DatalogSample) -> None:
        """See `Effects.log_sample`."""
        if self._datalog is not None:
            self._datalog.log(sample)

    def _end(self) -> None:
        """Let go of everything; the engine should have left nothing but the datalog."""
        self._engine = None
        if self._datalog is not None:
            self._datalog.finish()
        for index in range(len(self._actors)):
            self.release_actor(index)
        self.release_environment()
        for timer in list(self._timers):
            self.stop_timer(timer)
