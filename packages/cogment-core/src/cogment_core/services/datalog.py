"""Serves the datalog of a Context."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc

from cogment_core.api import datalog_pb2, datalog_pb2_grpc
from cogment_core.errors import BacklogError
from cogment_core.implementations import Implementation
from cogment_core.logs import logger
from cogment_core.outbox import Outbox
from cogment_core.parameters import TrialParameters
from cogment_core.services.base import ComponentService, required_metadata, trial_id_of
from cogment_core.sessions.datalog import DatalogSession, MessageReader, Receipts
from cogment_core.specs import CogSettings

__all__ = ["DatalogService"]


class DatalogService(ComponentService, datalog_pb2_grpc.DatalogSPServicer):
    """``DatalogSP``: the Orchestrator sends the samples of trials.

    Args:
        datalog: The user's function.
        settings: The specs, if known.
    """

    name = "cogmentAPI.DatalogSP"

    def __init__(self, datalog: Implementation, settings: CogSettings | None) -> None:
        super().__init__()
        self._datalog = datalog
        self._settings = settings

    async def RunTrialDatalog(  # type: ignore[override]  # it reads by itself
        self, request_iterator: AsyncIterator[datalog_pb2.RunTrialDatalogInput], context: Any
    ) -> None:
        """Hand the samples of a trial to the user's function."""
        trial_id = await trial_id_of(context)
        user_id = await required_metadata(context, "user-id")
        reader = MessageReader(aiter(request_iterator))
        replies = _Replies(context, f"the datalog of trial {trial_id!r}")
        first: datalog_pb2.RunTrialDatalogInput | None = await reader.read()
        if first is None:
            return
        if first.WhichOneof("msg") != "trial_params":
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the first message has to be the trial parameters")
        parameters = TrialParameters.from_proto(self._settings, first.trial_params)
        receipts = Receipts(replies.send)
        session = DatalogSession(trial_id, user_id, parameters, reader, receipts)

        def lose() -> None:
            reader.stop("the connection to the Orchestrator was lost")
            replies.stop()

        work = self._call(session, reader, receipts, replies)
        await self._run(work, f"the datalog of trial {trial_id!r}", context, on_cancel=lose)

    async def _call(
        self, session: DatalogSession, reader: MessageReader, receipts: Receipts, replies: _Replies
    ) -> None:
        try:
            await self._datalog.impl(session)
            receipts.settle()
        finally:
            reader.stop("the datalog has left")
            await replies.drain()


class _Replies:
    """Replies on their way to the Orchestrator, each for one message that it need not send again.

    An Orchestrator that does not read them is none that waits for them: it is not replied to any more.

    Args:
        context: The call.
        what: What it is for, for the log.
    """

    def __init__(self, context: Any, what: str) -> None:
        self._what = what
        self._outbox: Outbox[datalog_pb2.RunTrialDatalogOutput] = Outbox(context.write, self._failed)
        self.drain = self._outbox.drain
        self.stop = self._outbox.stop

    def send(self) -> None:
        """Reply to one message more."""
        try:
            self._outbox.put(datalog_pb2.RunTrialDatalogOutput())
        except BacklogError as error:
            self._failed(error)
            self.stop()

    def _failed(self, error: Exception) -> None:
        logger.debug("%s: replies do not reach the Orchestrator: %s", self._what, error)
