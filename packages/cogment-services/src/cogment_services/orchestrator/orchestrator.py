"""The Orchestrator: runs trials, in any process and event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cogment_core.api.common_pb2 import TrialParams
from cogment_core.api.orchestrator_pb2_grpc import (
    add_ClientActorSPServicer_to_server,
    add_TrialLifecycleSPServicer_to_server,
)
from cogment_core.directory import Directory
from cogment_core.directory_settings import directory_address
from cogment_core.endpoints import Endpoint
from cogment_core.errors import UsageError
from cogment_core.inprocess import InProcessEndpoint, InProcessServer
from cogment_core.join_tokens import JoinTokens
from cogment_core.parameters import TrialParameters
from cogment_services.lifetime import Lifetime
from cogment_services.listener import Service
from cogment_services.orchestrator.attached import AttachedComponents
from cogment_services.orchestrator.channels import PeerChannels
from cogment_services.orchestrator.client_actor import ClientActorService
from cogment_services.orchestrator.hooks import Hooks
from cogment_services.orchestrator.limits import DatalogPolicy, Limits
from cogment_services.orchestrator.listeners import Listeners
from cogment_services.orchestrator.metrics import OrchestratorMetrics
from cogment_services.orchestrator.params_file import load_params_file
from cogment_services.orchestrator.policy import EndpointPolicy, Gate, allow_public_addresses
from cogment_services.orchestrator.resolve import Resolver
from cogment_services.orchestrator.service import LifecycleService
from cogment_services.orchestrator.shared import Shared
from cogment_services.orchestrator.traces import TrialTraces
from cogment_services.orchestrator.trials import Trials
from cogment_services.tls import Tls

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider
    from prometheus_client import CollectorRegistry

    from cogment_core.implementations import Component

__all__ = ["Attachable", "Orchestrator"]

LIFECYCLE = "cogmentAPI.TrialLifecycleSP"
CLIENT_ACTOR = "cogmentAPI.ClientActorSP"

LAST_WORDS = 0.5
"""Seconds that peers and datalogs have to take what they are sent last, when the grace is over."""


class Attachable(Protocol):
    """Something whose components trials can use without a connection: a `Context`."""

    @property
    def components(self) -> tuple[Component, ...]:
        """What it has."""
        ...

    def serve_in_process(self) -> InProcessServer:
        """Serve all of that in this process."""
        ...


class Orchestrator(Lifetime):
    """Runs trials: brings environments and actors together, step by step.

    In the user's own process:

        async with Orchestrator() as orchestrator:
            orchestrator.attach(context)
            controller = context.get_controller(orchestrator.endpoint)

    Then trials whose parameters have no endpoints run with what is attached, and nothing leaves the process. With a
    ``port`` the Orchestrator can be reached by others too, as the ``cogment services orchestrator`` command can.

    Args:
        params: What trials are made of that are started without parameters; or a file of them.
        hooks: Endpoints of the pre-trial hooks, in the order in which they complete these parameters.
        port: Port to be reached at over gRPC; 0 lets the system choose one; None for no gRPC.
        actor_port: Another port for client actors; None for the same.
        host: Address to listen on: this machine only, by default.
        tls: For mutual TLS, in both directions.
        gc_frequency: How many trials are started before those that have ended are forgotten.
        max_trials: How many trials may run at the same time.
        endpoint_policy: Which addresses trials may use, those that the Directory knows included. Whatever it says,
            addresses of this Orchestrator itself are refused, and names that lead to a link-local address.
        directory: The Directory, where components are looked for that are not attached: an address, as an endpoint or
            as text, which is connected to as all else is.
        directory_token: What the Directory lets us in with.
        limits: Bounds of each trial.
        datalog_policy: What happens to a trial when there is no room for more samples that its datalog does not take:
            ``"stop"`` ends it, ``"drop"`` lets it go on and drops samples. See `DatalogPolicy`; the room is part of
            the ``limits``.
        join_key: Secret of at least 16 bytes: client actors have to show a token that was made with it, see
            `cogment_core.join_tokens`. None lets in whoever comes.
        prometheus_registry: Where metrics are kept; None for no metrics.
        tracer_provider: Where OpenTelemetry spans of trials go; None for no traces. It is its
            owner's to shut down.
        grace: Seconds that trials have to end, and datalogs to take their samples, when the ``async with`` block does.

    Raises:
        EndpointError: The endpoint of the Directory, or of a hook, cannot be used.
        UsageError: The file of parameters cannot be read, or is wrong; there is no such policy; or the key is too
            short.
    """

    def __init__(
        self,
        params: TrialParameters | TrialParams | str | Path | None = None,
        hooks: Iterable[str] = (),
        *,
        port: int | None = None,
        actor_port: int | None = None,
        host: str = "127.0.0.1",
        tls: Tls | None = None,
        gc_frequency: int = 10,
        max_trials: int = 10_000,
        endpoint_policy: EndpointPolicy = allow_public_addresses,
        directory: Endpoint | str | None = None,
        directory_token: str | None = None,
        limits: Limits | None = None,
        datalog_policy: DatalogPolicy | str = DatalogPolicy.STOP,
        join_key: bytes | str | None = None,
        prometheus_registry: CollectorRegistry | None = None,
        tracer_provider: TracerProvider | None = None,
        grace: float = 5.0,
    ) -> None:
        super().__init__(grace)
        metrics = OrchestratorMetrics(prometheus_registry)
        traces = None if tracer_provider is None else TrialTraces(tracer_provider)
        self._shared = Shared(limits or Limits(), metrics, _as_policy(datalog_policy), traces)
        self._channels = PeerChannels()
        self._attached = AttachedComponents()
        outgoing = tls.outgoing() if tls is not None else Endpoint()
        self._directory = _as_directory(directory, directory_token, outgoing)
        gate = Gate(endpoint_policy, lambda: {self.port, self.actor_port} - {0})
        resolver = Resolver(self._channels, self._attached, outgoing, gate, self._directory)
        self._hooks = Hooks(hooks, resolver)
        self._trials = Trials(
            _as_proto(params), self._hooks, resolver, self._shared, gc_frequency=gc_frequency, max_trials=max_trials
        )
        lifecycle = Service(LIFECYCLE, add_TrialLifecycleSPServicer_to_server, LifecycleService(self._trials))
        tokens = None if join_key is None else JoinTokens(join_key)
        client_actors = Service(
            CLIENT_ACTOR, add_ClientActorSPServicer_to_server, ClientActorService(self._trials, tokens)
        )
        self._server = InProcessServer("orchestrator")
        for service in (lifecycle, client_actors):
            service.mount(self._server)
        self._listeners = Listeners(lifecycle, client_actors, host=host, port=port, actor_port=actor_port, tls=tls)
        self._no_patience = asyncio.Event()

    # --- where it is --------------------------------------------------------------------------------------------

    @property
    def endpoint(self) -> InProcessEndpoint:
        """Where it is for callers in this process and event loop."""
        return InProcessEndpoint(self._server)

    @property
    def port(self) -> int:
        """The port that Controllers reach it at over gRPC; 0 if it does not listen."""
        return self._listeners.port

    @property
    def actor_port(self) -> int:
        """The port that client actors reach it at over gRPC; 0 if it does not listen."""
        return self._listeners.actor_port

    @property
    def listening(self) -> str:
        """Where it can be reached, as tooling looks for it."""
        if self.port == self.actor_port:
            return f"[port:{self.port}]"
        return f"[port:{self.port}] [actor_port:{self.actor_port}]"

    def attach(self, context: Attachable) -> None:
        """Let trials use what is registered with ``context``, without any connection.

        Endpoints that are empty, or ``cogment://discover``, lead there.

        Args:
            context: What has components; it serves them from now on, in this process, until it is closed.

        Raises:
            UsageError: Nothing is registered with it, or it serves already.
        """
        components = context.components
        self._attached.add(components, InProcessEndpoint(context.serve_in_process()))

    # --- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen, if there is a port to listen on; without one there is nothing to start.

        Raises:
            EndpointError: A port cannot be had, or what there is for TLS cannot be used.
        """
        await self._listeners.start()

    async def close(self, grace: float | None = None) -> None:
        """Stop: start no more trials, end those that run, and let go of everything.

        Trials have ``grace`` seconds to end with their current tick, then they are ended as they are. What is left of
        the grace is for datalogs that have not acknowledged all samples yet. Called again, it waits for the same end,
        with no more patience if ``grace`` is 0.

        Args:
            grace: Seconds; None for those of the constructor.
        """
        await super().close(grace)

    async def _close(self, grace: float) -> None:
        until = asyncio.get_running_loop().time() + grace
        await self._listeners.announce_end()
        self._trials.stop()
        await self._wait(self._trials.wait_idle(), until)
        self._trials.kill()
        await self._wait(self._shared.pumps.wait(grace), until)
        await self._say_last_words()
        self._trials.watchers.close()
        await self._listeners.close(LAST_WORDS / 2)
        await self._server.stop()
        for tasks in (self._shared.pumps, self._shared.farewells, self._shared.peers):
            await tasks.close()
        await self._channels.close()
        if self._directory is not None:
            await self._directory.close()

    async def _hurry(self) -> None:
        self._no_patience.set()

    async def _wait(self, work: Coroutine[Any, Any, object], until: float) -> None:
        """Wait until ``work`` is done, nobody has patience any more, or the grace is over."""
        loop = asyncio.get_running_loop()
        waits = {loop.create_task(work), loop.create_task(self._no_patience.wait())}
        left = max(0.0, until - loop.time())
        try:
            await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _say_last_words(self) -> None:
        """Let out what is on its way: the end to participants, and samples."""
        until = asyncio.get_running_loop().time() + LAST_WORDS
        # The last waits for the peers, who may have much to do still, or nothing.
        for tasks in (self._shared.farewells, self._shared.pumps, self._shared.peers):
            await tasks.wait(max(0.0, until - asyncio.get_running_loop().time()))


def _as_directory(given: Endpoint | str | None, token: str | None, outgoing: Endpoint) -> Directory | None:
    if given is None:
        return None
    if isinstance(given, str):
        given = outgoing.with_url(given)
    return Directory(directory_address("directory", given), token)


def _as_policy(policy: DatalogPolicy | str) -> DatalogPolicy:
    try:
        return DatalogPolicy(policy)
    except ValueError:
        policies = " or ".join(repr(policy.value) for policy in DatalogPolicy)
        raise UsageError(f"datalog_policy is {policy!r}, it has to be {policies}") from None


def _as_proto(params: TrialParameters | TrialParams | str | Path | None) -> TrialParams:
    if isinstance(params, (str, Path)):
        return load_params_file(params)
    copy = TrialParams()
    if isinstance(params, TrialParameters):
        copy.ParseFromString(params.serialize())
    elif params is not None:
        copy.CopyFrom(params)
    return copy
