"""A Trial Datastore as the commands use it: on the wire, so that what is exported is byte for byte what is stored."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc.aio

from cogment_core.api.common_pb2 import TrialParams
from cogment_core.api.trial_datastore_pb2 import (
    AddSampleRequest,
    AddTrialRequest,
    DeleteTrialsRequest,
    RetrieveSamplesRequest,
    RetrieveTrialsReply,
    RetrieveTrialsRequest,
    StoredTrialInfo,
    StoredTrialSample,
    StoredTrialSampleField,
)
from cogment_core.call_status import CallStatus
from cogment_core.client import RemoteService
from cogment_core.context import Context
from cogment_core.endpoints import Endpoint, ServiceType
from cogment_core.errors import RpcError, UsageError, from_grpc
from cogment_core.rpc import check_metadata
from cogment_services.cli.patience import Patience

if TYPE_CHECKING:
    from cogment_core.specs import CogSettings

__all__ = ["USER", "Place", "TrialStore", "open_store"]

USER = "cogment CLI"
"""Who the commands are, for the datastore."""

_NAME = "cogmentAPI.TrialDatastoreSP"
_PAGE = 100
_IDS_PER_REQUEST = 20


@dataclass(frozen=True)
class Place:
    """Where a Trial Datastore is."""

    endpoint: Endpoint
    """Its address."""
    file: str | None = None
    """The file to open instead, as the datastore that keeps its trials in it does."""


@asynccontextmanager
async def open_store(
    place: Place, timeout: float, specs: CogSettings | None = None
) -> AsyncGenerator[TrialStore, None]:
    """The Trial Datastore at ``place``, for the time of the block.

    Args:
        place: Where it is.
        timeout: Seconds to wait for it each time.
        specs: The specs of its trials, if they are needed.

    Raises:
        EndpointError: The URL cannot be understood.
        CogmentError: The file cannot be opened.
    """
    async with AsyncExitStack() as stack:
        context = await stack.enter_async_context(Context(USER, specs, prometheus_registry=None))
        if place.file is None:
            endpoint = place.endpoint
        else:
            endpoint = await stack.enter_async_context(_opened(place.file))
        yield TrialStore(context, endpoint, timeout)


@asynccontextmanager
async def _opened(file: str) -> AsyncGenerator[Endpoint, None]:
    from cogment_services.datastore import TrialDatastore

    async with TrialDatastore(_existing(file)) as datastore:
        yield datastore.endpoint


def _existing(file: str) -> str:
    if not os.path.isfile(file):
        raise UsageError(f"--file_storage: there is no file {file}")
    return file


class TrialStore:
    """A Trial Datastore.

    Every call raises an `RpcError` when it fails, a `DeadlineError` if nothing happened for ``timeout`` seconds.

    Args:
        context: Whose channels are used.
        endpoint: Where it is.
        timeout: Seconds to wait for it each time.
    """

    def __init__(self, context: Context, endpoint: Endpoint, timeout: float) -> None:
        self.context = context
        self.endpoint = endpoint
        self._timeout = timeout
        self._service = RemoteService(context, endpoint, ServiceType.DATASTORE, _NAME, _make_stub)

    async def page(self, request: RetrieveTrialsRequest) -> RetrieveTrialsReply:
        """One page of trials."""
        reply: RetrieveTrialsReply = await self._service.call("RetrieveTrials", request, timeout=self._timeout)
        return reply

    async def trials(
        self, trial_ids: Sequence[str] = (), properties: dict[str, str] | None = None
    ) -> AsyncGenerator[StoredTrialInfo, None]:
        """The trials that have one of these ids and all of these properties; all if there are none.

        In the order of their ids if there are some, else in that of their creation.
        """
        request = RetrieveTrialsRequest(properties=properties or {}, trials_count=_PAGE)
        if not trial_ids:
            async with aclosing(self._pages(request)) as infos:
                async for info in infos:
                    yield info
        for first in range(0, len(trial_ids), _IDS_PER_REQUEST):
            wanted = trial_ids[first : first + _IDS_PER_REQUEST]
            del request.trial_ids[:]
            request.trial_ids.extend(wanted)
            request.trials_count = len(wanted)
            found = {info.trial_id: info async for info in self._pages(request)}
            for trial_id in wanted:
                if trial_id in found:
                    yield found[trial_id]

    async def _pages(self, request: RetrieveTrialsRequest) -> AsyncGenerator[StoredTrialInfo, None]:
        asked = RetrieveTrialsRequest()
        asked.CopyFrom(request)
        missing = len(request.trial_ids)
        while True:
            try:
                reply = await self.page(asked)
            except RpcError as error:
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED or asked.trials_count <= 1:
                    raise
                asked.trials_count //= 2  # so many fit into no message
                continue
            for info in reply.trial_infos:
                yield info
            missing -= len(reply.trial_infos)
            # A page may be shorter than asked for without being the last one: only an empty one is, for certain.
            is_complete = not reply.trial_infos or (bool(request.trial_ids) and missing <= 0)
            if is_complete or reply.next_trial_handle in ("", asked.trial_handle):
                return
            asked.trial_handle = reply.next_trial_handle

    async def samples(
        self,
        trial_id: str,
        *,
        actor_classes: Iterable[str] = (),
        fields: Iterable[StoredTrialSampleField.ValueType] = (),
    ) -> AsyncGenerator[StoredTrialSample, None]:
        """The samples of one trial, from the first on; of a trial that runs, those to come, too.

        Args:
            trial_id: The trial.
            actor_classes: The actors to have in them; all if empty.
            fields: What to have of each actor; everything if empty.
        """
        request = RetrieveSamplesRequest(
            trial_ids=[trial_id], actor_classes=actor_classes, selected_sample_fields=fields
        )
        replies = self._service.iterate("RetrieveSamples", request)
        async with Patience(self._timeout, f"a sample of trial {trial_id!r}") as patience, aclosing(replies):
            async for reply in replies:
                patience.pause()
                yield reply.trial_sample
                patience.renew()

    async def add_trial(self, trial_id: str, user_id: str, params: TrialParams) -> None:
        """Add a trial without samples."""
        request = AddTrialRequest(user_id=user_id, trial_params=params)
        await self._service.call("AddTrial", request, timeout=self._timeout, metadata=_of_trial(trial_id))

    async def add_samples(self, trial_id: str, samples: Iterable[StoredTrialSample]) -> None:
        """Add samples to a trial; they are stored when this returns."""
        channel = await self.context.channel(self.endpoint, ServiceType.DATASTORE, stream_of=_NAME)
        method: Any = _make_stub(channel).AddSample
        async with Patience(self._timeout, f"an answer to samples of trial {trial_id!r}") as patience:
            call = method(metadata=check_metadata([*self.context.grpc_metadata(), *_of_trial(trial_id)]))
            status = CallStatus(call)
            try:
                async with status.true_errors():
                    for sample in samples:
                        await call.write(AddSampleRequest(trial_sample=sample))
                        patience.renew()
                    await call.done_writing()
                    await call
            except grpc.aio.AioRpcError as error:
                raise from_grpc(error, method=f"/{_NAME}/AddSample", target=self._service.target) from error
            finally:
                call.cancel()

    async def delete(self, trial_ids: Iterable[str]) -> None:
        """Delete trials; those that are not there are left out."""
        await self._service.call("DeleteTrials", DeleteTrialsRequest(trial_ids=trial_ids), timeout=self._timeout)


def _of_trial(trial_id: str) -> list[tuple[str, str]]:
    return [("trial-id", trial_id)]


def _make_stub(channel: grpc.aio.Channel) -> Any:
    from cogment_core.api.trial_datastore_pb2_grpc import TrialDatastoreSPStub

    return TrialDatastoreSPStub(channel)
