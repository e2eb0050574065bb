"""``--package`` and ``--pyi``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Project

SPEC = """\
import: {proto: [top.proto]}
trial: {config_type: game.Top}
actor_classes:
  - {name: player, config_type: game.Low, action: {space: game.Low.Inner}, observation: {space: game.Mid}}
  - {name: type, action: {space: game.Low}, observation: {space: game.Mid}}
"""
USE = """
import pickle
from my.package import cog_settings
from my.package.sub.deep import mid_pb2
observation = cog_settings.actor_classes.player.observation_space()
observation.low.x = 5
assert type(observation) is mid_pb2.Mid
assert pickle.loads(pickle.dumps(observation)) == observation
assert type(observation).__module__ == "my.package.sub.deep.mid_pb2"
assert cog_settings.trial.config_type(mid=observation).mid.low.x == 5
print(*sorted(name for name in __import__("sys").modules if name.endswith("_pb2") and "google" not in name))
"""


@pytest.fixture
def nested(empty_project: Project) -> Project:
    """Files in three folders that import each other up and down, one publicly."""
    empty_project.write("cogment.yaml", SPEC)
    empty_project.write("top.proto", 'syntax = "proto3"; package game; import "sub/deep/mid.proto"; message Top { Mid mid = 1; }')  # fmt: skip # noqa: E501
    empty_project.write("sub/deep/mid.proto", 'syntax = "proto3"; package game; import public "low.proto"; import "sub/side.proto"; message Mid { Low low = 1; Side side = 2; }')  # fmt: skip # noqa: E501
    empty_project.write("sub/side.proto", 'syntax = "proto3"; package game; message Side {}')
    empty_project.write("low.proto", 'syntax = "proto3"; package game; message Low { int32 x = 1; message Inner { string text = 1; } Inner inner = 2; }')  # fmt: skip # noqa: E501
    return empty_project


@pytest.mark.parametrize("package", [".", "my.package"])
def test_the_output_can_live_in_a_package(nested: Project, package: str) -> None:
    """All modules find each other inside the package and only there, and messages can be pickled."""
    nested.generate("src/my/package/cog_settings.py", package=package)
    prefix = "my.package."
    loaded = nested.run(USE, "src").split()
    ours = [name for name in loaded if not name.startswith("cogment_core")]
    assert ours == [prefix + name for name in ("low_pb2", "sub.deep.mid_pb2", "sub.side_pb2", "top_pb2")]


def test_relative_modules_can_be_moved(nested: Project) -> None:
    """What was generated with relative imports works under another name."""
    nested.generate("src/my/package/cog_settings.py", package=".")
    (nested.folder / "src/my").rename(nested.folder / "src/your")
    nested.run(USE.replace("my.package", "your.package"), "src")


def test_sub_folders_of_a_package_are_packages(nested: Project) -> None:
    """Build tools find them; an ``__init__.py`` that exists is left alone, and without ``--package`` there is none."""
    own = nested.write("src/gen/sub/__init__.py", "# mine\n")
    nested.generate("src/gen/cog_settings.py", package="gen")
    assert own.read_text() == "# mine\n"
    assert "src/gen/sub/deep/__init__.py" in nested.files()
    assert "src/gen/__init__.py" not in nested.files()
    nested.generate("flat/cog_settings.py")
    assert not any(name.startswith("flat/") and name.endswith("__init__.py") for name in nested.files())


USER_FILE = """
from {package} import cog_settings
from {package}.sub.deep import mid_pb2
from cogment_core.specs import CogSettings

settings: CogSettings = cog_settings
player = cog_settings.actor_classes.player
inner = player.action_space(text="a")
length: int = len(inner.text)
observation: mid_pb2.Mid = player.observation_space()
x: int = observation.low.x
config = player.config_type(x=1)
nothing: None = cog_settings.actor_classes.type.config_type
rounds = cog_settings.trial.config_type(mid=observation)
module = cog_settings.top_pb
"""
WRONG_LINES = [
    "wrong: str = observation.low.x",
    "player.action_space(txt='a')",
    "cog_settings.actor_classes.type.config_type()",
    "cog_settings.trial.config_type().mid.lwo",
]


@pytest.mark.types
@pytest.mark.slow
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_stubs_type_actions_observations_and_configs(nested: Project, checker: str) -> None:
    """In strict mode a right program has no error, and each line that uses a payload wrongly has one."""
    pytest.importorskip(checker, reason=f"{checker} is in the environment of the type checks only")
    nested.generate("src/gen/cog_settings.py", pyi=True, package=".")
    nested.write("src/gen/__init__.py", "")
    right = USER_FILE.format(package="gen")
    nested.write("src/right.py", right)
    nested.write("src/wrong.py", right + "\n".join(WRONG_LINES) + "\n")
    first = len(right.splitlines()) + 1
    assert errors_of(nested, checker, "right.py") == set()
    assert errors_of(nested, checker, "wrong.py") == set(range(first, first + len(WRONG_LINES)))
    assert errors_of(nested, checker, "gen/cog_settings.pyi") == set()


def errors_of(project: Project, checker: str, file: str) -> set[int]:
    """The lines of ``file``, or of a generated stub that it uses, in which ``checker`` finds an error."""
    folder = project.folder / "src"
    if checker == "mypy":
        command = ["--strict", "--no-incremental", "--no-error-summary", "--python-executable", sys.executable, file]
    else:
        (folder / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict", "venvPath": ""}')
        command = ["--outputjson", "--pythonpath", sys.executable, file]
    done = subprocess.run(
        [sys.executable, "-m", checker, *command],
        capture_output=True, text=True, timeout=55, check=False, cwd=folder, env={**os.environ, "MYPYPATH": ""},
    )  # fmt: skip
    if checker == "mypy":
        return {int(line.split(":")[1]) for line in done.stdout.splitlines() if ": error:" in line}
    found = json.loads(done.stdout)["generalDiagnostics"]
    return {entry["range"]["start"]["line"] + 1 for entry in found if entry["severity"] == "error"}
