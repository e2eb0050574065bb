"""Check that an installed package of ours works with only its lower layers.

``python scripts/alone.py cogment-controller`` imports every module of that distribution, and makes sure that none of
our other packages is importable, except those that it requires.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
import sys
from importlib import metadata
from pathlib import Path

ALL = sorted(path.parent.name for path in (Path(__file__).parent.parent / "packages").glob("*/pyproject.toml"))
NEEDS_AN_EXTRA = {"cogment.generate"}
"""Modules that say what to install, instead of importing, without the extra that they belong to."""


def main() -> int:
    """Check the distribution that the command line names."""
    distribution = sys.argv[1]
    imported = import_all(import_name(distribution))
    allowed = layers(distribution)
    present = {name for name in ALL if importlib.util.find_spec(import_name(name))}
    if present != allowed:
        print(f"{distribution} should come with {sorted(allowed)}, but these are importable: {sorted(present)}")
        return 1
    print(f"{distribution}: {imported} modules imported, with {', '.join(sorted(allowed))}")
    return 0


def import_name(distribution: str) -> str:
    """The package that ``distribution`` installs."""
    return distribution.replace("-", "_")


def layers(distribution: str) -> set[str]:
    """``distribution`` and those of our distributions that it requires, directly or not, without extras."""
    found = {distribution}
    for requirement in metadata.requires(distribution) or []:
        required = re.match(r"[\w.-]+", requirement)
        if required and required[0] in ALL and "extra ==" not in requirement:
            found |= layers(required[0])
    return found


def import_all(package: str) -> int:
    """Import ``package`` with all its modules, except those that run something, and return how many they are."""
    root = importlib.import_module(package)
    names = [module.name for module in pkgutil.walk_packages(root.__path__, f"{package}.")]
    wanted = [name for name in names if not name.endswith(".__main__") and name not in NEEDS_AN_EXTRA]
    for name in wanted:
        importlib.import_module(name)
    return 1 + len(wanted)


if __name__ == "__main__":
    sys.exit(main())
