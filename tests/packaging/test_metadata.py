"""What the distributions say about themselves fits together."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
VERSION = (ROOT / "VERSION").read_text().strip()
PROJECTS: dict[str, dict[str, Any]] = {
    path.parent.name: tomllib.loads(path.read_text())["project"]
    for path in sorted((ROOT / "packages").glob("*/pyproject.toml"))
}
HATCH: dict[str, Any] = tomllib.loads((ROOT / "hatch.toml").read_text())["envs"]


def requirements(project: dict[str, Any]) -> list[str]:
    """The requirements of ``project``, those of its extras included."""
    extras = project.get("optional-dependencies", {}).values()
    return [*project.get("dependencies", []), *(requirement for extra in extras for requirement in extra)]


def split(requirement: str) -> tuple[str, str]:
    """Name, without extras, and version specifier of ``requirement``."""
    match = re.fullmatch(r"([\w.-]+)(?:\[[\w,-]+\])?(.*)", requirement)
    assert match, requirement
    return match[1], match[2]


@pytest.mark.parametrize("name", PROJECTS)
def test_distribution_carries_what_it_needs_alone(name: str) -> None:
    """Each distribution is named after its folder and ships the licence, a README with its install line, and types."""
    folder = ROOT / "packages" / name
    module = name.replace("-", "_")
    assert PROJECTS[name]["name"] == name
    assert [path.name for path in (folder / "src").iterdir() if path.is_dir()] == [module]
    assert (folder / "src" / module / "py.typed").is_file()
    assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert f"pip install {name}" in (folder / "README.md").read_text()


@pytest.mark.parametrize("name", PROJECTS)
def test_distribution_takes_its_version_from_one_file(name: str) -> None:
    """The version is written once, in ``VERSION``."""
    pyproject = tomllib.loads((ROOT / "packages" / name / "pyproject.toml").read_text())
    assert pyproject["project"]["dynamic"] == ["version"]
    assert pyproject["tool"]["hatch"]["version"]["path"] == "../../VERSION"


@pytest.mark.parametrize("name", PROJECTS)
def test_distribution_runs_on_every_supported_python(name: str) -> None:
    """Python 3.10 and everything after it, with a classifier for each version that is tested."""
    project = PROJECTS[name]
    tested = HATCH["versions"]["matrix"][0]["python"]
    classified = {c.rpartition(" ")[2] for c in project["classifiers"] if re.search(r":: Python :: 3\.\d+$", c)}
    assert project["requires-python"] == f">={tested[0]}"
    assert classified == set(tested)


def test_our_packages_require_each_other_from_this_minor_version_on() -> None:
    """What is released together is installed together, up to the next major version."""
    major, minor = VERSION.split(".")[:2]
    expected = f">={major}.{minor},<{int(major) + 1}"
    ours = [split(requirement) for project in PROJECTS.values() for requirement in requirements(project)]
    assert {(name, bounds) for name, bounds in ours if name in PROJECTS and bounds != expected} == set()


def test_only_the_two_wire_libraries_have_an_upper_bound() -> None:
    """A needless upper bound would keep users from what else they want to install."""
    third_party = [split(r) for p in PROJECTS.values() for r in requirements(p) if split(r)[0] not in PROJECTS]
    bounded = {name for name, bounds in third_party if "<" in bounds or "==" in bounds or "~=" in bounds}
    assert bounded == {"grpcio", "grpcio-health-checking", "grpcio-tools", "protobuf"}


def test_minimum_versions_are_tested_as_declared() -> None:
    """The versions that the ``minimum`` environments install are the lower bounds of the distributions."""
    pins = HATCH["versions"]["overrides"]["matrix"]["dependencies"]["extra-dependencies"]
    tested = {tuple(pin["value"].split("==")) for pin in pins}
    declared = {split(r) for p in PROJECTS.values() for r in requirements(p) if split(r)[0] not in PROJECTS}
    assert {(name, padded(version)) for name, version in tested} == {(name, padded(low(b))) for name, b in declared}


def low(bounds: str) -> str:
    """The lower bound in ``bounds``."""
    match = re.match(r">=([\d.]+)", bounds)
    assert match, f"{bounds!r} has no lower bound"
    return match[1]


def padded(version: str) -> str:
    """``version`` with three parts, so that 13 is 13.0.0."""
    return ".".join([*version.split("."), "0", "0"][:3])


def test_every_package_is_installed_alone() -> None:
    """The matrix that installs each package with only its lower layers misses none."""
    assert set(HATCH["packages"]["matrix"][0]["package"]) == PROJECTS.keys()


def test_changelog_speaks_of_this_version() -> None:
    """The version that is being made has its entry."""
    assert f"## [{VERSION}]" in (ROOT / "CHANGELOG.md").read_text()
