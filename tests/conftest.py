"""Settings of the whole test suite."""

from __future__ import annotations

import faulthandler
import os
import platform
import signal
from collections.abc import Generator
from importlib import metadata

import pytest
from hypothesis import settings

# Examples are bounded by number; how long one takes says more about the machine than about the code.
settings.register_profile("cogment", parent=settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("cogment")

# A shell has what it runs in the background ignore Ctrl-C, and all that is started from there. Tests press it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_report_header() -> str:
    """The versions under test, which the environments of ``hatch.toml`` differ in."""
    names = ("grpcio", "protobuf", "prometheus-client")
    return ", ".join([f"python {platform.python_version()}", *(f"{name} {metadata.version(name)}" for name in names)])


STUCK = 60.0
"""Seconds after its time-out at which a test that still goes on cannot be ended but with its process."""

_stderr = -1


def pytest_configure() -> None:
    """Keep the real standard error output: it is captured during tests."""
    global _stderr
    _stderr = os.dup(2)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Bound this part of a test. One that is stuck ends the process with a traceback; the suite goes on in another.

    The time-out of a test runs once: not for cleaning up after a test that it ended, nor for a second attempt. And it
    does not end what is within gRPC.
    """
    marker = item.get_closest_marker("timeout")
    seconds = float(marker.args[0] if marker else item.config.getini("timeout"))
    faulthandler.dump_traceback_later(seconds + STUCK, exit=True, file=_stderr)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


pytest_runtest_call = pytest_runtest_teardown = pytest_runtest_setup
