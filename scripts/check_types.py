"""Check the types of all hand-written code with mypy and pyright, and run the tests that need these two.

Examples and benchmarks are folders of scripts that import their neighbours, and two of them may have modules of the
same name, so mypy sees each folder by itself. The modules that an example generates from its spec are made first.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run every check, and fail if one does."""
    examples = sorted(path.parent for path in ROOT.glob("examples/*/*.py"))
    folders = sorted({ROOT / "benchmarks", *examples})
    for spec in sorted(ROOT.glob("examples/*/cogment.yaml")):
        generate(spec)
    failed = [label for label, code in [("packages", mypy()), *((f.name, mypy(f)) for f in folders)] if code]
    if call("pyright"):
        failed.append("pyright")
    if call(sys.executable, "-m", "pytest", "-m", "types"):
        failed.append("tests of types")
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def generate(spec: Path) -> None:
    """Make the modules of ``spec`` next to it, with types."""
    command = ["-m", "cogment_generate", "--spec", spec.name, "--output", "cog_settings.py", "--pyi"]
    subprocess.run([sys.executable, *command], cwd=spec.parent, check=True, stdout=subprocess.DEVNULL)


def mypy(folder: Path | None = None) -> int:
    """Run mypy on the ``files`` of ``mypy.ini``, or on the scripts in ``folder``."""
    if folder is None:
        return call("mypy")
    return call("mypy", str(folder.relative_to(ROOT)), MYPYPATH=str(folder))


def call(*command: str, **environment: str) -> int:
    """Run ``command`` from the root of the repository."""
    print(f"--- {' '.join(command)}", flush=True)
    return subprocess.call(command, cwd=ROOT, env={**os.environ, **environment})


if __name__ == "__main__":
    sys.exit(main())
