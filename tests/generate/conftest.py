"""A project folder to generate from, and fresh interpreters to use the result in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from cogment_generate import CogmentGenerateError, generate

DATA_PROTO = """
syntax = "proto3";
package game;
message TrialConfig { int32 rounds = 1; }
message Observation { repeated float values = 1; message Detail { string text = 1; } Detail detail = 2; }
message Action { int32 move = 1; }
"""

SPEC = """\
import:
  proto:
    - data.proto
trial:
  config_type: game.TrialConfig
actor_classes:
  - name: player
    action:
      space: game.Action
    observation:
      space: game.Observation
"""

# What an environment with cogment-core alone does not have.
BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Block())
"""
NOT_OF_CORE = ("cogment", "cogment_generate", "grpc_tools", "jinja2", "yaml")


class Project:
    """The folder of a project."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def files(self) -> set[str]:
        """All files there are, without what Python caches."""
        found = (path for path in self.folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {path.relative_to(self.folder).as_posix() for path in found}

    def generate(self, output: str = "out/cog_settings.py", *, pyi: bool = False, package: str | None = None) -> None:
        generate(self.folder / "cogment.yaml", self.folder / output, pyi=pyi, package=package)

    def refusal(self, output: str = "out/cog_settings.py", *, package: str | None = None) -> str:
        """The error that generating ends with; nothing may have been written."""
        before = self.files()
        with pytest.raises(CogmentGenerateError) as caught:
            self.generate(output, package=package)
        assert self.files() == before
        return str(caught.value)

    def run(self, code: str, path: str = "out", blocked: Iterable[str] = NOT_OF_CORE) -> str:
        """What ``code`` prints in a fresh interpreter with ``path`` on Python's path."""
        program = BLOCK.format(blocked=set(blocked)) + code
        environment = {**os.environ, "PYTHONPATH": str(self.folder / path), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True, text=True, timeout=50, check=False, cwd=self.folder.parent, env=environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


@pytest.fixture
def empty_project(tmp_path: Path) -> Project:
    """A folder with nothing in it."""
    return Project(tmp_path)


@pytest.fixture
def project(empty_project: Project) -> Project:
    """A spec file and a proto file that are right."""
    empty_project.write("data.proto", DATA_PROTO)
    empty_project.write("cogment.yaml", SPEC)
    return empty_project
