"""``python -m cogment_generate``."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from cogment_generate import main

if TYPE_CHECKING:
    from .conftest import Project

RIGHT = {
    "defaults": [],
    "options": ["--spec", "cogment.yaml", "--output", "./cog_settings.py"],
    "positional": ["cogment.yaml"],
    "positional after": ["--output=cog_settings.py", "cogment.yaml"],
}
WRONG = {
    "unknown option": (["--wrong"], "unrecognized arguments: --wrong"),
    "spec twice": (["--spec", "cogment.yaml", "cogment.yaml"], "given twice"),
    "two specs": (["cogment.yaml", "other.yaml"], "unrecognized arguments: other.yaml"),
    "no value": (["--output"], "expected one argument"),
    "package takes the spec": (["--package", "cogment.yaml"], "--package=."),
}


def run(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cogment_generate", *arguments],
        cwd=project.folder, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("case", RIGHT)
def test_the_spec_can_be_given_in_every_documented_way(project: Project, case: str) -> None:
    """Both options have the documented defaults, and the spec may stand without its option."""
    done = run(project, *RIGHT[case])
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "wrote cog_settings.py, data_pb2.py\n"
    assert {"cog_settings.py", "data_pb2.py"} < project.files()


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_usage_exits_with_2(project: Project, case: str) -> None:
    """With the usage and what is wrong, and nothing is written."""
    arguments, problem = WRONG[case]
    before = project.files()
    done = run(project, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: python -m cogment_generate")
    assert problem in done.stderr
    assert project.files() == before


def test_an_error_is_one_message_and_status_1(project: Project) -> None:
    """No traceback, and nothing on standard output."""
    project.write("cogment.yaml", "import:\n  proto: [lost.proto]\n")
    done = run(project)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == "error: cogment.yaml:2: import.proto[0]: 'lost.proto' is not in the folder of the spec file (.)\n"
    )


def test_a_missing_spec_is_named(empty_project: Project) -> None:
    """By the name that was looked for."""
    done = run(empty_project)
    assert (done.returncode, done.stderr) == (1, "error: cogment.yaml: there is no such file\n")


def test_folders_of_the_output_are_made(project: Project) -> None:
    """With everything that is asked for."""
    done = run(project, "--pyi", "--output", "one/two/cog_settings.py", "cogment.yaml", "--package")
    assert done.returncode == 0, done.stderr
    assert {f"one/two/{name}" for name in ("cog_settings.py", "cog_settings.pyi", "data_pb2.py", "data_pb2.pyi")} < (
        project.files()
    )
    assert "from . import data_pb2" in (project.folder / "one/two/cog_settings.py").read_text()


def test_stubs_of_an_earlier_run_are_pointed_out(project: Project) -> None:
    """They would tell an editor what was true then."""
    assert run(project, "--pyi").stderr == ""
    assert run(project).stderr.splitlines() == [
        f"{name}: is left from an earlier run and may be wrong now: use --pyi, or delete it"
        for name in ("cog_settings.pyi", "data_pb2.pyi")
    ]


def test_main_returns_the_status(
    project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It can be called with arguments, and under another name."""
    monkeypatch.chdir(project.folder)
    assert main(["cogment.yaml"]) == 0
    assert main(["lost.yaml"]) == 1
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["--help"], prog="python -m cogment.generate")
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: python -m cogment.generate")


def test_a_relative_python_path_keeps_working(project: Project) -> None:
    """protoc's process is found from any folder."""
    environment = {**os.environ, "PYTHONPATH": os.path.relpath(project.folder)}
    command = [sys.executable, "-m", "cogment_generate", "--spec", str(project.folder / "cogment.yaml")]
    output = ["--output", str(project.folder / "out" / "cog_settings.py")]
    done = subprocess.run([*command, *output], env=environment, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_the_package_loads_nothing_heavy() -> None:
    """The SDK imports the error class from here whenever the generator is installed."""
    heavy = ("yaml", "jinja2", "google.protobuf", "grpc")
    code = f"import cogment_generate, sys; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout == "[]\n"
