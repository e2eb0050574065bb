#!/usr/bin/env python3
"""Set up and run everything in this repository: ``python3 dev.py`` lists what there is.

Python is all that has to be there. The first run makes a virtual environment with Hatch in it, and Hatch makes one
environment per task from ``hatch.toml``. All of it lives in ``.venv``: delete that folder and it is gone.
"""

import sys

if sys.version_info < (3, 10):  # noqa: UP036 - this file must be able to say so on an older Python
    sys.exit(
        "dev.py needs Python 3.10 or newer; this is Python {}.{} ({}).\n"
        "Run it with a newer one, for example: python3.12 dev.py".format(*sys.version_info[:2], sys.executable)
    )

import ast
import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent
HATCH = "hatch==1.18.2"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
HOME = ROOT / ".venv" / VERSION
BIN = HOME / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = HOME / "ready.txt"

TASKS = {
    "demo": "the main job: CartPole trials in one process, no server to start",
    "test": "the test suite with the newest dependencies; arguments go to pytest",
    "versions": "the test suite on every other Python here, and with the oldest dependencies; arguments go to pytest",
    "lint": "ruff: rules and formatting (lint:fix repairs what it can)",
    "types": "mypy and pyright, strict",
    "proto": "whether the generated protocol modules are up to date (proto:generate writes them)",
    "packages": "install each package with only its lower layers, and import all of it",
    "wheels": "build every package and try its wheel and sdist in an empty environment",
    "docs": "build the documentation into site/ (docs:serve shows it while you write)",
    "bench": "the benchmarks (bench:steps, :service, :samples, :models, :scale and :imports run one of them)",
    "hatch": "run Hatch itself, for example: dev.py hatch env show",
}
OWN_SCRIPTS = {"proto": "proto.py", "versions": "versions.py", "wheels": "wheels.py"}
"""Tasks that drive Hatch themselves, by script in ``scripts``."""

PIP_TO_UV = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "no-index": ("UV_NO_INDEX", " "),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
}
"""Options of pip by the variable and the separator in which uv, which fills the environments, takes them."""


def main() -> int:
    """Run the task that the command line names."""
    if len(sys.argv) < 2 or sys.argv[1] in {"-h", "--help", "help"}:
        print(usage())
        return 0
    task, args = sys.argv[1], sys.argv[2:]
    if task not in TASKS and ":" not in task:
        print(f"dev.py: there is no task {task!r}\n\n{usage()}", file=sys.stderr)
        return 2
    set_up()
    return run(command_of(task, args))


def usage() -> str:
    """What this command can do."""
    width = max(map(len, TASKS))
    lines = (f"  {name:{width}}  {text}" for name, text in TASKS.items())
    return "\n".join(["usage: python3 dev.py TASK [ARGS]", "", *lines])


def command_of(task: str, args: list[str]) -> list[str]:
    """The command line of ``task``: one of our scripts, Hatch, or a script of a Hatch environment."""
    environment, _, script = task.partition(":")
    if environment in OWN_SCRIPTS:
        return [str(PYTHON), str(ROOT / "scripts" / OWN_SCRIPTS[environment]), *([script] if script else []), *args]
    hatch = [str(PYTHON), "-m", "hatch"]
    if task == "hatch":
        return [*hatch, *args]
    return [*hatch, "run", f"{environment}:{script or 'run'}", *args]


def set_up() -> None:
    """Make the environment that has Hatch, unless it is there."""
    if PYTHON.exists() and STAMP.exists() and STAMP.read_text() == HATCH:
        return
    print(f"dev.py: first run with Python {VERSION}, setting up in {HOME.relative_to(ROOT)} ...", flush=True)
    STAMP.unlink(missing_ok=True)
    must([sys.executable, "-m", "venv", "--clear", str(HOME)], "could not make a virtual environment")
    install = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", HATCH]
    must(install, f"could not install {HATCH}")
    (HOME / "hatch.toml").touch()
    STAMP.write_text(HATCH)


def must(command: list[str], failure: str) -> None:
    """Run ``command``; when it fails, end with ``failure``: the command itself has said why."""
    if subprocess.call(command) != 0:
        sys.exit(f"dev.py: {failure}; the lines above say why.")


def run(command: list[str]) -> int:
    """Run ``command`` from the root of the repository with the settings that Hatch and uv need."""
    environment = {**os.environ, **settings()}
    os.chdir(ROOT)
    if os.name == "posix":
        sys.stdout.flush()
        os.execve(command[0], command, environment)  # so that signals and the exit status are the command's own
    return subprocess.call(command, env=environment)


def settings() -> dict[str, str]:
    """Environment variables that keep Hatch inside this folder and show uv what pip knows."""
    return {
        "HATCH_CONFIG": str(HOME / "hatch.toml"),
        "HATCH_DATA_DIR": str(HOME / "hatch"),
        "HATCH_PYTHON": "self",
        **{name: value for name, value in uv_settings(pip_options()).items() if name not in os.environ},
    }


def pip_options() -> dict[str, str]:
    """The options that pip is configured with on this machine."""
    listed = subprocess.run([str(PYTHON), "-m", "pip", "config", "list"], stdout=subprocess.PIPE, text=True, check=True)
    pairs = (line.partition("=") for line in listed.stdout.splitlines())
    return {key.rpartition(".")[2]: ast.literal_eval(value) for key, _, value in pairs if value}


def uv_settings(options: dict[str, str]) -> dict[str, str]:
    """What uv has to be told to look where pip looks, given pip's ``options``."""
    found: dict[str, str] = {}
    for option, (variable, separator) in PIP_TO_UV.items():
        values = options.get(option, "").split()
        if option == "find-links":  # pip passes over folders that are not there, uv fails on them
            values = [value for value in values if "://" in value or Path(value).is_dir()]
        if values:
            found[variable] = separator.join(values)
    return found


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)  # what Ctrl-C interrupted begins again the next time
