"""``import``."""

from __future__ import annotations

import os

from cogment_services.cli.client_datastore.import_file import import_trials, opened, plan_import
from cogment_services.cli.client_datastore.store import Place, open_store
from cogment_services.cli.client_options import ClientOptions
from cogment_services.cli.interrupts import run_interruptible
from cogment_services.cli.results import tell
from cogment_services.cli.terminal import count_of

__all__ = ["import_"]


def import_(place: Place, options: ClientOptions, file: str | None, *, prefix: str, user_id: str, resume: bool) -> None:
    """Add the trials of a file to a datastore.

    Args:
        place: Where the datastore is.
        options: How to wait, and how to tell.
        file: The file; None or ``-`` for the standard input.
        prefix: What to put before the ids of the trials.
        user_id: Whose trials they are to be.
        resume: Whether to leave out trials that are there already.
    """
    path = _path(file)
    with opened(path) as stream:
        plan = plan_import(stream)

        async def add() -> dict[str, int]:
            async with open_store(place, options.timeout) as store:
                return await import_trials(store, stream, plan, prefix=prefix, user_id=user_id, resume=resume)

        # Only now, as within an event loop Ctrl-C would be noticed when the whole file has been read.
        counts = run_interruptible(add())
    total = sum(counts.values())
    tell(
        options.as_json,
        f"{count_of(len(counts), 'trial')} with {count_of(total, 'sample')} imported",
        samples_count=total,
        trials=[{"trial_id": trial_id, "samples_count": count} for trial_id, count in counts.items()],
        filepath=path or "",
    )


def _path(file: str | None) -> str | None:
    return None if file is None or file == "-" else os.path.abspath(file)
