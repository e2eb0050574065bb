"""Layers point down: who may import whom, among our packages and within them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "packages"

FEATURES = {"cogment_controller", "cogment_datastore", "cogment_model_registry"}
SERVERS = {"orchestrator", "datastore", "model_registry", "directory"}
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


# --- within packages: the tables of ARCHITECTURE.md -------------------------------------------------------------------


def documented_layers() -> dict[str, list[list[str]]]:
    """The tables of ARCHITECTURE.md: by the name of the package, its layers from the top, each the names in it."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    sections = re.findall(r"^### `([\w.]+)`\n(.*?)(?=^##)", text, re.M | re.S)
    return {
        package: [re.findall(r"`(\w+)/?`", row) for row in re.findall(r"^\| (`.*?) \|", section, re.M)]
        for package, section in sections
        if "| Modules |" in section
    }


LAYERS = documented_layers()


def folder_of(package: str) -> Path:
    """Where the modules of ``package`` are."""
    distribution = package.partition(".")[0].replace("_", "-")
    return PACKAGES / distribution / "src" / Path(*package.split("."))


def parts_of(package: str) -> set[str]:
    """Its modules and folders; ``__init__`` is the package itself."""
    modules = {path.stem for path in folder_of(package).glob("*.py")}
    folders = {path.name for path in folder_of(package).iterdir() if path.is_dir() and path.name.isidentifier()}
    return (modules | folders) - {"__init__", "__pycache__"}


def imported_parts(package: str, path: Path) -> Iterator[str]:
    """The parts of ``package`` that the module at ``path`` needs when it runs, not only for its types."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        inside = (name.removeprefix(f"{package}.") for name in names if name.startswith(f"{package}."))
        yield from (name.partition(".")[0] for name in inside)


def test_the_large_packages_are_documented() -> None:
    """Every package that has parts to tell apart has a table."""
    assert LAYERS.keys() == {*MAY_IMPORT, *(f"cogment_services.{name}" for name in SERVERS)} - {"cogment"}


@pytest.mark.parametrize("server", sorted(SERVERS))
def test_servers_do_not_import_each_other(server: str) -> None:
    """What servers have in common is beside them."""
    files = folder_of(f"cogment_services.{server}").rglob("*.py")
    imported = {name for path in files for name in imported_parts("cogment_services", path)}
    assert not imported & SERVERS - {server}


@pytest.mark.parametrize("package", LAYERS)
def test_the_table_has_every_module_once(package: str) -> None:
    """A module that comes, goes or is renamed has its place in ARCHITECTURE.md."""
    documented = [name for layer in LAYERS[package] for name in layer]
    missing, gone = parts_of(package) - {*documented}, {*documented} - parts_of(package)
    assert not missing, f"to be added to the table of {package} in ARCHITECTURE.md"
    assert not gone, f"to be removed from the table of {package} in ARCHITECTURE.md"
    assert len(documented) == len({*documented})


@pytest.mark.parametrize("package", LAYERS)
def test_modules_import_only_lower_layers(package: str) -> None:
    """A module imports from its own layer of the table and from those below."""
    depth = {name: index for index, layer in enumerate(LAYERS[package]) for name in layer}
    folder = folder_of(package)
    upward = {
        f"{path.relative_to(folder)} imports {name}"
        for path in folder.rglob("*.py")
        for name in imported_parts(package, path)
        if name in depth and depth[name] < depth.get(path.relative_to(folder).parts[0].removesuffix(".py"), 0)
    }
    assert not upward
