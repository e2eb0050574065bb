"""``export`` to a file of trials that ``import`` reads."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from importlib.metadata import version

from cogment_core.api.trial_datastore_pb2 import StoredTrialInfo
from cogment_core.errors import CogmentError
from cogment_datastore.trial_file import TrialFileWriter, make_header
from cogment_services.cli.client_datastore.outputs import Output
from cogment_services.cli.client_datastore.resume import FileProgress, read_progress, still_wanted
from cogment_services.cli.client_datastore.selection import Selection
from cogment_services.cli.client_datastore.store import TrialStore
from cogment_services.cli.progress import Advance, progress_bar
from cogment_services.cli.terminal import count_of

__all__ = ["Exported", "export_file"]


@dataclass(frozen=True)
class Exported:
    """What was exported."""

    trial_ids: list[str]
    """The trials."""
    samples: int
    """The number of their samples; of their rows, if there is one for each actor."""


async def export_file(
    store: TrialStore, infos: Sequence[StoredTrialInfo], selection: Selection, output: Output
) -> Exported:
    """Write trials as they are now, trial after trial.

    Args:
        store: The datastore.
        infos: The trials.
        selection: What was asked for.
        output: Where to write; what is there already is gone on with.

    Raises:
        UsageError: What is there already is not the beginning of this export.
        CogmentError: Not all of the samples came.
    """
    written = read_progress(output.stream) if output.is_resumed else FileProgress()
    if written.header is not None:
        infos = still_wanted(written.header, infos, are_named=bool(selection.trial_ids))
        writer = TrialFileWriter(output.stream, None)
    else:
        header = make_header({info.trial_id: info.params for info in infos}, version=version("cogment-services"))
        writer = TrialFileWriter(output.stream, header)
    with progress_bar("export", sum(info.samples_count for info in infos), "samples") as advance:
        advance(written.total)
        for info in infos:
            await _export_trial(store, info, selection, written, writer, advance)
    return Exported([info.trial_id for info in infos], advance.done)


async def _export_trial(
    store: TrialStore,
    info: StoredTrialInfo,
    selection: Selection,
    written: FileProgress,
    writer: TrialFileWriter,
    advance: Advance,
) -> None:
    done = written.samples_of(info.trial_id)
    position = 0
    if done >= info.samples_count:
        return
    async with aclosing(store.samples(info.trial_id, actor_classes=selection.actor_classes)) as samples:
        async for sample in samples:
            position += 1
            if position > done:
                writer.write(sample)
                advance()
            elif position == done:
                written.check_tick(info.trial_id, sample.tick_id)
            if position == info.samples_count:
                return
    raise CogmentError(
        f"the datastore gave {position:,} of the {count_of(info.samples_count, 'sample')} of trial {info.trial_id!r}: "
        "it was deleted, or its samples had to make room"
    )
