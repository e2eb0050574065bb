"""Run protoc in this process, which does nothing else: ``protoc_child.py FOLDER ARGUMENT...``.

It is a process of its own because protoc runs as a native library: a proto file that makes it crash, or take all the
memory or for ever, must not take the caller along. It is run as a file, so that no module in the working directory can
stand in for one that it imports.
"""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

MEMORY_LIMIT = 2 * 1024**3
"""Bytes of address space."""


def limit_memory() -> None:
    """Set the memory limit where the platform has one."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    except (ImportError, ValueError, OSError):
        # Windows has no such limits and macOS refuses this one: there the time limit has to do.
        return


def main() -> int:
    """Run protoc in the folder of the spec file."""
    protoc: Any = importlib.import_module("grpc_tools.protoc")
    folder, *arguments = sys.argv[1:]
    well_known = Path(protoc.__file__).parent / "_proto"
    # protoc reads ':' and '=' in the paths it is given as separators, so it is given the folder as '.'.
    os.chdir(folder)
    limit_memory()
    return int(protoc.main(["protoc", "--proto_path=.", f"--proto_path={well_known}", *arguments]))


if __name__ == "__main__":
    sys.exit(main())
