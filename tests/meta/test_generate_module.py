"""`cogment.generate`, with and without the extra that it needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import cogment.generate
from cogment.errors import CogmentGenerateError

WITHOUT_EXTRA = "import sys; sys.modules['cogment_generate'] = None; "

SPEC = """
import:
  proto:
    - data.proto
actor_classes:
  - name: player
    action:
      space: data.Move
    observation:
      space: data.Board
"""
PROTO = """
syntax = "proto3";
package data;
message Move { int32 field = 1; }
message Board { repeated int32 fields = 1; }
"""


def python(*arguments: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the interpreter."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=50)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with a spec file and its proto file."""
    (tmp_path / "cogment.yaml").write_text(SPEC)
    (tmp_path / "data.proto").write_text(PROTO)
    return tmp_path


def test_command_without_the_extra_says_what_to_install() -> None:
    """``python -m cogment.generate`` without the generator prints one line, to install it, and exits with 1."""
    code = f"{WITHOUT_EXTRA}import runpy; runpy.run_module('cogment.generate', run_name='__main__')"
    result = python("-W", "ignore", "-c", code)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == 'the generator is not installed; run: pip install "cogment[generate]"\n'


def test_import_without_the_extra_raises_the_generator_error() -> None:
    """``import cogment.generate`` without the generator raises ``CogmentGenerateError``, which says what to install."""
    code = f"{WITHOUT_EXTRA}import cogment.generate"
    result = python("-c", code)
    assert "CogmentGenerateError: the generator is not installed" in result.stderr.splitlines()[-1]


def test_sdk_works_without_the_extra() -> None:
    """``import cogment`` does not need the generator."""
    assert python("-c", f"{WITHOUT_EXTRA}import cogment").returncode == 0


def test_command_writes_the_settings(project: Path) -> None:
    """``python -m cogment.generate --spec … --output …`` writes a module that works with the SDK."""
    run = python("-m", "cogment.generate", "--spec", "cogment.yaml", "--output", "cog_settings.py", folder=project)
    assert run.returncode == 0, run.stderr
    used = python("-c", "import cog_settings, data_pb2; print(cog_settings.actor_classes.player.name)", folder=project)
    assert used.stdout == "player\n", used.stderr


def test_function_writes_the_settings(project: Path) -> None:
    """``generate(spec, output)`` does the same, and returns what it wrote."""
    written = cogment.generate.generate(str(project / "cogment.yaml"), str(project / "cog_settings.py"))
    assert project / "cog_settings.py" in written


def test_function_raises_the_generator_error_of_the_sdk(tmp_path: Path) -> None:
    """A spec that cannot be compiled is a ``cogment.errors.CogmentGenerateError``."""
    with pytest.raises(CogmentGenerateError, match=r"nowhere\.yaml"):
        cogment.generate.generate(tmp_path / "nowhere.yaml", tmp_path / "cog_settings.py")


def test_help_calls_the_command_by_its_name() -> None:
    """The help of ``python -m cogment.generate`` is about that command."""
    assert "python -m cogment.generate" in python("-m", "cogment.generate", "--help").stdout
