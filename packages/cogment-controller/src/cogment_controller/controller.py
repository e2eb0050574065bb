"""Start, watch and end trials."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import Message

from cogment_controller.trial_ids import as_metadata, checked_trial_ids, in_batches
from cogment_controller.trial_info import TrialInfo
from cogment_core.api import common_pb2, orchestrator_pb2
from cogment_core.client import AwaitableClient, RemoteService
from cogment_core.endpoints import ServiceType
from cogment_core.enums import TrialState
from cogment_core.errors import NotFoundError, UsageError
from cogment_core.events import ActorInfo
from cogment_core.logs import logger
from cogment_core.parameters import TrialParameters
from cogment_core.rpc import UNARY_TIMEOUT

if TYPE_CHECKING:
    from cogment_core.client import ClientContext
    from cogment_core.endpoints import Endpoint

__all__ = ["START_TIMEOUT", "Controller", "connect"]

START_TIMEOUT = 120.0
"""Seconds that the Orchestrator has to start a trial: the user's pre-trial hooks run meanwhile."""


class Controller(AwaitableClient):
    """Starts, watches and ends the trials of one Orchestrator.

    Made by ``Context.get_controller``, or by `connect`. Nothing is sent before the first call. Every call raises an
    `RpcError` when it fails; those that only ask can simply be made again.

    Args:
        context: The Context on whose behalf trials are started.
        endpoint: Where the Orchestrator is.

    Raises:
        UsageError: ``endpoint`` is no `Endpoint`.
    """

    def __init__(self, context: ClientContext, endpoint: Endpoint) -> None:
        self._user_id = context.user_id
        self._service = RemoteService(
            context, endpoint, ServiceType.LIFE_CYCLE, "cogmentAPI.TrialLifecycleSP", _make_stub
        )

    def __repr__(self) -> str:
        return f"Controller({self._service.target!r})"

    def has_specs(self) -> bool:
        """Always true: a Controller does not need the specs of a trial."""
        return True

    async def start_trial(
        self,
        trial_config: Message | bytes | None = None,
        trial_id_requested: str | None = None,
        trial_params: TrialParameters | None = None,
        *,
        timeout: float = START_TIMEOUT,
    ) -> str:
        """Start a trial.

        The trial is pending when this returns: its actors and environment are asked to take part afterwards, and
        client actors may join.

        At most one trial is started, whatever happens to the connection. After an `UnavailableError` or a
        `DeadlineError` it is not known whether it was. To start a trial exactly once, request an id of your own and
        call again with the same one: an empty string then says that the earlier call did start it.

        Args:
            trial_config: Config for the pre-trial hooks: a message of the type that the specs name, or its bytes. It
                is ignored if there are no hooks. The default parameters of the Orchestrator are used.
            trial_id_requested: Id for the trial, unique among those that the Orchestrator remembers; printable ASCII.
                The Orchestrator makes one if there is none.
            trial_params: Complete parameters. Default parameters and pre-trial hooks are not used.
            timeout: Seconds until `DeadlineError`.

        Returns:
            The id of the trial; empty if no trial was started because the requested id is taken.

        Raises:
            UsageError: Both ``trial_config`` and ``trial_params`` are given, or an argument is of the wrong type.
            RpcError: The Orchestrator did not start the trial, or its answer was lost.
        """
        request = _start_request(trial_config, trial_params)
        request.user_id = self._user_id
        if trial_id_requested:
            request.trial_id_requested = checked_trial_ids([trial_id_requested], "start_trial")[0]
        reply: orchestrator_pb2.TrialStartReply = await self._service.call("StartTrial", request, timeout=timeout)
        if not reply.trial_id:
            logger.warning("no trial was started: the requested trial id %r is taken", trial_id_requested)
        return reply.trial_id

    async def terminate_trial(
        self, trial_ids: Iterable[str], hard: bool = False, *, timeout: float = UNARY_TIMEOUT
    ) -> None:
        """Ask for the end of trials. Trials that are not known, or over, are left out silently.

        Args:
            trial_ids: The trials, at least one.
            hard: End at once, without waiting for anyone. Otherwise the trials end after their next step, and their
                environments may answer with final observations.
            timeout: Seconds until `DeadlineError`.

        Raises:
            UsageError: There is no trial id, or one that cannot be.
            RpcError: The Orchestrator could not be asked, or its answer was lost.
        """
        ids = checked_trial_ids(trial_ids, "terminate_trial")
        if not ids:
            raise UsageError("terminate_trial needs at least one trial id")
        request = orchestrator_pb2.TerminateTrialRequest(hard_termination=hard)
        for batch in in_batches(ids, self._service.room_for_metadata()):
            await self._service.call("TerminateTrial", request, timeout=timeout, metadata=as_metadata(batch))

    async def get_trial_info(
        self, trial_ids: Iterable[str] | None, *, timeout: float = UNARY_TIMEOUT
    ) -> list[TrialInfo]:
        """Ask about trials.

        Args:
            trial_ids: The trials; all that the Orchestrator remembers if empty.
            timeout: Seconds until `DeadlineError`.

        Returns:
            One entry for each trial that the Orchestrator knows. Trials that have ended are remembered for a while.

        Raises:
            UsageError: Something in ``trial_ids`` cannot be a trial id.
            RpcError: The Orchestrator could not be asked, or its answer was lost.
        """
        ids = checked_trial_ids(trial_ids, "get_trial_info")
        found = await self._inquire(ids, orchestrator_pb2.TrialInfoRequest(), timeout)
        return [TrialInfo.from_proto(info) for info in found]

    async def get_actors(self, trial_id: str, *, timeout: float = UNARY_TIMEOUT) -> list[ActorInfo]:
        """Ask for the actors of a trial.

        Args:
            trial_id: The trial.
            timeout: Seconds until `DeadlineError`.

        Returns:
            The actors in the trial's parameters, in that order; none while the parameters are not final.

        Raises:
            NotFoundError: The Orchestrator does not know the trial.
            RpcError: The Orchestrator could not be asked, or its answer was lost.
        """
        ids = checked_trial_ids([trial_id], "get_actors")
        found = await self._inquire(ids, orchestrator_pb2.TrialInfoRequest(get_actor_list=True), timeout)
        if not found:
            raise NotFoundError(
                grpc.StatusCode.NOT_FOUND,
                f"there is no trial {trial_id!r}, or it ended and is not remembered any more",
                method=self._service.path("GetTrialInfo"),
                target=self._service.target,
            )
        return [ActorInfo(actor.name, actor.actor_class) for actor in found[0].actors_in_trial]

    async def watch_trials(
        self, trial_state_filters: Iterable[TrialState] = (), full_info: bool = False
    ) -> AsyncGenerator[TrialInfo, bool | None]:
        """Iterate over trials: first those that there are, then each one that changes state, as it happens.

        Leaving the loop, closing the generator or sending it ``False`` stops watching. The generator ends by itself
        when the Orchestrator stops.

        Args:
            trial_state_filters: The states of interest; all if empty.
            full_info: Whether all of `TrialInfo` is wanted. Otherwise only the id and the state are set.

        Yields:
            The trial as it is in its new state.

        Raises:
            UsageError: A filter is not a `TrialState`.
            UnavailableError: The Orchestrator cannot be reached, or the connection was lost: changes may be missed.
            RpcError: The Orchestrator broke off.
        """
        states = [_state_number(state) for state in trial_state_filters]
        request = orchestrator_pb2.TrialListRequest(filter=states, full_info=full_info)
        async with aclosing(self._service.iterate("WatchTrials", request)) as entries:
            async for entry in entries:
                wanted = yield TrialInfo.from_entry(entry)
                if wanted is not None and not wanted:
                    return
        logger.info("the Orchestrator at %s has stopped: it reports no more trials", self._service.target)

    async def get_remote_versions(self, *, timeout: float = UNARY_TIMEOUT) -> dict[str, str]:
        """Ask for the versions of the Orchestrator's components, by name.

        Args:
            timeout: Seconds until `DeadlineError`.

        Raises:
            RpcError: The Orchestrator could not be asked, or its answer was lost.
        """
        info: common_pb2.VersionInfo = await self._service.call("Version", common_pb2.VersionRequest(), timeout=timeout)
        return {component.name: component.version for component in info.versions}

    async def _inquire(
        self, trial_ids: list[str], request: orchestrator_pb2.TrialInfoRequest, timeout: float
    ) -> list[orchestrator_pb2.TrialInfo]:
        found: list[orchestrator_pb2.TrialInfo] = []
        # No id at all stands for all trials, and is one call too.
        for batch in in_batches(trial_ids, self._service.room_for_metadata()) if trial_ids else ([],):
            reply: orchestrator_pb2.TrialInfoReply = await self._service.call(
                "GetTrialInfo", request, timeout=timeout, metadata=as_metadata(batch)
            )
            found.extend(reply.trial)
        return found


