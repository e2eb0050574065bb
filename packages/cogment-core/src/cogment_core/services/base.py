"""What the services of a Context share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ClassVar, TypeVar

import grpc

from cogment_core import duplex
from cogment_core.api import common_pb2
from cogment_core.errors import CogmentError, UsageError
from cogment_core.logs import logger
from cogment_core.participation import Join, Participation
from cogment_core.serving import overall_load, status_reply, version_info
from cogment_core.sessions.base import Session
from cogment_core.sessions.observer import SessionObserver
from cogment_core.tasks import TaskOwner

__all__ = ["ComponentService", "ParticipantService", "required_metadata", "trial_id_of"]

TEXT_LIMIT = 4096
"""Longest metadata value that is taken, in characters."""

DETAILS_LIMIT = 1024
"""Longest text that goes with a status, in characters: it travels as metadata, which is limited."""

CLOSE_GRACE = 1.0
"""Seconds that functions of the user have to end by themselves when their service is closed."""

T = TypeVar("T")


async def required_metadata(context: Any, key: str) -> str:
    """The one value of ``key`` in the metadata of a call; the call is refused if there is not exactly one."""
    values = [value for name, value in context.invocation_metadata() or () if name == key]
    if len(values) != 1:
        text = f"exactly one {key!r} is needed in the metadata, not {len(values)}"
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
    value = values[0]
    if isinstance(value, bytes) or len(value) > TEXT_LIMIT:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"the {key!r} in the metadata is not a short text")
    return str(value)


async def trial_id_of(context: Any) -> str:
    """The trial that a call is for; the call is refused if it does not say."""
    trial_id = await required_metadata(context, "trial-id")
    if not trial_id:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the 'trial-id' in the metadata is empty")
    return trial_id


class ComponentService:
    """A service that runs functions of the user, as tasks of its own.

    They are not tasks of the calls that bring them: when a call breaks, the user's function is still told, and still
    has the time to finish.
    """

    name: ClassVar[str]
    """Full name of the service in the protocol."""

    def __init__(self) -> None:
        self._tasks = TaskOwner(self.name)

    async def _run(
        self, work: Coroutine[Any, Any, T], what: str, context: Any, *, on_cancel: Callable[[], None] | None = None
    ) -> T:
        """Do ``work`` for a call, to the end of either. If that is the end of the call, ``on_cancel`` is called.

        The call fails if the work does; the Orchestrator is not told why: that is in our log, and may be private.
        """
        task = self._tasks.spawn(work, what=what)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                logger.debug("%s: the call was cancelled", what)
                if on_cancel is not None:
                    on_cancel()
            raise
        except Exception:
            # The owner of the task has logged it.
            await context.abort(grpc.StatusCode.INTERNAL, f"{what} failed: the log of its service says why")
            raise

    async def close(self) -> None:
        """End what still runs: it was told by the end of its call, and has a little time before it is cancelled."""
        await self._tasks.wait(CLOSE_GRACE)
        await self._tasks.close()

    def _entries(self) -> Mapping[str, Callable[[], object]]:
        """What ``Status`` can be asked for."""
        return {"overall_load": overall_load}

    async def Version(self, request: common_pb2.VersionRequest, context: Any) -> common_pb2.VersionInfo:
        """The versions of the SDK and of gRPC."""
        return version_info()

    async def Status(self, request: common_pb2.StatusRequest, context: Any) -> common_pb2.StatusReply:
        """How the service is."""
        return status_reply(request.names, self._entries())


class ParticipantService(ComponentService):
    """A service that runs environments, or actors."""

    def __init__(self) -> None:
        super().__init__()
        self._participants: set[tuple[str, str]] = set()

    def _require_absent(self, trial_id: str, name: str) -> None:
        """Refuse a participant that runs already.

        Raises:
            UsageError: It does.
        """
        if (trial_id, name) in self._participants:
            raise UsageError(f"{name!r} of trial {trial_id!r} runs here already")

    def _enter(self, session: Session, observer: SessionObserver) -> Callable[[], None]:
        """Note a new session. Returns what to call when it is done; ``observer`` is told then, too."""
        key = (session.get_trial_id(), session.name)
        self._participants.add(key)

        def leave() -> None:
            self._participants.discard(key)
            observer.ended()

        return leave

    async def _take_part(self, what: str, context: Any, *, reply: Callable[..., Any], join: Join) -> None:
        """Run a participant for a call."""
        participation = Participation(what, duplex.of_context(context), reply=reply, join=join)

        def lose() -> None:
            participation.connection_lost("the connection to the Orchestrator was lost")

        fault = await self._run(participation.run(), what, context, on_cancel=lose)
        if isinstance(fault, CogmentError):
            logger.error("%s: %s", what, fault)
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(fault)[:DETAILS_LIMIT])
        elif fault is not None:
            raise fault

    def _entries(self) -> Mapping[str, Callable[[], object]]:
        return {**super()._entries(), "nb_sessions": lambda: len(self._participants)}
