"""The function that users call.

Importing it costs next to nothing: what reads YAML, templates and protobuf is loaded when it is called.
"""

from __future__ import annotations

import logging
from pathlib import Path

from cogment_generate.errors import CogmentGenerateError
from cogment_generate.names import Package, is_dotted_name
from cogment_generate.output import check_output, write_all

__all__ = ["generate"]

_logger = logging.getLogger("cogment.generate")


def generate(
    spec: str | Path = "cogment.yaml",
    output: str | Path = "cog_settings.py",
    *,
    pyi: bool = False,
    package: str | None = None,
) -> list[Path]:
    """Compile a spec file, and the proto files that it imports, into Python modules.

    The modules of the proto files come to lie beside ``output``, each in the sub-folder that its proto file has beside
    the spec file. Either all files are written or none. The same input gives the same output.

    Args:
        spec: The spec file. Proto files are looked up from its folder, and only there.
        output: The settings module to write; its folder is made if it does not exist.
        pyi: Whether to write stubs too, with which editors and type checkers know the types of all payloads.
        package: How modules import each other: None if their folder is on Python's path, ``"."`` with relative imports
            so that they can live in any package, or the dotted name of the package that they will live in.

    Returns:
        The files written, the settings module first.

    Raises:
        CogmentGenerateError: The spec or a proto file is wrong, or a file cannot be written. The message names the file
            and the key, and says what would be right.
    """
    from cogment_generate.pipeline import make_files

    target = Path(output)
    check_output(target)
    files = make_files(Path(spec), target, pyi=pyi, package=_package(package))
    written = write_all(target.parent, files)
    if not pyi:
        _warn_of_old_stubs(written)
    return written


def _package(name: str | None) -> Package:
    if name not in (None, ".") and not is_dotted_name(name):
        raise CogmentGenerateError(
            f"--package {name!r}: has to be the dotted name of a Python package, or nothing for relative imports"
        )
    return Package(name or "")


def _warn_of_old_stubs(written: list[Path]) -> None:
    for path in written:
        stub = path.with_suffix(".pyi")
        if stub.exists():
            _logger.warning("%s: is left from an earlier run and may be wrong now: use --pyi, or delete it", stub)
