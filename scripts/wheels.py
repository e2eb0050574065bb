"""Build all packages as they are released, and try each one as a user would.

Every wheel and sdist is looked into, every sdist has to give the same wheel again, and every wheel is installed into
an empty environment, with only the packages that it requires, and imported there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = (ROOT / "VERSION").read_text().strip()
NAMES = sorted(path.parent.name for path in (ROOT / "packages").glob("*/pyproject.toml"))
UV = str(Path(sys.executable).with_name("uv"))


def main() -> int:
    """Build and try everything, in a temporary folder; the first failure ends it."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        build(work / "dist")
        for name in NAMES:
            check_contents(work / "dist", name)
            check_rebuild(work, name)
        print(f"{len(NAMES)} wheels and sdists are complete, and each sdist gives its wheel again", flush=True)
        for name in NAMES:
            try_alone(work, name)
        try_all(work)
    return 0


def build(dist: Path) -> None:
    """Build every package, and make sure that nothing else comes out."""
    call([sys.executable, "-m", "hatch", "build", "--all", str(dist)])
    expected = {path.name for name in NAMES for path in (wheel(dist, name), sdist(dist, name))}
    built = {path.name for path in dist.iterdir()} - {".gitignore"}
    require(built == expected, f"built {sorted(built)} instead of {sorted(expected)}")


def wheel(dist: Path, name: str) -> Path:
    """Where the wheel of ``name`` is."""
    return dist / f"{name.replace('-', '_')}-{VERSION}-py3-none-any.whl"


def sdist(dist: Path, name: str) -> Path:
    """Where the sdist of ``name`` is."""
    return dist / f"{name.replace('-', '_')}-{VERSION}.tar.gz"


def check_contents(dist: Path, name: str) -> None:
    """A wheel and an sdist have the code, its types and the licence."""
    module = name.replace("-", "_")
    with zipfile.ZipFile(wheel(dist, name)) as archive:
        inside = set(archive.namelist())
    needed = {f"{module}/__init__.py", f"{module}/py.typed", f"{module}-{VERSION}.dist-info/licenses/LICENSE"}
    require(needed <= inside, f"the wheel of {name} lacks {sorted(needed - inside)}")
    strange = {path for path in inside if path.split("/")[0] not in {module, f"{module}-{VERSION}.dist-info"}}
    require(not strange, f"the wheel of {name} has {sorted(strange)}")
    with tarfile.open(sdist(dist, name)) as archive:
        inside = {path.partition("/")[2] for path in archive.getnames()}
    needed = {"LICENSE", "README.md", "PKG-INFO", "pyproject.toml", f"src/{module}/py.typed"}
    require(needed <= inside, f"the sdist of {name} lacks {sorted(needed - inside)}")


def check_rebuild(work: Path, name: str) -> None:
    """The wheel that is built from the sdist, outside this repository, is the same."""
    again = work / "again"
    call([UV, "build", "--quiet", "--wheel", "--out-dir", str(again), str(sdist(work / "dist", name))])
    same = wheel(again, name).read_bytes() == wheel(work / "dist", name).read_bytes()
    require(same, f"the sdist of {name} gives a different wheel")


def try_alone(work: Path, name: str) -> None:
    """Install one wheel into an empty environment, and import everything in it."""
    python = install(work, name, str(wheel(work / "dist", name)))
    call([python, str(ROOT / "scripts" / "alone.py"), name])


def try_all(work: Path) -> None:
    """``cogment[all]`` brings every package and both commands."""
    python = install(work, "all", f"cogment[all] @ {wheel(work / 'dist', 'cogment').as_uri()}")
    call([python, "-c", f"import {', '.join(name.replace('-', '_') for name in NAMES)}"])
    for command in (["-m", "cogment.generate"], ["-m", "cogment_generate"]):
        call([python, *command, "--help"], stdout=subprocess.DEVNULL)
    call([str(Path(python).with_name("cogment")), "--help"], stdout=subprocess.DEVNULL)
    print("cogment[all]: every package imported, every command answers")


def install(work: Path, label: str, requirement: str) -> str:
    """Install ``requirement`` into a new environment, with our packages from ``dist`` and from nowhere else."""
    constraints = work / "constraints.txt"
    constraints.write_text("".join(f"{name} @ {wheel(work / 'dist', name).as_uri()}\n" for name in NAMES))
    environment = work / "environments" / label
    call([UV, "venv", "--quiet", "--python", sys.executable, str(environment)])
    python = str(environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    call([UV, "pip", "install", "--quiet", "--python", python, "--constraint", str(constraints), requirement])
    call([UV, "pip", "check", "--quiet", "--python", python])
    return python


def call(command: list[str], stdout: int | None = None) -> None:
    """Run ``command`` away from the repository, and end when it fails: it has said why."""
    where = ROOT if "hatch" in command else Path(tempfile.gettempdir())
    if subprocess.call(command, cwd=where, stdout=stdout) != 0:
        sys.exit(f"failed: {' '.join(command)}")


def require(condition: bool, failure: str) -> None:
    """End with ``failure`` unless ``condition`` holds."""
    if not condition:
        sys.exit(failure)


if __name__ == "__main__":
    sys.exit(main())
