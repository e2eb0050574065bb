"""``export``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogment_core.api.trial_datastore_pb2 import StoredTrialInfo
from cogment_core.errors import UsageError
from cogment_services.cli.client_datastore.export_file import export_file
from cogment_services.cli.client_datastore.outputs import FileOutput, StreamOutput, as_output
from cogment_services.cli.client_datastore.selection import Selection, select
from cogment_services.cli.client_datastore.store import Place, TrialStore, open_store
from cogment_services.cli.client_options import ClientOptions
from cogment_services.cli.results import tell
from cogment_services.cli.terminal import bytes_text, count_of

if TYPE_CHECKING:
    from cogment_services.cli.client_datastore.export_data import DataExport

__all__ = ["Target", "export"]


@dataclass(frozen=True)
class Target:
    """What to write, and where."""

    file: str | None
    """Where; None or ``-`` for the standard output."""
    kind: str
    """What: ``cogment``, ``jsonl``, ``parquet`` or ``minari``."""
    cog_settings: str | None = None
    """The specs, to write data by field."""
    dataset_id: str | None = None
    """Id of Minari datasets."""
    leave_out: Sequence[str] = ()
    """Fields that are not to be in Minari datasets."""
    skip_incomplete: bool = False
    """Whether to leave out trials with gaps in Minari datasets."""
    max_episode_steps: int = 0
    """After how many steps environments end every episode of Minari datasets; 0 if they do not."""
    force: bool = False
    """Whether to replace what is there."""
    resume: bool = False
    """Whether to go on with what is there."""

    def check(self) -> None:
        """Check that all of this goes together.

        Raises:
            UsageError: It does not.
        """
        is_minari = self.kind == "minari"
        if self.resume and self.kind != "cogment":
            raise UsageError("--resume is for --format cogment only")
        if is_minari and (not self.dataset_id or not self.cog_settings or self.file):
            raise UsageError("--format minari needs --dataset_id and --cog_settings, and no --file: Minari has a place")
        if not is_minari and (self.dataset_id or self.leave_out or self.skip_incomplete or self.max_episode_steps):
            options = "--dataset_id, --leave_out, --skip_incomplete and --max_episode_steps"
            raise UsageError(f"{options} are for --format minari only")
        if self.kind == "cogment" and self.cog_settings:
            raise UsageError("--cog_settings is for other formats than cogment: trials are written as they are stored")

    def output(self) -> FileOutput | StreamOutput:
        """Where to write.

        Raises:
            UsageError: There is something already, or it is no place for this.
        """
        output = as_output(
            self.file,
            force=self.force,
            resume=self.resume,
            is_resumable=self.kind == "cogment",
            is_text=self.kind == "jsonl",
        )
        if self.kind == "parquet" and not isinstance(output, FileOutput):
            raise UsageError("--format parquet needs a --file")
        return output


async def export(place: Place, options: ClientOptions, selection: Selection, target: Target) -> None:
    """Write trials as they are now.

    Args:
        place: Where the datastore is.
        options: How to wait, and how to tell.
        selection: The trials.
        target: Where and what to write.

    Raises:
        UsageError: What was asked for makes no sense, or is not there.
        CogmentError: Not all of it could be written.
    """
    from cogment_services.cli.client_datastore.export_data import DataExport, load_specs

    target.check()
    output = None if target.kind == "minari" else target.output()
    specs = load_specs(target.cog_settings) if target.cog_settings else None
    async with open_store(place, options.timeout, specs) as store:
        infos = await select(store, selection)
        if output is not None and target.kind == "cogment":
            await _export_file(store, infos, selection, output, as_json=options.as_json)
            return
        data = DataExport(store, infos, selection.actor_classes, options.timeout)
        if output is None:
            await _export_minari(data, infos, target, as_json=options.as_json)
        else:
            await _export_rows(data, infos, output, target.kind, as_json=options.as_json)


async def _export_file(
    store: TrialStore,
    infos: Sequence[StoredTrialInfo],
    selection: Selection,
    output: FileOutput | StreamOutput,
    *,
    as_json: bool,
) -> None:
    with output:
        done = await export_file(store, infos, selection, output)
    _tell(output, done.trial_ids, count_of(done.samples, "sample"), as_json=as_json)


async def _export_rows(
    data: DataExport,
    infos: Sequence[StoredTrialInfo],
    output: FileOutput | StreamOutput,
    kind: str,
    *,
    as_json: bool,
) -> None:
    if kind == "parquet" and output.path is not None:
        rows = await data.parquet(output.path)
    else:
        rows = await data.jsonl(output)
    _tell(output, [info.trial_id for info in infos], count_of(rows, "row"), as_json=as_json)


async def _export_minari(data: DataExport, infos: Sequence[StoredTrialInfo], target: Target, *, as_json: bool) -> None:
    datasets = await data.minari(
        target.dataset_id or "",
        target.leave_out,
        skip_incomplete=target.skip_incomplete,
        max_episode_steps=target.max_episode_steps,
    )
    message = f"{count_of(len(infos), 'trial')} exported to {', '.join(datasets) or 'no dataset: no episode is whole'}"
    tell(as_json, message, trial_ids=[info.trial_id for info in infos], datasets=datasets)


def _tell(output: FileOutput | StreamOutput, trial_ids: list[str], amount: str, *, as_json: bool) -> None:
    """Tell what was written, unless it was written where this would go, too."""
    if output.path is None:
        return
    message = f"{count_of(len(trial_ids), 'trial')} with {amount} exported to {output.path}"
    size = f" ({bytes_text(output.size)})" if output.size else ""
    tell(as_json, message + size, trial_ids=trial_ids, filepath=str(output.path), bytes=output.size)
