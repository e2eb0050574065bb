"""Keepalive at another pace: ``python -m harness.scaled FACTOR services orchestrator …`` is that command, quickened."""

from __future__ import annotations

import runpy
import sys

from cogment_core import channels

PACE = ("grpc.keepalive_time_ms", "grpc.http2.min_ping_interval_without_data_ms")
"""How often peers ask each other whether they live, and how often they may be asked. How long they may take to answer
is left alone: that is a matter of the machine."""


def quicken(factor: int) -> None:
    """Let the servers and watchful clients of this process do in a second what they do in ``factor`` by default."""
    for name in ("SERVER_OPTIONS", "WATCHFUL_CLIENT_OPTIONS"):
        options = getattr(channels, name)
        setattr(channels, name, tuple((key, value // factor if key in PACE else value) for key, value in options))


if __name__ == "__main__":
    quicken(int(sys.argv.pop(1)))
    runpy.run_module("cogment_services", run_name="__main__", alter_sys=True)
