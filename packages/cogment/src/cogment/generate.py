"""Compile a spec file into ``cog_settings.py``: ``python -m cogment.generate``, or `generate`.

Needs the package's extra: ``pip install "cogment[generate]"``.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from cogment.errors import CogmentGenerateError

try:
    import cogment_generate
except ModuleNotFoundError as error:
    if error.name != "cogment_generate":
        raise
    MISSING = 'the generator is not installed; run: pip install "cogment[generate]"'
    if __name__ == "__main__":
        sys.exit(MISSING)
    raise CogmentGenerateError(MISSING) from None

__all__ = ["generate", "main"]


def generate(
    spec: str | Path = "cogment.yaml",
    output: str | Path = "cog_settings.py",
    *,
    pyi: bool = False,
    package: str | None = None,
) -> list[Path]:
    """Compile a spec file and the proto files that it imports into Python modules.

    See `cogment_generate.generate` for the arguments, and for the files that are written and returned.

    Raises:
        CogmentGenerateError: The spec or a proto file is wrong, or a file cannot be written.
    """
    try:
        return cogment_generate.generate(spec, output, pyi=pyi, package=package)
    except cogment_generate.CogmentGenerateError as error:
        raise CogmentGenerateError(str(error)) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: What follows the command's name; None to take it from the command line.

    Returns:
        The exit status.
    """
    return cogment_generate.main(arguments, prog="python -m cogment.generate")


if __name__ == "__main__":
    sys.exit(main())
