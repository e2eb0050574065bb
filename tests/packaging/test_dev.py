"""``dev.py`` and the scripts behind it: the way in for whoever clones the repository."""

from __future__ import annotations

import importlib.util
import os
import runpy
import subprocess
import sys
import venv
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]


def load(path: Path) -> ModuleType:
    """The module in the file ``path``, which is in no package."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def dev() -> Any:
    """The module ``dev.py``."""
    return load(ROOT / "dev.py")


@pytest.fixture
def pythons() -> Any:
    """The module ``scripts/pythons.py``."""
    return load(ROOT / "scripts" / "pythons.py")


def test_every_task_exists(dev: Any) -> None:
    """Each task of ``dev.py`` is one of our scripts or a script of an environment in ``hatch.toml``."""
    environments = tomllib.loads((ROOT / "hatch.toml").read_text())["envs"]
    for task in dev.TASKS.keys() - {"hatch"}:
        name, _, script = task.partition(":")
        if name in dev.OWN_SCRIPTS:
            assert (ROOT / "scripts" / dev.OWN_SCRIPTS[name]).is_file(), task
        else:
            assert (script or "run") in environments[name]["scripts"], task


def test_task_becomes_a_script_of_its_environment(dev: Any) -> None:
    """``test`` is ``test:run``, a script can be named, and arguments are handed on."""
    assert dev.command_of("test", ["-k", "x"])[1:] == ["-m", "hatch", "run", "test:run", "-k", "x"]
    assert dev.command_of("lint:fix", [])[1:] == ["-m", "hatch", "run", "lint:fix"]
    assert dev.command_of("hatch", ["env", "show"])[1:] == ["-m", "hatch", "env", "show"]
    assert dev.command_of("proto:generate", [])[1:] == [str(ROOT / "scripts" / "proto.py"), "generate"]


def test_unknown_task_is_named_with_the_known_ones() -> None:
    """A typing error gets the list of tasks and exit status 2, and sets up nothing."""
    done = subprocess.run([sys.executable, str(ROOT / "dev.py"), "tset"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert "there is no task 'tset'" in done.stderr
    assert "the test suite" in done.stderr


def test_ctrl_c_is_not_answered_with_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while the environment is set up ends ``dev.py`` with the exit status that shells expect."""

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["dev.py", "--help"])
    monkeypatch.setattr("builtins.print", interrupted)
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(ROOT / "dev.py"), run_name="__main__")
    assert caught.value.code == 130


def test_uv_looks_where_pip_looks(dev: Any, tmp_path: Path) -> None:
    """Behind a mirror, or with wheels in a folder, the environments are filled from where pip is told to look."""
    options = {
        "index-url": "https://mirror.example/simple",
        "extra-index-url": "\nhttps://one.example\nhttps://two.example",
        "find-links": f"{tmp_path} {tmp_path}/missing https://wheels.example",
        "timeout": "60",
    }
    assert dev.uv_settings(options) == {
        "UV_DEFAULT_INDEX": "https://mirror.example/simple",
        "UV_INDEX": "https://one.example https://two.example",
        "UV_FIND_LINKS": f"{tmp_path},https://wheels.example",
    }


@pytest.mark.timeout(240)  # it installs pip, which is mostly up to the disk
def test_pip_options_are_read(dev: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """pip's configuration file counts, values of several lines too."""
    config = tmp_path / "pip.conf"
    config.write_text("[global]\nindex-url = https://mirror.example/simple\nfind-links =\n    /one\n    /two\n")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setattr(dev, "PYTHON", python_with_pip(tmp_path))
    options = dev.pip_options()
    assert options["index-url"] == "https://mirror.example/simple"
    assert options["find-links"].split() == ["/one", "/two"]


def python_with_pip(folder: Path) -> Path:
    """A new interpreter that has pip, which the one that runs the tests may lack."""
    venv.create(folder / "venv", with_pip=True)
    return folder / "venv" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def test_this_interpreter_is_found(pythons: Any) -> None:
    """The interpreter that runs is among those that are found, under its version."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert version in pythons.find()


def test_broken_shim_is_not_an_interpreter(pythons: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A ``python3.x`` on PATH that does not run, or is of another version, does not count."""
    this = f"{sys.version_info.major}.{sys.version_info.minor}"
    other = next(version for version in pythons.SUPPORTED if version != this)
    shim = tmp_path / f"python{other}"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    assert not pythons.answers(shim, other)
    assert not pythons.answers(Path(sys.executable), other)
    assert pythons.answers(Path(sys.executable), this)
