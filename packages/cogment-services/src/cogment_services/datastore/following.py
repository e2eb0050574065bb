"""Samples for a reader: those that are there, then those to come, until the trials are over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from cogment_core.api.common_pb2 import TrialParams
from cogment_core.api.trial_datastore_pb2 import RetrieveSamplesRequest
from cogment_services.datastore.answers import no_trial
from cogment_services.datastore.archive import Archive
from cogment_services.datastore.news import Follower
from cogment_services.datastore.selection import check_fields, selection
from cogment_services.datastore.store import DamageError, SamplePage, TrialGoneError, TrialQuery

__all__ = ["send_samples"]

NAMED = 20
"""How many damaged samples an error names."""

Send = Callable[[Sequence[bytes]], Awaitable[None]]
"""Sends serialized ``StoredTrialSample`` to the reader."""


@dataclass
class _Reading:
    """How far a reader is in one trial."""

    trial_id: str
    number: int
    select: Callable[[bytes], bytes] | None
    position: int = -1
    count: int = 0


async def send_samples(archive: Archive, request: RetrieveSamplesRequest, send: Send) -> None:
    """Send what was asked for, at the pace of the reader.

    All that can be read is sent, also when something else cannot be.

    Raises:
        CogmentError: The request makes no sense, or something that it asks for cannot be read.
    """
    check_fields(request)
    readings = await _readings(archive, request)
    problems: list[str] = []
    gone: list[str] = []
    with archive.news.follow(readings) as follower:
        while readings:
            number = await _next(follower)
            reading = readings.get(number)
            if reading is None:
                continue
            try:
                if await _send_page(archive, reading, follower, send, problems):
                    del readings[number]
            except TrialGoneError:
                gone.append(reading.trial_id)
                del readings[number]
    _raise(problems, gone)


async def _readings(archive: Archive, request: RetrieveSamplesRequest) -> dict[int, _Reading]:
    """The trials that were asked for, by number."""
    if not request.trial_ids:
        return {}
    page = await archive.find(TrialQuery(request.trial_ids))
    if page.damaged:
        raise DamageError(f"trial [{page.damaged[0]}] is damaged on the disk")
    found = {trial.trial_id: trial for trial in page.trials}
    for trial_id in request.trial_ids:
        if trial_id not in found:
            raise no_trial(trial_id)
    return {
        trial.number: _Reading(trial.trial_id, trial.number, selection(request, TrialParams.FromString(trial.params)))
        for trial in page.trials
    }


async def _next(follower: Follower) -> int:
    """Number of a trial that there may be something new in."""
    while not follower.changed:
        follower.event.clear()
        await follower.event.wait()
    return follower.changed.pop()


async def _send_page(archive: Archive, reading: _Reading, follower: Follower, send: Send, problems: list[str]) -> bool:
    """Send some samples of one trial. Returns whether these were the last ones."""
    page = await archive.read(reading.number, reading.position, reading.select)
    await send(page.samples)
    archive.metrics.sent(len(page.samples))
    reading.position = page.last
    reading.count += len(page.samples) + len(page.damaged)
    problems += [f"trial [{reading.trial_id}], {what}" for what in page.damaged[:NAMED]]
    if page.full:
        follower.tell(reading.number)
        return False
    if not page.over and not page.broken:
        return False
    await _check_count(archive, reading, page, problems)
    return True


async def _check_count(archive: Archive, reading: _Reading, page: SamplePage, problems: list[str]) -> None:
    """A damaged file may have lost samples without any other sign."""
    if not page.broken and reading.count < page.expected and (missing := await archive.missing(reading.number)) > 0:
        problems.append(f"trial [{reading.trial_id}], {missing} of {page.expected} samples that cannot be found")


def _raise(problems: Sequence[str], gone: Sequence[str]) -> None:
    if problems:
        more = f" and {len(problems) - NAMED} more" if len(problems) > NAMED else ""
        raise DamageError(f"damaged on the disk, all else was sent: {'; '.join(problems[:NAMED])}{more}")
    if gone:
        ids = ", ".join(f"[{trial_id}]" for trial_id in gone[:NAMED])
        raise TrialGoneError(f"the samples of {len(gone)} trials are not there any more: {ids}")
