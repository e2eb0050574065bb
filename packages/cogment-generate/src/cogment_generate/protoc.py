"""Compile proto files with the protoc of grpcio-tools."""

from __future__ import annotations

import importlib.util
import logging
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

from cogment_generate.errors import CogmentGenerateError

__all__ = ["TIME_LIMIT", "compile_descriptors", "compile_modules", "is_well_known"]

TIME_LIMIT = 60.0
"""Seconds that one run of protoc may take."""

_CHILD = Path(__file__).with_name("protoc_child.py")
_MAX_LINES = 20

_logger = logging.getLogger("cogment.generate")

# What the library that protoc logs with puts before its warnings.
_LOG_PREFIX = re.compile(r"^[WEI]\d{4} [\d:. ]+ \S+\] ")
_LOG_NOTICE = "WARNING: All log messages before absl::InitializeLog()"


def is_well_known(path: str) -> bool:
    """Whether ``path`` is a proto file of protobuf itself, whose module comes with protobuf."""
    if not path.startswith("google/protobuf/"):
        return False
    tools = importlib.util.find_spec("grpc_tools")
    if tools is None or not tools.submodule_search_locations:
        raise CogmentGenerateError("grpcio-tools is not installed: run pip install grpcio-tools")
    return (Path(tools.submodule_search_locations[0]) / "_proto" / path).is_file()


def compile_descriptors(folder: Path, protos: Sequence[str]) -> FileDescriptorSet:
    """The descriptors of ``protos`` and of all that they import.

    Args:
        folder: Where imports are looked up.
        protos: Paths from there; checked by the caller, as protoc takes an argument with a leading '-' for an option.

    Raises:
        CogmentGenerateError: protoc refuses the files.
    """
    with tempfile.TemporaryDirectory() as temporary:
        target = Path(temporary, "descriptors")
        _run(folder, [f"--descriptor_set_out={target}", "--include_imports"], protos)
        return FileDescriptorSet.FromString(target.read_bytes())


def compile_modules(folder: Path, protos: Sequence[str], *, pyi: bool) -> dict[str, str]:
    """The text of the Python modules of ``protos`` by file name, as in ``sub/data_pb2.py``.

    Args:
        folder: Where imports are looked up.
        protos: Paths from there, as in `compile_descriptors`.
        pyi: Whether to make the modules' stubs too.

    Raises:
        CogmentGenerateError: protoc refuses the files.
    """
    if not protos:
        return {}
    with tempfile.TemporaryDirectory() as temporary:
        # The empty list of options before ':' keeps protoc from looking for one in the path.
        outputs = [f"--python_out=:{temporary}", *([f"--pyi_out=:{temporary}"] if pyi else [])]
        _run(folder, outputs, protos, quiet=True)
        root = Path(temporary)
        found = sorted(path for path in root.rglob("*") if path.is_file())
        return {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in found}


def _run(folder: Path, options: list[str], protos: Sequence[str], *, quiet: bool = False) -> None:
    command = [sys.executable, str(_CHILD), str(folder), *options, *protos]
    try:
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=TIME_LIMIT, check=False, errors="replace"
        )
    except subprocess.TimeoutExpired as error:
        raise CogmentGenerateError(f"protoc did not finish {_listed(protos)} within {TIME_LIMIT:g} s") from error
    said = _cleaned(done.stderr)
    if done.returncode != 0:
        raise CogmentGenerateError(_refusal(folder, protos, said, done.returncode))
    for line in [] if quiet else said:
        _logger.warning("protoc: %s", line)


def _refusal(folder: Path, protos: Sequence[str], said: list[str], status: int) -> str:
    lines = said or [f"it ended with status {status} and said nothing"]
    if len(lines) > _MAX_LINES:
        lines = [*lines[:_MAX_LINES], f"... and {len(lines) - _MAX_LINES} lines more"]
    return "\n  ".join([f"protoc cannot compile {_listed(protos)} (paths and imports start at {folder}):", *lines])


def _listed(protos: Sequence[str]) -> str:
    return ", ".join(protos[:5]) + (f" and {len(protos) - 5} more" if len(protos) > 5 else "")


def _cleaned(output: str) -> list[str]:
    lines = (line.rstrip() for line in output.splitlines())
    return [_LOG_PREFIX.sub("", line) for line in lines if line and not line.startswith(_LOG_NOTICE)]
