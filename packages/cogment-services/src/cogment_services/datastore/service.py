"""``TrialDatastoreSP``: trials and samples are read, added and deleted."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import grpc
import grpc.aio

from cogment_core.api import common_pb2, trial_datastore_pb2
from cogment_core.api.common_pb2 import ENDED, TrialParams
from cogment_core.api.trial_datastore_pb2 import (
    AddSampleRequest,
    AddTrialRequest,
    DeleteTrialsRequest,
    RetrieveSampleReply,
    RetrieveSamplesRequest,
    RetrieveTrialsRequest,
    StoredTrialSample,
)
from cogment_core.errors import CogmentError, UsageError
from cogment_core.inprocess.context import InProcessServicerContext
from cogment_services.datastore.answers import no_trial, parse, say_no
from cogment_services.datastore.archive import Archive
from cogment_services.datastore.conversion import check_sample
from cogment_services.datastore.following import Send, send_samples
from cogment_services.datastore.listing import list_trials
from cogment_services.datastore.receipts import Receipts
from cogment_services.datastore.store import NewSample, TrialRecord
from cogment_services.status import StatusReporter
from cogment_services.trial_ids import the_trial_id

__all__ = ["DatastoreService", "add_trial_datastore"]


class DatastoreService(StatusReporter):
    """What those who read, import and tidy up use.

    Args:
        archive: Where trials and samples are.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    async def RetrieveTrials(self, request: object, context: Any) -> trial_datastore_pb2.RetrieveTrialsReply:
        """List trials in the order in which they were added, page by page."""
        try:
            return await list_trials(self._archive, await parse(RetrieveTrialsRequest, request))
        except CogmentError as error:
            await say_no(context, error)

    async def RetrieveSamples(self, request: object, context: Any) -> None:
        """Send the samples of trials, those to come included, until these trials are over."""
        try:
            await send_samples(self._archive, await parse(RetrieveSamplesRequest, request), _sender(context))
        except CogmentError as error:
            await say_no(context, error)

    async def AddTrial(self, request: object, context: Any) -> trial_datastore_pb2.AddTrialReply:
        """Add a trial, or replace its parameters and its user."""
        try:
            trial_id = the_trial_id(context)
            trial = await parse(AddTrialRequest, request)
            number = await self._archive.put_trial(trial_id, trial.user_id, trial.trial_params)
            self._archive.attendance.expect((number,))
        except CogmentError as error:
            await say_no(context, error)
        return trial_datastore_pb2.AddTrialReply()

    async def AddSample(self, request_iterator: object, context: Any) -> trial_datastore_pb2.AddSamplesReply:
        """Add samples to one trial; the reply means that all of them are stored."""
        try:
            trial_id = the_trial_id(context)
            first = await context.read()
            if first is not grpc.aio.EOF:
                trial = await self._archive.get(trial_id)
                if trial is None:
                    raise no_trial(trial_id)
                await _Addition(self._archive, trial, context).run(first)
        except CogmentError as error:
            await say_no(context, error)
        return trial_datastore_pb2.AddSamplesReply()

    async def DeleteTrials(self, request: object, context: Any) -> trial_datastore_pb2.DeleteTrialsReply:
        """Delete trials with their samples; unknown ones are passed over."""
        try:
            trial_ids = (await parse(DeleteTrialsRequest, request)).trial_ids
            if trial_ids:
                await self._archive.delete_trials(trial_ids)
        except CogmentError as error:
            await say_no(context, error)
        return trial_datastore_pb2.DeleteTrialsReply()


