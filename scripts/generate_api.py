"""Compile ``proto/cogment/api/*.proto`` into ``cogment_core.api``.

Run with the pinned generator (``hatch run proto:generate``). ``--check`` compares instead of writing and exits with
1 when the committed files are not what the generator makes.

The generator stays at grpcio-tools 1.62.3: its output imports on every protobuf and grpcio that the packages allow,
while the output of newer generators refuses older runtimes.
"""

from __future__ import annotations

import argparse
import difflib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO_ROOT = ROOT / "proto"
OUTPUT = ROOT / "packages" / "cogment-core" / "src" / "cogment_core" / "api"

# protoc derives Python imports from the proto's folder, ``cogment/api``; the modules live in ``cogment_core.api``.
# File names inside the descriptors stay as they are: they are part of the protocol.
IMPORT_PREFIX = re.compile(r"\bcogment\.api(?=[. ])")


def compile_protos(destination: Path) -> dict[str, str]:
    """Run the generator into ``destination`` and return the text of each module by file name."""
    protos = sorted(path.relative_to(PROTO_ROOT).as_posix() for path in PROTO_ROOT.rglob("*.proto"))
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"--proto_path={PROTO_ROOT}",
        f"--python_out={destination}",
        f"--grpc_python_out={destination}",
        f"--mypy_out=quiet:{destination}",
        f"--mypy_grpc_out=quiet:{destination}",
        *protos,
    ]
    subprocess.run(command, check=True)
    produced = (destination / "cogment" / "api").iterdir()
    return {path.name: rewrite(path.read_text()) for path in sorted(produced) if path.suffix in {".py", ".pyi"}}


def rewrite(text: str) -> str:
    """Point the imports of one generated module at ``cogment_core.api``."""
    lines = [IMPORT_PREFIX.sub("cogment_core.api", line) if is_code(line) else line for line in text.splitlines()]
    return "\n".join(lines).rstrip() + "\n"


def is_code(line: str) -> bool:
    """Whether ``line`` may name a module; the serialized descriptor must not change."""
    return "AddSerializedFile" not in line


def differences(expected: dict[str, str]) -> list[str]:
    """Unified diffs between the committed modules and ``expected``, empty when they agree."""
    committed = {path.name: path.read_text() for path in OUTPUT.glob("*_pb2*")}
    result: list[str] = []
    for name in sorted(expected.keys() | committed.keys()):
        old, new = committed.get(name, ""), expected.get(name, "")
        if old != new:
            result += difflib.unified_diff(old.splitlines(), new.splitlines(), f"committed/{name}", f"generated/{name}")
    return result


def main() -> int:
    """Generate, or with ``--check`` compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the committed modules and write nothing")
    check = parser.parse_args().check
    with tempfile.TemporaryDirectory() as folder:
        modules = compile_protos(Path(folder))
    if check:
        diff = differences(modules)
        print("\n".join(diff) if diff else f"{len(modules)} generated modules are up to date")
        return 1 if diff else 0
    for stale in OUTPUT.glob("*_pb2*"):
        stale.unlink()
    for name, text in modules.items():
        (OUTPUT / name).write_text(text)
    print(f"wrote {len(modules)} modules to {OUTPUT.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
