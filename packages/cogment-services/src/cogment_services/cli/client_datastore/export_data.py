"""``export`` as data for training: JSON Lines, Parquet, Minari datasets."""

from __future__ import annotations

import importlib
import io
import sys
import warnings
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cogment_core.api.trial_datastore_pb2 import StoredTrialInfo
from cogment_core.errors import UsageError
from cogment_datastore.datastore import Datastore, connect
from cogment_datastore.exports.selection import Selection as DataSelection
from cogment_services.cli.client_datastore.outputs import FileOutput, StreamOutput
from cogment_services.cli.client_datastore.store import TrialStore
from cogment_services.cli.patience import Patience
from cogment_services.cli.progress import progress_bar

if TYPE_CHECKING:
    from cogment_core.specs import CogSettings

__all__ = ["DataExport", "load_specs"]

Write = Callable[..., Awaitable[Any]]


class DataExport:
    """Writes the samples of trials as data for training.

    Args:
        store: The datastore; its Context knows the specs, if anybody does.
        infos: The trials.
        actor_classes: The actors of interest; all if empty.
        timeout: Seconds to wait for each sample.
    """

    def __init__(
        self, store: TrialStore, infos: Sequence[StoredTrialInfo], actor_classes: Sequence[str], timeout: float
    ) -> None:
        self._datastore: Datastore = connect(store.context, store.endpoint)
        self._selection = DataSelection([info.trial_id for info in infos], actor_classes=actor_classes)
        self._total = sum(info.samples_count for info in infos)
        self._timeout = timeout

    async def jsonl(self, output: FileOutput | StreamOutput) -> int:
        """Write JSON Lines. Returns how many."""
        from cogment_datastore.exports.jsonl import write_jsonl

        with output:
            text = io.TextIOWrapper(output.stream, encoding="utf-8", newline="\n")
            try:
                rows: int = await self._run(write_jsonl, text)
            finally:
                text.detach()  # the stream is the output's to close
        return rows

    async def parquet(self, path: Path) -> int:
        """Write a Parquet file. Returns how many rows."""
        from cogment_datastore.exports.parquet import write_parquet

        rows: int = await self._run(write_parquet, path)
        return rows

    async def minari(
        self, dataset_id: str, leave_out: Sequence[str], *, skip_incomplete: bool, max_episode_steps: int
    ) -> list[str]:
        """Write Minari datasets. Returns their ids."""
        from cogment_datastore.exports.minari import write_minari

        with warnings.catch_warnings():
            # Minari advises the author of a program, whom the user of a command is not.
            warnings.filterwarnings("ignore", module=r"minari\b")
            ids: list[str] = await self._run(
                write_minari,
                dataset_id,
                leave_out=leave_out,
                skip_incomplete=skip_incomplete,
                max_episode_steps=max_episode_steps,
            )
        return ids

    async def _run(self, write: Write, target: Any, **options: Any) -> Any:
        with progress_bar("export", self._total, "samples") as advance:
            async with Patience(self._timeout, "a sample") as patience:

                def progress(done: int, _: int) -> None:
                    patience.renew()
                    advance(done - advance.done)

                return await write(self._datastore, target, self._selection, progress=progress, **options)


def load_specs(place: str) -> CogSettings:
    """The specs in a module that the generator made.

    Args:
        place: Path of the file, or name of the module.

    Raises:
        UsageError: It cannot be imported, or has no specs.
    """
    name = place
    if place.endswith(".py"):
        path = Path(place).absolute()
        name = path.stem
        sys.path.insert(0, str(path.parent))  # where the modules of its messages are, too
    try:
        module = importlib.import_module(name)
    except Exception as error:  # whatever the modules of a user raise
        raise UsageError(f"--cog_settings: {place} cannot be imported: {error}") from error
    if not hasattr(module, "actor_classes"):
        raise UsageError(f"--cog_settings: {place} is not what cogment.generate makes of a spec file")
    return cast("CogSettings", module)