def connect(context: ClientContext, endpoint: Endpoint) -> Controller:
    """Make the Controller of the Orchestrator at ``endpoint``.

    Args:
        context: The Context that the Controller belongs to: it calls with its user id and metadata, over its channels.
        endpoint: Where the Orchestrator is. Nothing is sent there before the Controller's first call.
    """
    return Controller(context, endpoint)


def _start_request(
    trial_config: Message | bytes | None, trial_params: TrialParameters | None
) -> orchestrator_pb2.TrialStartRequest:
    request = orchestrator_pb2.TrialStartRequest()
    if trial_config is not None and trial_params is not None:
        raise UsageError("start_trial takes trial_config or trial_params, not both: a config is for pre-trial hooks")
    if trial_config is not None:
        request.config.content = _config_bytes(trial_config)
    elif trial_params is not None:
        if not isinstance(trial_params, TrialParameters):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"trial_params is a TrialParameters, not {type(trial_params).__name__}")
        request.params.CopyFrom(trial_params.to_proto())
        if request.params.HasField("trial_config"):
            logger.warning("the config in trial_params is ignored: no pre-trial hook is called with given parameters")
    return request


def _config_bytes(trial_config: Message | bytes) -> bytes:
    if isinstance(trial_config, Message):
        return trial_config.SerializeToString()
    if isinstance(trial_config, bytes):  # pyright: ignore[reportUnnecessaryIsInstance]
        return trial_config
    raise UsageError(f"trial_config is a protobuf message or bytes, not {type(trial_config).__name__}")


def _state_number(state: TrialState) -> Any:
    if not isinstance(state, TrialState):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise UsageError(f"a trial state filter is a TrialState, not {type(state).__name__}: {state!r}")
    return state.value


def _make_stub(channel: grpc.aio.Channel) -> Any:
    # Only needed once something is called, and then soon loaded.
    from cogment_core.api.orchestrator_pb2_grpc import TrialLifecycleSPStub

    return TrialLifecycleSPStub(channel)