class _Addition:
    """Samples that a client adds to one trial."""

    def __init__(self, archive: Archive, trial: TrialRecord, context: Any) -> None:
        self._archive = archive
        self._trial = trial
        self._context = context
        self._actors = len(TrialParams.FromString(trial.params).actors)
        self._receipts = Receipts()
        self._last_tick = -1
        self._ended = False

    async def run(self, request: Any) -> None:
        """Add what is in ``request`` and in those that follow.

        Raises:
            CogmentError: A sample makes no sense, or cannot be stored. Those before it are stored.
        """
        with self._archive.attendance.present(self._trial.number):
            if self._trial.end_reason is not None:
                await self._archive.end_trial(self._trial.number, None)
            try:
                while request is not grpc.aio.EOF:
                    await self._add(await parse(AddSampleRequest, request))
                    request = await self._context.read()
            finally:
                await self._receipts.all()
        if self._ended:
            self._archive.attendance.forget(self._trial.number)

    async def _add(self, request: AddSampleRequest) -> None:
        if not request.HasField("trial_sample"):
            raise UsageError(f"trial [{self._trial.trial_id}]: a message has no sample")
        sample = self._own(request.trial_sample)
        check_sample(sample, self._actors)
        commits = self._archive.commits
        if not commits.has_room:
            await commits.room()
        self._receipts.check()
        change = NewSample(
            self._trial.number,
            sample.tick_id,
            sample.timestamp,
            sample.state,
            sample.SerializeToString(),
            replaces=True,
        )
        commits.submit(change, self._receipts)
        self._receipts.expect()
        if sample.tick_id >= self._last_tick:
            self._last_tick, self._ended = sample.tick_id, sample.state == ENDED

    def _own(self, sample: StoredTrialSample) -> StoredTrialSample:
        """``sample`` with the id of the trial."""
        trial_id = self._trial.trial_id
        if sample.trial_id == trial_id:
            return sample
        if sample.trial_id:
            raise UsageError(f"a sample of trial [{sample.trial_id}] cannot be added to trial [{trial_id}]")
        own = StoredTrialSample()
        own.CopyFrom(sample)
        own.trial_id = trial_id
        return own


def _sender(context: Any) -> Send:
    """What sends serialized samples to the caller of ``context``.

    Over gRPC they are sent as they are stored, without being decoded; in process, the caller expects messages.
    """
    write = context.write
    if isinstance(context, InProcessServicerContext):

        async def send_messages(samples: Sequence[bytes]) -> None:
            for sample in samples:
                await write(RetrieveSampleReply(trial_sample=StoredTrialSample.FromString(sample)))

        return send_messages

    async def send(samples: Sequence[bytes]) -> None:
        for sample in samples:
            await write(_reply_head(len(sample)) + sample)

    return send


@functools.lru_cache(maxsize=1024)
def _reply_head(length: int) -> bytes:
    """What makes a serialized ``RetrieveSampleReply`` of a sample: it is its only field, number 1."""
    head = bytearray(b"\n")
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head)


def add_trial_datastore(servicer: DatastoreService, server: Any) -> None:
    """Let ``server`` answer calls of ``TrialDatastoreSP``.

    Samples that are sent are serialized already, and what comes is decoded by the service, where an error can be told.
    """
    api = trial_datastore_pb2
    unary = grpc.unary_unary_rpc_method_handler
    handlers: dict[str, Any] = {
        "RetrieveTrials": unary(servicer.RetrieveTrials, None, api.RetrieveTrialsReply.SerializeToString),
        "RetrieveSamples": grpc.unary_stream_rpc_method_handler(servicer.RetrieveSamples, None, None),
        "AddTrial": unary(servicer.AddTrial, None, api.AddTrialReply.SerializeToString),
        "AddSample": grpc.stream_unary_rpc_method_handler(
            servicer.AddSample, None, api.AddSamplesReply.SerializeToString
        ),
        "DeleteTrials": unary(servicer.DeleteTrials, None, api.DeleteTrialsReply.SerializeToString),
        "Version": unary(
            servicer.Version, common_pb2.VersionRequest.FromString, common_pb2.VersionInfo.SerializeToString
        ),
        "Status": unary(servicer.Status, common_pb2.StatusRequest.FromString, common_pb2.StatusReply.SerializeToString),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("cogmentAPI.TrialDatastoreSP", handlers),))
