"""Find trials in a Trial Datastore, read their samples, and delete them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from grpc import StatusCode

from cogment_core.api import common_pb2, trial_datastore_pb2
from cogment_core.checks import as_whole
from cogment_core.client import AwaitableClient, RemoteService
from cogment_core.endpoints import ServiceType
from cogment_core.errors import ProtocolError, RpcError, UsageError
from cogment_core.logs import logger
from cogment_core.rpc import UNARY_TIMEOUT
from cogment_datastore.requests import as_milliseconds, checked_ids, samples_request, trials_request
from cogment_datastore.sample import DatastoreSample
from cogment_datastore.trial_info import DatastoreTrialInfo

if TYPE_CHECKING:
    import grpc.aio

    from cogment_core.client import ClientContext
    from cogment_core.endpoints import Endpoint
    from cogment_core.specs import CogSettings
    from cogment_datastore.fields import DatastoreFields

__all__ = ["Datastore", "connect"]

SelfT = TypeVar("SelfT", bound="Datastore")

_as_bundle_size = as_whole(1, 2**32 - 1)
_ENDED = common_pb2.TrialState.ENDED
_BUNDLE = 500
"""How many trials to ask for at a time: a reply with all that a datastore has may be too large to be sent."""
_NAMED = 5
"""How many trials a warning names."""


class Datastore(AwaitableClient):
    """Reads the trials of one Trial Datastore.

    Made by ``Context.get_datastore``, or by `connect`. Nothing is sent before the first call. Every call raises an
    `RpcError` when it fails; those that only ask can simply be made again. ``async with`` closes it at the end, which
    is not needed: connections are the Context's.

    Args:
        context: The Context on whose behalf trials are read.
        endpoint: Where the Trial Datastore is.

    Raises:
        UsageError: ``endpoint`` is no `Endpoint`.
    """

    def __init__(self, context: ClientContext, endpoint: Endpoint) -> None:
        self._settings = context.settings
        self._closed = False
        self._service = RemoteService(
            context, endpoint, ServiceType.DATASTORE, "cogmentAPI.TrialDatastoreSP", _make_stub
        )

    def __repr__(self) -> str:
        return f"Datastore({self._service.target!r})"

    async def __aenter__(self: SelfT) -> SelfT:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the client: later calls are refused with a `UsageError`, and so is going on with an iteration."""
        self._closed = True

    def has_specs(self) -> bool:
        """Whether the specs are known, which observations, actions and configs need."""
        return self._settings is not None

    @property
    def settings(self) -> CogSettings | None:
        """The specs, None if they are not known."""
        return self._settings

    async def get_trials(
        self,
        ids: Iterable[str] = (),
        properties: Mapping[str, str] | None = None,
        *,
        wait_for_trials: float = 0,
        timeout: float = UNARY_TIMEOUT,
    ) -> list[DatastoreTrialInfo]:
        """Ask for trials, all at once.

        Args:
            ids: The trials to choose from; all if empty.
            properties: Properties that the parameters of the trials have to have, with these values.
            wait_for_trials: Seconds to wait for trials that are not there yet: for all of ``ids``, or, if that is
                empty, for at least one.
            timeout: Seconds until `DeadlineError`, besides those to wait.

        Returns:
            The trials that there are, in the order in which they were created. They may be running.

        Raises:
            UsageError: An argument is wrong.
            RpcError: The datastore could not be asked, or its answer was lost.
        """
        wanted = checked_ids(ids, "get_trials")
        wait = as_milliseconds(wait_for_trials)
        waits = wait and wanted
        request = trials_request(wanted, properties, count=len(wanted) if waits else _BUNDLE, wait=wait if waits else 0)
        found = await self._all_pages(request, timeout)
        if not found and wait and not wanted:
            await self._retrieve(trials_request([], properties, count=1, wait=wait), timeout)
            found = await self._all_pages(request, timeout)
        return found

    async def all_trials(
        self,
        bundle_size: int = 1,
        wait_for_trials: float = 0,
        properties: Mapping[str, str] | None = None,
        ids: Iterable[str] = (),
        *,
        timeout: float = UNARY_TIMEOUT,
    ) -> AsyncGenerator[DatastoreTrialInfo, None]:
        """Iterate over trials, in the order in which they were created.

        Args:
            bundle_size: How many to ask for at a time: more are faster, and take more memory.
            wait_for_trials: Seconds to wait for new trials each time that there are fewer than ``bundle_size``. The
                iteration ends when none came in that time.
            properties: Properties that the parameters of the trials have to have, with these values.
            ids: The trials to choose from; all if empty. The iteration ends once there were all of them.
            timeout: Seconds until `DeadlineError` for each bundle, besides those to wait.

        Yields:
            A trial. It may be running.

        Raises:
            UsageError: An argument is wrong.
            RpcError: The datastore could not be asked, or its answer was lost.
        """
        count = _as_bundle_size("bundle_size", bundle_size)
        request = trials_request(
            checked_ids(ids, "all_trials"), properties, count=count, wait=as_milliseconds(wait_for_trials)
        )
        async with aclosing(self._pages(request, timeout)) as pages:
            async for page in pages:
                for info in page:
                    yield info

    async def delete_trials(self, ids: Iterable[str], *, timeout: float = UNARY_TIMEOUT) -> None:
        """Delete trials, with all their samples. Trials that are not there are left out silently.

        Args:
            ids: The trials, at least one.
            timeout: Seconds until `DeadlineError`.

        Raises:
            UsageError: There is no trial id, or something that is none.
            RpcError: The datastore could not be asked, or its answer was lost.
        """
        chosen = checked_ids(ids, "delete_trials")
        if not chosen:
            raise UsageError("delete_trials needs at least one trial id")
        await self._call("DeleteTrials", trial_datastore_pb2.DeleteTrialsRequest(trial_ids=chosen), timeout)

    async def all_samples(
        self,
        trial_infos: Iterable[DatastoreTrialInfo],
        actor_names: Iterable[str] = (),
        actor_classes: Iterable[str] = (),
        actor_implementations: Iterable[str] = (),
        fields: Iterable[DatastoreFields] = (),
    ) -> AsyncGenerator[DatastoreSample, None]:
        """Iterate over the samples of trials, from their beginning; trials that run are followed until they end.

        The samples of a trial come in order; those of several trials can be mixed. They are read as fast as they are
        taken, and not kept. The iteration ends when the datastore says that this was all; whatever else ends it is an
        error. Leaving the loop, or closing the generator, stops reading.

        Args:
            trial_infos: The trials, at least one, as `get_trials` and `all_trials` give them.
            actor_names: Names of the actors to have in the samples; all if empty.
            actor_classes: Classes of the actors to have in the samples; all if empty.
            actor_implementations: Implementations of the actors to have in the samples; all if empty.
            fields: The data to have about each actor; all if empty.

        Yields:
            A sample. There is one for each tick, even if it has none of the actors.

        Raises:
            UsageError: There are no trials, or an argument is wrong.
            UnavailableError: The datastore cannot be reached, or the connection was lost: samples are missing.
            RpcError: The datastore broke off, for example because there is no such trial: samples are missing.
            ProtocolError: The datastore sent something that was not asked for.
        """
        infos = list(trial_infos)
        request = samples_request(infos, actor_names, actor_classes, actor_implementations, fields)
        rosters = {info.trial_id: info.roster for info in infos}
        running = set(rosters)
        self._check_open()
        async with aclosing(self._service.iterate("RetrieveSamples", request)) as replies:
            async for reply in replies:
                proto: trial_datastore_pb2.StoredTrialSample = reply.trial_sample
                roster = rosters.get(proto.trial_id)
                if roster is None:
                    raise self._broken(f"sent a sample of trial {proto.trial_id!r}, which was not asked for")
                if proto.state == _ENDED:
                    running.discard(proto.trial_id)
                yield DatastoreSample(roster, proto)
                self._check_open()
        self._warn_of_open_ends(running)

    async def get_remote_versions(self, *, timeout: float = UNARY_TIMEOUT) -> dict[str, str]:
        """Ask for the versions of the datastore's components, by name.

        Args:
            timeout: Seconds until `DeadlineError`.

        Raises:
            RpcError: The datastore could not be asked, or its answer was lost.
        """
        info: common_pb2.VersionInfo = await self._call("Version", common_pb2.VersionRequest(), timeout)
        return {component.name: component.version for component in info.versions}

    async def _all_pages(
        self, request: trial_datastore_pb2.RetrieveTrialsRequest, timeout: float
    ) -> list[DatastoreTrialInfo]:
        async with aclosing(self._pages(request, timeout, wait_once=True)) as pages:
            return [info async for page in pages for info in page]

    async def _pages(
        self, request: trial_datastore_pb2.RetrieveTrialsRequest, timeout: float, *, wait_once: bool = False
    ) -> AsyncGenerator[list[DatastoreTrialInfo], None]:
        """What answers ``request``, to the last page: an empty one, or the one that completes the ids asked for.

        A page with fewer trials than asked for is not the last: servers limit the size of a page, or the time ran out.
        """
        missing = set(request.trial_ids)
        while True:
            try:
                reply = await self._retrieve(request, timeout)
            except RpcError as error:
                if error.code() is not StatusCode.RESOURCE_EXHAUSTED or request.trials_count <= 1:
                    raise
                # So many fit into no message.
                request, wait_once = _changed(request, trials_count=request.trials_count // 2), False
                continue
            if not reply.trial_infos:
                return
            yield [DatastoreTrialInfo(info, self._settings) for info in reply.trial_infos]
            missing.difference_update(info.trial_id for info in reply.trial_infos)
            if not reply.next_trial_handle or (request.trial_ids and not missing):
                return
            if reply.next_trial_handle == request.trial_handle:
                raise self._broken(f"goes on after trial {request.trial_handle} with the same trials again")
            wait = 0 if wait_once else request.timeout
            request = _changed(request, trial_handle=reply.next_trial_handle, timeout=wait)

    async def _retrieve(
        self, request: trial_datastore_pb2.RetrieveTrialsRequest, timeout: float
    ) -> trial_datastore_pb2.RetrieveTrialsReply:
        reply: trial_datastore_pb2.RetrieveTrialsReply = await self._call(
            "RetrieveTrials", request, timeout + request.timeout / 1000
        )
        return reply

    async def _call(self, method: str, request: Any, timeout: float) -> Any:
        self._check_open()
        return await self._service.call(method, request, timeout=timeout)

    def _check_open(self) -> None:
        if self._closed:
            raise UsageError(f"this client of the datastore at {self._service.target} is closed")

    def _broken(self, what: str) -> ProtocolError:
        return ProtocolError(f"the datastore at {self._service.target} {what}")

    def _warn_of_open_ends(self, trial_ids: set[str]) -> None:
        if trial_ids:
            shown = ", ".join(sorted(trial_ids)[:_NAMED])
            logger.warning(
                "the datastore at %s has no last sample of %d of the trials (%s%s): their logs were cut short, or they "
                "were deleted",
                self._service.target,
                len(trial_ids),
                shown,
                ", ..." if len(trial_ids) > _NAMED else "",
            )


def connect(context: ClientContext, endpoint: Endpoint) -> Datastore:
    """Make the client of the Trial Datastore at ``endpoint``.

    Args:
        context: The Context that the client belongs to: it calls with its metadata, over its channels.
        endpoint: Where the Trial Datastore is. Nothing is sent there before the client's first call.
    """
    return Datastore(context, endpoint)


def _changed(
    request: trial_datastore_pb2.RetrieveTrialsRequest, **changes: Any
) -> trial_datastore_pb2.RetrieveTrialsRequest:
    # Another message: a server in process has been given this one itself.
    result = trial_datastore_pb2.RetrieveTrialsRequest()
    result.CopyFrom(request)
    for name, value in changes.items():
        setattr(result, name, value)
    return result


def _make_stub(channel: grpc.aio.Channel) -> Any:
    # Only needed once something is called, and then soon loaded.
    from cogment_core.api.trial_datastore_pb2_grpc import TrialDatastoreSPStub

    return TrialDatastoreSPStub(channel)
