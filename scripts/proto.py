"""Check or write the generated protocol modules, on an interpreter that the pinned generator has wheels for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pythons

LAST_WITH_GENERATOR = "3.12"
"""The newest Python for which the pinned grpcio-tools has wheels."""


def main() -> int:
    """Run ``hatch run proto:SCRIPT``; SCRIPT is the first argument, ``check`` without one.

    Without such an interpreter a check is left out, with a word about it, and anything else fails.
    """
    script = sys.argv[1] if len(sys.argv) > 1 else "check"
    able = [
        path for version, path in pythons.find().items() if pythons.key(version) <= pythons.key(LAST_WITH_GENERATOR)
    ]
    if not able:
        print(
            f"{script} left out: the pinned generator needs a Python up to {LAST_WITH_GENERATOR}; there is none here."
        )
        return 0 if script == "check" else 1
    command = [sys.executable, "-m", "hatch", "run", f"proto:{script}"]
    environment = {**os.environ, "HATCH_PYTHON": str(able[-1])}
    return subprocess.call(command, cwd=Path(__file__).parent.parent, env=environment)


if __name__ == "__main__":
    sys.exit(main())
