"""The command line: ``python -m cogment_generate``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from cogment_generate.errors import CogmentGenerateError
from cogment_generate.generator import generate

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None, *, prog: str = "python -m cogment_generate") -> int:
    """Run the command.

    Args:
        arguments: What follows the command's name; None to take it from the command line.
        prog: What help and errors call the command.

    Returns:
        The exit status: 0, or 1 if the spec cannot be compiled. A wrong usage exits with 2 at once.
    """
    parser = _parser(prog)
    given = parser.parse_args(arguments)
    if given.spec is not None and given.spec_file is not None:
        parser.error("the spec file is given twice, with --spec and without")
    if given.package is not None and given.package.endswith((".yaml", ".yml")):
        parser.error("--package comes after the spec file, or with its value: --package=. or --package=NAME")
    spec = given.spec or given.spec_file or "cogment.yaml"
    try:
        written = generate(spec, given.output, pyi=given.pyi, package=given.package)
    except CogmentGenerateError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"wrote {', '.join(str(path) for path in written)}")
    return 0


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog, description="Compile a Cogment spec file and the proto files that it imports into Python modules."
    )
    parser.add_argument("spec_file", nargs="?", metavar="SPEC", help="the spec file, also without --spec")
    parser.add_argument("--spec", metavar="FILE", help="the spec file (default: cogment.yaml)")
    parser.add_argument(
        "--output",
        metavar="FILE",
        default="cog_settings.py",
        help="the settings module to write; *_pb2.py are put beside it (default: %(default)s)",
    )
    parser.add_argument("--pyi", action="store_true", help="also write stubs, for editors and type checkers")
    parser.add_argument(
        "--package",
        nargs="?",
        const=".",
        metavar="NAME",
        help="let the output live in the package NAME, or without NAME in any package by relative imports",
    )
    return parser
