"""Find the Python interpreters of this machine.

Version managers put shims on PATH that fail unless their version is selected, so every candidate is run before it
counts, and the folders of pyenv are searched too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

__all__ = ["SUPPORTED", "find", "key"]

SUPPORTED = ("3.10", "3.11", "3.12", "3.13", "3.14")
"""Versions that the packages are tested on."""


def find() -> dict[str, Path]:
    """One working interpreter per supported version, oldest version first."""
    found: dict[str, Path] = {}
    for version in SUPPORTED:
        for candidate in candidates(version):
            if answers(candidate, version):
                found[version] = candidate
                break
    return found


def key(version: str) -> tuple[int, ...]:
    """``version`` as something that sorts right."""
    return tuple(int(part) for part in version.split("."))


def candidates(version: str) -> Iterator[Path]:
    """Where an interpreter of ``version`` may be."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        yield Path(sys.executable).resolve()
    for folder in os.get_exec_path():
        yield Path(folder) / f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted((pyenv / "versions").glob(f"{version}.*/bin/python{version}"))


def answers(interpreter: Path, version: str) -> bool:
    """Whether ``interpreter`` runs, and is of ``version``."""
    if not interpreter.is_file():
        return False
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run(
            [str(interpreter), "-I", "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=30,
            text=True,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.strip() == version


if __name__ == "__main__":
    for found_version, found_interpreter in find().items():
        print(found_version, found_interpreter)
