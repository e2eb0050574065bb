"""Layers point down: who may import whom among our packages."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[2] / "packages"

FEATURES = {"cogment_controller", "cogment_datastore", "cogment_model_registry"}
MAY_IMPORT: dict[str, set[str]] = {
    "cogment_core": set(),
    "cogment_generate": set(),
    **{feature: {"cogment_core"} for feature in FEATURES},
    "cogment_services": {"cogment_core"},  # its command line: also the clients, see below
    "cogment": {"cogment_core", "cogment_generate", *FEATURES},
}


def sources(package: str) -> Iterator[Path]:
    """The source files of ``package``."""
    return (PACKAGES / package.replace("_", "-") / "src" / package).rglob("*.py")


def imported_names(source: str) -> Iterator[str]:
    """The modules that ``source`` imports absolutely, wherever in the file the import stands."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module


def test_every_package_has_its_rule() -> None:
    """A new package has to say what it may import."""
    assert {path.parent.name.replace("-", "_") for path in PACKAGES.glob("*/pyproject.toml")} == MAY_IMPORT.keys()


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_package_imports_only_lower_layers(package: str) -> None:
    """Core and the generator import nothing of ours, features and servers import core only, the meta package all."""
    wrong = {
        f"{path.relative_to(PACKAGES)} imports {name}"
        for path in sources(package)
        for name in imported_names(path.read_text(encoding="utf-8"))
        if name.partition(".")[0] in MAY_IMPORT.keys() - may_import(package, path)
    }
    assert not wrong


def may_import(package: str, path: Path) -> set[str]:
    """What the module at ``path`` may import: ``cogment client`` is a user of the clients, like any other program."""
    is_command_line = package == "cogment_services" and "cli" in path.parts
    return {package, *MAY_IMPORT[package], *(FEATURES if is_command_line else ())}


def test_imports_are_found_anywhere_in_a_file() -> None:
    """The check sees imports inside functions and conditions, and tells relative ones apart."""
    source = (
        "import a.b\ndef f():\n    from c.d import e\nif True:\n    import g as h\nfrom . import i\nfrom .j import k"
    )
    assert sorted(imported_names(source)) == ["a.b", "c.d", "g"]
