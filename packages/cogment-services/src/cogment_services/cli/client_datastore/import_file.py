"""``import`` of a file of trials."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

from cogment_core.api.common_pb2 import TrialParams
from cogment_core.errors import CogmentError, UsageError
from cogment_datastore.trial_file import MAGIC, TrialFileError, TrialFileReader
from cogment_services.cli.client_datastore.batches import Batches
from cogment_services.cli.client_datastore.store import TrialStore
from cogment_services.cli.progress import progress_bar
from cogment_services.cli.results import note
from cogment_services.cli.terminal import count_of

__all__ = ["ImportPlan", "import_trials", "opened", "plan_import"]


@contextmanager
def opened(path: str | None) -> Generator[BinaryIO, None, None]:
    """A file of trials, to be read more than once. The standard input, None, is copied to a temporary file first.

    Raises:
        UsageError: The standard input is a terminal.
        TrialFileError: It is no file of trials.
    """
    if path is not None and os.path.isfile(path):
        with open(path, "rb") as stream:
            yield stream
        return
    if path is None and sys.stdin.isatty():
        raise UsageError("name a --file, or send what another program exports to the input")
    with tempfile.TemporaryFile() as copy:
        if path is None:
            _copy(sys.stdin.buffer, copy)
        else:
            with open(path, "rb") as pipe:
                _copy(pipe, copy)
        copy.seek(0)
        yield copy


def _copy(pipe: BinaryIO, copy: BinaryIO) -> None:
    start = pipe.read(len(MAGIC))
    if start != MAGIC:  # not to be found out when the disk is full of it
        raise TrialFileError(f"this is no file of exported trials: it begins with {start!r}, not {MAGIC!r}", 0)
    copy.write(start)
    shutil.copyfileobj(pipe, copy)


@dataclass(frozen=True)
class ImportPlan:
    """What a file has, after it was read from its beginning to its end."""

    params: dict[str, TrialParams]
    """Parameters of the trials, by their ids in the file."""
    counts: dict[str, int]
    """The number of samples of each trial that has some, in the order of their first samples."""
    size: int
    """Bytes of the file."""


def plan_import(stream: BinaryIO) -> ImportPlan:
    """Read a file and check all of it, so that what is imported is known to be whole.

    Raises:
        TrialFileError: It is no file of trials, or damaged.
    """
    size = stream.seek(0, 2)
    stream.seek(0)
    reader = TrialFileReader(stream)
    params = dict(reader.header.trial_params)
    counts: dict[str, int] = {}
    with progress_bar("check", size, "bytes") as advance:
        start = reader.offset
        for sample in reader:
            if sample.trial_id not in params:
                raise TrialFileError(f"the header has no parameters of trial {sample.trial_id!r}", start)
            counts[sample.trial_id] = counts.get(sample.trial_id, 0) + 1
            start = reader.offset
            advance(start - advance.done)
    return ImportPlan(params, counts, size)


async def import_trials(
    store: TrialStore, stream: BinaryIO, plan: ImportPlan, *, prefix: str, user_id: str, resume: bool
) -> dict[str, int]:
    """Add the trials of a file to a datastore: each of them whole, or not at all.

    Args:
        store: The datastore.
        stream: The file.
        plan: What it has.
        prefix: What their ids begin with in the datastore.
        user_id: Whose trials they are.
        resume: Whether to leave out those that are there already, with as many samples.

    Returns:
        The number of samples of each trial that was added, by its id in the datastore.

    Raises:
        UsageError: Trials of the file are there already; nothing was added.
        CogmentError: The datastore did not take all of it; the message says what is there.
    """
    there = await _already_there(store, plan, prefix, resume=resume)
    wanted = {trial_id: count for trial_id, count in plan.counts.items() if trial_id not in there}
    batches = Batches(store, plan.params, wanted, prefix=prefix, user_id=user_id)
    stream.seek(0)
    reader = TrialFileReader(stream)
    try:
        with progress_bar("import", plan.size, "bytes") as advance:
            for sample in reader:
                if sample.trial_id in wanted:
                    await batches.add(sample)
                advance(reader.offset - advance.done)
            await batches.flush()
    except BaseException as error:
        left = await _taken_back(store, batches)
        note(_what_is_left(batches, len(wanted), left))
        raise error
    return {prefix + trial_id: count for trial_id, count in wanted.items()}


async def _already_there(store: TrialStore, plan: ImportPlan, prefix: str, *, resume: bool) -> set[str]:
    """The trials of the file, by their ids in it, that are in the datastore with all their samples."""
    there: set[str] = set()
    if not plan.counts:
        return there  # without ids, all trials of the datastore would be meant
    async for info in store.trials([prefix + trial_id for trial_id in plan.counts]):
        trial_id = info.trial_id.removeprefix(prefix)
        if not resume:
            raise UsageError(
                f"the datastore has a trial {info.trial_id!r} already, so nothing was imported; --resume imports the "
                "others, --prefix gives new names to all"
            )
        if info.samples_count != plan.counts[trial_id] or info.params != plan.params[trial_id]:
            raise UsageError(
                f"trial {info.trial_id!r} in the datastore is not the one in the file: it has "
                f"{count_of(info.samples_count, 'sample')}, not {plan.counts[trial_id]:,}, or other parameters; "
                "nothing was imported; delete it first, or use --prefix"
            )
        there.add(trial_id)
    if there:
        note(f"{count_of(len(there), 'trial')} left out: already there, with all samples")
    return there


async def _taken_back(store: TrialStore, batches: Batches) -> list[str]:
    """Delete what is there of trials that are not whole. Returns those for which that failed."""
    incomplete = batches.incomplete
    try:
        if incomplete:
            await store.delete(incomplete)
    except CogmentError:
        return incomplete
    return []


def _what_is_left(batches: Batches, wanted: int, left: list[str]) -> str:
    done = f"{len(batches.complete):,} of {count_of(wanted, 'trial')} imported"
    if not left:
        return f"{done}, the others not at all; the same command with --resume imports these"
    return (
        f"{done}; in part: {', '.join(left)}. Delete those (cogment client trial_datastore delete_trials "
        f"{' '.join(left)}); then the same command with --resume imports all that is missing"
    )
