"""What the services that bring trials to a Context share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import grpc

from cogment_core import duplex
from cogment_core.errors import UsageError
from cogment_core.logs import logger
from cogment_core.participation import Join, Participation, Seat
from cogment_core.sessions.base import Session
from cogment_core.tasks import TaskOwner

__all__ = ["Participants", "required_metadata", "seat"]

TEXT_LIMIT = 4096
"""Longest metadata value that is taken, in bytes."""


async def required_metadata(context: grpc.aio.ServicerContext[Any, Any], key: str) -> str:
    """The one value of ``key`` in the metadata of a call; the call is refused if there is not exactly one."""
    values = [value for name, value in context.invocation_metadata() or () if name == key]
    if len(values) != 1:
        text = f"exactly one {key!r} is needed in the metadata, not {len(values)}"
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, text)
    value = values[0]
    if isinstance(value, bytes) or len(value) > TEXT_LIMIT:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"the {key!r} in the metadata is not a short text")
    return str(value)


def seat(session: Session, impl: Callable[[Any], Any], leave: Callable[[], None]) -> Seat:
    """A seat on which ``impl`` runs ``session``."""
    return Seat(lambda: impl(session), leave)


class Participants:
    """The environments, or actors, that one service runs.

    They are tasks of this object, not of the calls that bring them: when a call breaks, the user's function is still
    told, and still has the time to finish.
    """

    def __init__(self, what: str) -> None:
        self._tasks = TaskOwner(what)
        self._names: set[tuple[str, str]] = set()

    @property
    def nb_sessions(self) -> int:
        """How many sessions run."""
        return len(self._names)

    def enter(self, session: Session) -> Callable[[], None]:
        """Note a new session. Returns what to call when it is done.

        Raises:
            UsageError: The same participant of the same trial runs already.
        """
        key = (session.get_trial_id(), session.name)
        if key in self._names:
            raise UsageError(f"{session} runs here already")
        self._names.add(key)
        return lambda: self._names.discard(key)

    async def run(self, what: str, context: Any, *, reply: Callable[..., Any], join: Join) -> None:
        """Run a participant for a call, to the end of either."""
        participation = Participation(what, duplex.of_context(context), reply=reply, join=join)
        task = self._tasks.spawn(participation.run(), what=what)
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                logger.debug("%s: the call was cancelled", what)
                participation.connection_lost("the connection to the Orchestrator was lost")
            raise

    async def close(self) -> None:
        """Cancel what still runs."""
        await self._tasks.close()
