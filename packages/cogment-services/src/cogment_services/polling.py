"""Which of gRPC's polling engines a server process uses."""

from __future__ import annotations

import os
from importlib import metadata

__all__ = ["VARIABLE", "choose_fast_polling", "fast_polling"]

VARIABLE = "GRPC_EXPERIMENTS"

_CLASSIC = "-event_engine_client,-event_engine_listener"


def fast_polling() -> str:
    """What `VARIABLE` should say with the installed grpcio; empty for nothing.

    grpcio 1.80 changed its polling engine, and a stream that is used by itself has had half the rate since; the engine
    of before is still there. Measured with 1.85.1: one trial of one actor makes 1.5 times as many steps if the
    Orchestrator uses it, 16 trials at once make as many as without. Versions that nobody measured are left alone: they
    complain about experiments that they do not know.
    """
    major, minor = (int(part) for part in metadata.version("grpcio").split(".")[:2])
    return _CLASSIC if major == 1 and 80 <= minor <= 85 else ""


def choose_fast_polling() -> None:
    """Set `VARIABLE` for this process, unless the operator did. To be called before grpc is imported."""
    if VARIABLE not in os.environ and (choice := fast_polling()):
        os.environ[VARIABLE] = choice
