"""Put all generated files in place, or none."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from cogment_generate.errors import CogmentGenerateError
from cogment_generate.names import is_name

__all__ = ["check_output", "write_all"]

_BESIDE = ".cogment-generate-"
"""What the folder of the new files is called, until they are in place."""


def check_output(output: Path) -> None:
    """Refuse a path that no importable module can have.

    Raises:
        CogmentGenerateError: With what would be right.
    """
    if output.is_dir():
        raise CogmentGenerateError(f"--output {output}: is a folder: name the file, as in {output / 'cog_settings.py'}")
    if output.suffix != ".py" or not is_name(output.stem):
        raise CogmentGenerateError(f"--output {output}: has to be a Python module, as in cog_settings.py")


def write_all(folder: Path, files: dict[str, str]) -> list[Path]:
    """Write ``files``, texts by path from ``folder``, replacing those that exist.

    Everything is written beside its place first, so a full disk leaves the old files as they were.

    Returns:
        The paths of the files.

    Raises:
        CogmentGenerateError: A file cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=_BESIDE) as temporary:
            for name, text in files.items():
                _write(Path(temporary, name), text)
            return [_replace(Path(temporary, name), folder / name) for name in files]
    except OSError as error:
        where = error.filename2 or error.filename or folder
        if _BESIDE in str(where):  # of which the user knows nothing
            where = folder
        raise CogmentGenerateError(f"{where}: cannot be written: {error.strerror}") from error


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)


def _replace(source: Path, target: Path) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(source, target)
    return target
