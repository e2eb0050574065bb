"""Finding trials for a client: page by page, waiting for those to come if it wants."""

from __future__ import annotations

import asyncio

import grpc

from cogment_core.api.common_pb2 import ENDED, TrialParams, TrialState
from cogment_core.api.trial_datastore_pb2 import RetrieveTrialsReply, RetrieveTrialsRequest, StoredTrialInfo
from cogment_core.channels import MESSAGE_LIMIT
from cogment_core.errors import UsageError
from cogment_core.logs import logger
from cogment_services.datastore.archive import Archive
from cogment_services.datastore.store import DamageError, TrialQuery, TrialRecord
from cogment_services.refusals import Refusal

__all__ = ["list_trials"]

MAX_REPLY = MESSAGE_LIMIT // 2
"""Bytes of parameters in one reply."""

MAX_POSITION = (1 << 63) - 1

MAX_PROPERTIES = 100
"""Properties that trials can be searched for at a time."""


async def list_trials(archive: Archive, request: RetrieveTrialsRequest) -> RetrieveTrialsReply:
    """The trials that were asked for.

    Raises:
        CogmentError: The request makes no sense, or what it asks for cannot be read or sent.
    """
    if len(request.properties) > MAX_PROPERTIES:
        raise UsageError(f"{len(request.properties)} properties to search for; at most {MAX_PROPERTIES} at a time")
    position = _position(request.trial_handle)
    wanted = _wanted(request)
    found: list[TrialRecord] = []
    deadline = asyncio.get_running_loop().time() + request.timeout / 1000
    with archive.news.new_trials() as news:
        while True:
            news.clear()
            found += await _page(archive, request, found[-1].number if found else position, len(found))
            patience = deadline - asyncio.get_running_loop().time()
            if not request.timeout or (wanted and len(found) >= wanted) or patience <= 0:
                break
            try:
                await asyncio.wait_for(news.wait(), patience)
            except asyncio.TimeoutError:
                break
    handle = found[-1].number if found else position
    return RetrieveTrialsReply(trial_infos=[_info(trial) for trial in found], next_trial_handle=str(handle))


def _position(handle: str) -> int:
    try:
        return min(max(0, int(handle or "0", 10)), MAX_POSITION)
    except ValueError:
        raise UsageError(
            f"trial_handle {handle[:50]!r} is none: it is empty, or what a reply had as next_trial_handle"
        ) from None


def _wanted(request: RetrieveTrialsRequest) -> int:
    """How many trials to wait for; 0 for as many as there are."""
    counts = [count for count in (request.trials_count, len(set(request.trial_ids))) if count]
    return min(counts, default=0)


async def _page(archive: Archive, request: RetrieveTrialsRequest, after: int, before: int) -> list[TrialRecord]:
    """The trials after a position, when so many were found before."""
    count = request.trials_count
    if count and before >= count:
        return []
    query = TrialQuery(
        request.trial_ids, dict(request.properties), after, count - before if count else 0, max_bytes=MAX_REPLY
    )
    page = await archive.find(query)
    if page.damaged:
        logger.error("datastore: trials are damaged on the disk: %s", ", ".join(page.damaged[:20]))
        if request.trial_ids:
            raise DamageError(f"trial [{page.damaged[0]}] is damaged on the disk")
    if page.full and len(page.trials) != query.count:
        raise Refusal(
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            f"the parameters of these trials have more than {MAX_REPLY} bytes: ask for fewer than "
            f"{len(page.trials) + 1} at a time (trials_count), and go on with next_trial_handle",
        )
    return list(page.trials)


def _info(trial: TrialRecord) -> StoredTrialInfo:
    state = trial.last_state if trial.end_reason is None else ENDED
    return StoredTrialInfo(
        trial_id=trial.trial_id,
        last_state=state if state in TrialState.values() else TrialState.UNKNOWN,  # type: ignore[arg-type]
        user_id=trial.user_id,
        samples_count=trial.samples_count,
        params=TrialParams.FromString(trial.params),
    )
