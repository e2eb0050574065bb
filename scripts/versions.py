"""Run the test suite on the other Pythons of this machine, and with the oldest dependencies that we allow.

Each interpreter that is found runs the newest dependencies, except this one, on which ``dev.py test`` does. The oldest
one also runs the minimum versions that ``hatch.toml`` lists. ``--extremes`` runs only two: the oldest interpreter with
the minimum versions, and the newest one with the newest. Other arguments go to pytest.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pythons

EXTREMES = "--extremes"

LAST_WITH_MINIMUM = "3.12"
"""The newest Python for which the oldest grpcio that we allow has wheels."""


def main() -> int:
    """Run each environment, and say at the end which ones failed."""
    found = pythons.find()
    args = sys.argv[1:]
    environments = select(list(found))
    if EXTREMES in args:
        args.remove(EXTREMES)
        environments = list(dict.fromkeys(environments[:1] + environments[-1:]))
    path = os.pathsep.join([*(str(interpreter.parent) for interpreter in found.values()), os.environ.get("PATH", "")])
    results = {name: run(name, path, args) for name in environments}
    for name, code in results.items():
        print(f"{name}: {'failed' if code else 'passed'}")
    return 1 if any(results.values()) else 0


def select(found: list[str]) -> list[str]:
    """The environments to run, of those that ``hatch.toml`` has."""
    this = f"{sys.version_info.major}.{sys.version_info.minor}"
    with_minimum = [version for version in found if pythons.key(version) <= pythons.key(LAST_WITH_MINIMUM)]
    if not with_minimum:
        print(
            f"The minimum versions are left out: they need a Python up to {LAST_WITH_MINIMUM}, and there is none here."
        )
    oldest = [f"versions.py{version}-minimum" for version in with_minimum[:1]]
    return oldest + [f"versions.py{version}-newest" for version in found if version != this]


def run(name: str, path: str, args: list[str]) -> int:
    """Run the tests in one environment; 0 when they pass."""
    print(f"\n--- {name}", flush=True)
    command = [sys.executable, "-m", "hatch", "run", f"{name}:run", *args]
    return subprocess.call(command, cwd=Path(__file__).parent.parent, env={**os.environ, "PATH": path})


if __name__ == "__main__":
    sys.exit(main())
