"""What the READMEs show can be typed in as it stands."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READMES = sorted([ROOT / "README.md", *(ROOT / "packages").glob("*/README.md")])
OURS = {path.parent.name.replace("-", "_") for path in (ROOT / "packages").glob("*/pyproject.toml")}


def examples(readme: Path) -> list[ast.Module]:
    """The Python examples in ``readme``."""
    return [ast.parse(block) for block in re.findall(r"^```python\n(.*?)^```", readme.read_text(), re.M | re.S)]


def names_of_ours(example: ast.Module) -> set[tuple[str, str]]:
    """What ``example`` takes from our packages, as module and name; the name is empty for a module itself."""
    found: set[tuple[str, str]] = set()
    modules: set[str] = set()
    for node in ast.walk(example):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names if alias.name.partition(".")[0] in OURS}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] in OURS:
            found |= {(node.module, alias.name) for alias in node.names}
    for node in ast.walk(example):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            found.add((node.value.id, node.attr))
    return found | {(module, "") for module in modules}


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_examples_use_names_that_exist(readme: Path) -> None:
    """Python examples are valid, and each name that they take from our packages is there."""
    for example in examples(readme):
        for module, name in names_of_ours(example):
            assert not name or hasattr(importlib.import_module(module), name), f"{module}.{name}"


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files_that_exist(readme: Path) -> None:
    """Relative links are not broken."""
    links = re.findall(r"\]\(([^)#]+)\)", readme.read_text())
    broken = [link for link in links if "://" not in link and not (readme.parent / link).exists()]
    assert not broken
