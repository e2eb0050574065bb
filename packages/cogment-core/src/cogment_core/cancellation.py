"""Telling a cancelled task from one that meets somebody else's ``CancelledError``."""

from __future__ import annotations

import asyncio
import sys

__all__ = ["task_is_cancelled"]


def task_is_cancelled() -> bool | None:
    """Whether somebody cancelled the running task; None if that cannot be known (before Python 3.11).

    To be asked in an ``except asyncio.CancelledError``: if the task was not cancelled, what it waited for was.
    """
    if sys.version_info < (3, 11):
        return None
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
