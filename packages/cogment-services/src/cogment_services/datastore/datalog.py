"""``DatalogSP``: trials are logged as they run.

Each message, the parameters and every sample, is answered by one empty reply, in order: it means that this message is
stored, as durably as the store can. What was not answered when a stream broke may be stored or not; whoever logs sends
it again, on a new stream that begins with the parameters, and it is stored once.
"""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import grpc.aio

from cogment_core.api import common_pb2
from cogment_core.api.common_pb2 import ENDED
from cogment_core.api.datalog_pb2 import RunTrialDatalogInput, RunTrialDatalogOutput
from cogment_core.errors import CogmentError
from cogment_core.logs import logger
from cogment_services.datastore.answers import parse, say_no
from cogment_services.datastore.archive import Archive
from cogment_services.datastore.conversion import SampleConverter
from cogment_services.datastore.receipts import Receipts
from cogment_services.datastore.store import NewSample
from cogment_services.refusals import Refusal
from cogment_services.status import StatusReporter
from cogment_services.trial_ids import the_trial_id

__all__ = ["INCOMPLETE", "DatalogService", "add_datalog"]

INCOMPLETE = "incomplete: the datalog was completed without a last sample"

DOUBT = 0.5
"""Seconds until it is certain that a stream was completed, and not lost."""

_STORED = RunTrialDatalogOutput()


class DatalogService(StatusReporter):
    """What the Orchestrator uses.

    Args:
        archive: Where samples go.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    async def RunTrialDatalog(self, request_iterator: object, context: Any) -> None:
        """Store the log of one trial."""
        try:
            await _Log(self._archive, context, the_trial_id(context)).run()
        except CogmentError as error:
            await say_no(context, error)


class _Log:
    """One stream."""

    def __init__(self, archive: Archive, context: Any, trial_id: str) -> None:
        self._archive = archive
        self._context = context
        self._trial_id = trial_id
        self._receipts = Receipts()
        self._finished = False
        self._last_tick = -1
        self._ended = False

    async def run(self) -> None:
        """Store everything that comes.

        Raises:
            CogmentError: Something cannot be stored, or makes no sense.
        """
        number, converter = await self._begin()
        with self._archive.attendance.present(number):
            await self._take_and_answer(converter)
            if not self._ended:
                # Who was killed or cut off seems to complete the stream at first; then this task is cancelled.
                await asyncio.sleep(DOUBT)
        if self._ended:
            self._archive.attendance.forget(number)
        elif not self._archive.attendance.anybody(number):
            logger.warning("trial [%s]: the datalog was completed without a last sample", self._trial_id)
            await self._archive.end_trial(number, INCOMPLETE)

    async def _begin(self) -> tuple[int, SampleConverter]:
        first = await self._read()
        if first is None or first.WhichOneof("msg") != "trial_params":
            raise Refusal(
                grpc.StatusCode.INVALID_ARGUMENT, f"trial [{self._trial_id}]: a datalog begins with trial parameters"
            )
        params = first.trial_params
        number = await self._archive.put_trial(self._trial_id, _user_id(self._context), params)
        await self._context.write(_STORED)
        return number, SampleConverter(self._trial_id, number, params)

    async def _take_and_answer(self, converter: SampleConverter) -> None:
        """Take samples, and answer those that are stored, until there are no more of either."""
        loop = asyncio.get_running_loop()
        taking, answering = loop.create_task(self._take(converter)), loop.create_task(self._answer())
        try:
            await asyncio.wait({taking, answering}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
            await asyncio.wait({taking})
            self._finished = True
            self._receipts.wake()
            await answering
            taking.result()
        finally:
            for task in (taking, answering):
                task.cancel()
            await asyncio.wait({taking, answering})

    async def _take(self, converter: SampleConverter) -> None:
        commits, receipts = self._archive.commits, self._receipts
        while (message := await self._read()) is not None:
            if message.WhichOneof("msg") != "sample":
                text = f"trial [{self._trial_id}]: a sample was expected, there is nothing else after the parameters"
                raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, text)
            if converter.takes_long(message.sample):
                change = await asyncio.to_thread(converter.convert, message.sample)
            else:
                change = converter.convert(message.sample)
            if not commits.has_room:
                await commits.room()
            commits.submit(change, receipts)
            receipts.expect()
            if isinstance(change, NewSample) and change.tick >= self._last_tick:
                self._last_tick, self._ended = change.tick, change.state == ENDED

    async def _answer(self) -> None:
        receipts, write = self._receipts, self._context.write
        answered = 0
        while True:
            while answered < receipts.durable:
                await write(_STORED)
                answered += 1
            receipts.check()
            if self._finished and receipts.complete:
                return
            await receipts.changed()

    async def _read(self) -> RunTrialDatalogInput | None:
        """The next message; None when there are no more."""
        request = await self._context.read()
        return None if request is grpc.aio.EOF else await parse(RunTrialDatalogInput, request)


def _user_id(context: Any) -> str:
    values = [value for key, value in context.invocation_metadata() or () if key == "user-id"]
    return str(values[0]) if values else ""


def add_datalog(servicer: DatalogService, server: Any) -> None:
    """Let ``server`` answer calls of ``DatalogSP``; samples are decoded by the service, where an error can be told."""
    handlers: dict[str, Any] = {
        "RunTrialDatalog": grpc.stream_stream_rpc_method_handler(
            servicer.RunTrialDatalog, None, RunTrialDatalogOutput.SerializeToString
        ),
        "Version": grpc.unary_unary_rpc_method_handler(
            servicer.Version, common_pb2.VersionRequest.FromString, common_pb2.VersionInfo.SerializeToString
        ),
        "Status": grpc.unary_unary_rpc_method_handler(
            servicer.Status, common_pb2.StatusRequest.FromString, common_pb2.StatusReply.SerializeToString
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("cogmentAPI.DatalogSP", handlers),))
