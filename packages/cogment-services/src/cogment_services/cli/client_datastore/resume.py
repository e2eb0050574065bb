"""What a file of trials has already, for an export that goes on with it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import BinaryIO

from cogment_core.api.trial_datastore_pb2 import StoredTrialInfo, TrialSamplesFileHeader
from cogment_core.errors import UsageError
from cogment_datastore.trial_file import MAGIC, RECORD_LIMIT, TrialFileError, TrialFileReader
from cogment_services.cli.progress import progress_bar
from cogment_services.cli.results import note
from cogment_services.cli.terminal import count_of

__all__ = ["FileProgress", "read_progress", "still_wanted"]


@dataclass
class FileProgress:
    """What is written already."""

    header: TrialSamplesFileHeader | None = None
    """The header; None if it is not."""
    total: int = 0
    """How many samples are."""
    trials: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """How many samples of each trial are, and the tick of the last one."""

    def samples_of(self, trial_id: str) -> int:
        """How many samples of a trial are written."""
        return self.trials.get(trial_id, (0, 0))[0]

    def check_tick(self, trial_id: str, tick: int) -> None:
        """Check that the last sample of a trial that is written is the one that the datastore has in its place.

        Raises:
            UsageError: It is another one.
        """
        expected = self.trials[trial_id][1]
        if tick != expected:
            raise UsageError(
                f"the samples of trial {trial_id!r} in the file are not those in the datastore: tick {expected} is "
                f"where tick {tick} should be; export anew, with --force"
            )


def read_progress(stream: BinaryIO) -> FileProgress:
    """Read what ``stream`` has, and leave it where the next record has to be written.

    A last record that is cut short is dropped.

    Raises:
        TrialFileError: It is something else, or damaged elsewhere than at its end.
    """
    size = os.fstat(stream.fileno()).st_size
    if _is_before_the_header(stream, size):
        return FileProgress()
    reader = TrialFileReader(stream)
    written = FileProgress(reader.header)
    with progress_bar("read what is there", size, "bytes") as advance:
        try:
            for sample in reader:
                count = written.samples_of(sample.trial_id) + 1
                written.trials[sample.trial_id] = (count, sample.tick_id)
                written.total += 1
                advance(reader.offset - advance.done)
        except TrialFileError:
            if stream.tell() < size:  # there is more: it was not cut short here
                raise
    stream.seek(reader.offset)
    stream.truncate()
    return written


def _is_before_the_header(stream: BinaryIO, size: int) -> bool:
    """Whether an export was cut short before its header was whole. Leaves ``stream`` at its beginning, emptied then."""
    start = stream.read(len(MAGIC) + 4)
    stream.seek(0)
    length = int.from_bytes(start[len(MAGIC) :], "little")
    is_short = len(start) < len(MAGIC) + 4 or size < len(start) + length <= RECORD_LIMIT
    if is_short and start[: len(MAGIC)] == MAGIC[: len(start)]:
        stream.truncate()
        return True
    return False


def still_wanted(
    header: TrialSamplesFileHeader, infos: Sequence[StoredTrialInfo], *, are_named: bool
) -> list[StoredTrialInfo]:
    """Those of ``infos`` that an export with this header is of.

    Args:
        header: What the file begins with.
        infos: The trials that were asked for.
        are_named: Whether each of them was asked for by its id, and not for what it is like.

    Raises:
        UsageError: Trials of the file are not among them, or have other parameters now; or one that is named is not in
            the file.
    """
    found = {info.trial_id: info for info in infos}
    gone = sorted(header.trial_params.keys() - found.keys())
    new = sorted(found.keys() - header.trial_params.keys())
    changed = sorted(key for key, params in header.trial_params.items() if key in found and found[key].params != params)
    for trial_ids, what in ((gone, "has another trial"), (changed, "has other parameters of trial")):
        if trial_ids:
            raise UsageError(f"--resume goes on with an export of the same trials, but the file {what}: {trial_ids[0]}")
    if new and are_named:
        raise UsageError(f"--resume goes on with an export of the same trials, but the file has no trial {new[0]}")
    if new:
        note(f"{count_of(len(new), 'trial')} left out that the export that is gone on with does not have")
    return [info for info in infos if info.trial_id in header.trial_params]
