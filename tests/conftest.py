"""Settings of the whole test suite."""

from __future__ import annotations

import platform
import signal
from importlib import metadata

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
