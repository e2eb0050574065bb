"""Time on a machine that is busy."""

from __future__ import annotations

import os

__all__ = ["bounded"]


def bounded(seconds: float) -> float:
    """``seconds``, or as many times that as this machine has more to run than processors.

    The bounds of the tests are those of a machine that keeps up; on another one, nothing may be late by more than its
    share.
    """
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
