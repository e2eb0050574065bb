"""Paths of proto files stay inside the spec's folder, never look like options, and make importable modules."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cogment_generate.names import Package, ProtoModule, proto_path_problem

if TYPE_CHECKING:
    from .conftest import Project

REFUSED = {
    "/etc/passwd.proto": "has to be relative",
    "../data.proto": "may not leave",
    "sub/../../data.proto": "may not leave",
    "sub/../data.proto": "may not leave",
    "-I.proto": "may not start with '-'",
    "-I/.proto": "may not start with '-'",
    "./-x.proto": "may not start with '-'",
    "--plugin=evil.proto": "has to be the relative path",
    "--descriptor_set_in.proto": "may not start with '-'",
    "@arguments.proto": "has to be the relative path",
    "data.proto\n--x.proto": "has to be the relative path",
    "data.proto\n": "has to be the relative path",
    "a b.proto": "has to be the relative path",
    "a;b.proto": "has to be the relative path",
    "$(x).proto": "has to be the relative path",
    "sub\\data.proto": "has to be the relative path",
    "C:/data.proto": "has to be the relative path",
    "d\u0430ta.proto": "has to be the relative path",
    "data.yaml": "has to be the relative path",
    "proto": "has to be the relative path",
    ".proto": "has to be the relative path",
    "": "has to be the relative path",
}


@pytest.mark.parametrize("path", REFUSED)
def test_a_path_that_leaves_the_folder_or_is_an_option_is_refused(
    path: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before protoc runs, naming the place in the spec."""

    def run(*_: object, **__: object) -> None:
        raise AssertionError("protoc was run")

    monkeypatch.setattr("subprocess.run", run)
    project.write("cogment.yaml", f"import:\n  proto:\n    - data.proto\n    - {json.dumps(path)}\n")
    message = project.refusal()
    assert message.startswith(f"{project.folder / 'cogment.yaml'}:4: import.proto[1]: ")
    assert REFUSED[path] in message


def test_a_link_out_of_the_folder_is_refused(project: Project, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A file, a folder on the way, and a file that is only imported; a link that stays inside is fine."""
    outside = tmp_path_factory.mktemp("outside")
    (outside / "secret.proto").write_text('syntax = "proto3"; message Secret {}')
    (project.folder / "link.proto").symlink_to(outside / "secret.proto")
    (project.folder / "folder").symlink_to(outside)
    for listed in ("link.proto", "folder/secret.proto"):
        project.write("cogment.yaml", f"import:\n  proto: [{listed}]\n")
        assert "import.proto[0]" in (message := project.refusal())
        assert "is a link that leaves the folder" in message
        project.write("entry.proto", f'syntax = "proto3"; import "{listed}"; message M {{ Secret s = 1; }}')
        project.write("cogment.yaml", "import:\n  proto: [entry.proto]\n")
        assert "entry.proto: the import" in (message := project.refusal())
        assert "is a link that leaves the folder" in message
    (project.folder / "inner.proto").symlink_to(project.folder / "data.proto")
    project.write("cogment.yaml", "import:\n  proto: [inner.proto]\n")
    project.generate()
    assert "out/inner_pb2.py" in project.files()


@pytest.mark.parametrize(("path", "problem"), [("lost.proto", "is not in the folder"), ("dir.proto", "is no file")])
def test_a_file_that_is_not_there_is_named(project: Project, path: str, problem: str) -> None:
    """With its place in the spec."""
    (project.folder / "dir.proto").mkdir()
    project.write("cogment.yaml", f"import:\n  proto: [{path}]\n")
    message = project.refusal()
    assert message.startswith(f"{project.folder / 'cogment.yaml'}:2: import.proto[0]: '{path}' {problem}")


def test_a_folder_with_any_name_can_be_compiled(empty_project: Project) -> None:
    """Characters that protoc takes for separators, in the folders of the spec and of the output."""
    inner = "a:b=c d"
    empty_project.write(f"{inner}/data.proto", 'syntax = "proto3"; message M {}')
    empty_project.write(f"{inner}/cogment.yaml", "import: {proto: [data.proto]}")
    type(empty_project)(empty_project.folder / inner).generate()
    assert f"{inner}/out/data_pb2.py" in empty_project.files()


def test_modules_beside_the_spec_are_not_run(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """protoc's process does not take a module of the project for one that it needs."""
    for name in ("grpc_tools/__init__", "resource", "importlib/__init__", "typing", "pathlib"):
        project.write(f"{name}.py", "open('canary', 'w')")
    monkeypatch.chdir(project.folder)
    project.generate()
    assert "canary" not in project.files()


NOT_IMPORTABLE = {
    "class/data.proto": "'class' is no name in Python",
    "sub/2d/data.proto": "'2d' is no name in Python",
    "2d.proto": "'2d_pb2' is no name in Python",
    "a..b.proto": "'' is no name in Python",
    "io/data.proto": "hidden by 'io'",
    "cogment/api/data.proto": "hidden by 'cogment'",
    "google/protobuf/mine.proto": "is in the folder of protobuf itself",
}


@pytest.mark.parametrize("path", NOT_IMPORTABLE)
def test_a_path_whose_module_could_not_be_imported_is_refused(path: str) -> None:
    """The module's name is shown, with the part of it that is wrong."""
    problem = proto_path_problem(path) or ProtoModule(path).problem(Package())
    assert NOT_IMPORTABLE[path] in problem


def test_names_that_are_hidden_on_top_are_fine_in_a_package() -> None:
    """``io.data_pb2`` cannot be imported, ``.io.data_pb2`` can."""
    assert ProtoModule("io/data.proto").problem(Package(".")) == ""
    assert ProtoModule("google/protobuf/mine.proto").problem(Package("my.package")) == ""


def test_google_is_no_reserved_folder(empty_project: Project) -> None:
    """Copies of Google's public protos work beside protobuf's own modules."""
    empty_project.write("google/rpc/code.proto", 'syntax = "proto3"; package google.rpc; message Code {}')
    empty_project.write(
        "cogment.yaml", "import: {proto: [google/rpc/code.proto]}\ntrial: {config_type: google.rpc.Code}"
    )
    empty_project.generate()
    assert empty_project.run("import cog_settings as c; print(c.trial.config_type.__module__)") == "google.rpc.code_pb2"


@pytest.mark.parametrize(
    ("one", "other"), [("my-data.proto", "my_data.proto"), ("a/b.proto", "a_b.proto"), ("a.b.proto", "a/b.proto")]
)
def test_two_files_that_make_one_module_are_refused(empty_project: Project, one: str, other: str) -> None:
    """Both are named."""
    empty_project.write(one, 'syntax = "proto3"; message One {}')
    empty_project.write(other, 'syntax = "proto3"; message Other {}')
    empty_project.write("cogment.yaml", f"import:\n  proto: [{one}, {other}]\n")
    message = empty_project.refusal()
    assert f"'{other}' and '{one}' would become Python modules of the same name" in message


@pytest.mark.parametrize("output", ["data_pb2.py", "sub.py"])
def test_an_output_that_hides_a_module_is_refused(project: Project, output: str) -> None:
    """The settings module cannot have the name of a proto file's module, or of a folder of them."""
    project.write("sub/more.proto", 'syntax = "proto3"; message More {}')
    project.write("cogment.yaml", "import: {proto: [data.proto, sub/more.proto]}")
    assert "choose another name" in project.refusal(output)


@pytest.mark.parametrize("output", ["out", "out/cog_settings", "out/cog-settings.py", "out/class.py", "out/"])
def test_an_output_that_is_no_module_is_refused(project: Project, output: str) -> None:
    """With an example of what would be right."""
    if output == "out/":
        (project.folder / "out").mkdir()
    message = project.refusal(output)
    assert message.startswith(f"--output {Path(project.folder, output)}: ")
    assert "cog_settings.py" in message


@pytest.mark.parametrize("package", ["a b", "a..b", "..", ".a", "class", "a-b", "import os", "__a"])
def test_a_package_name_that_is_none_is_refused(project: Project, package: str) -> None:
    """Only dotted names can come to stand in an import."""
    assert "has to be the dotted name of a Python package" in project.refusal(package=package)


def test_a_folder_that_cannot_be_written_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Itself, and not the temporary one that could not be made in it."""

    mkdir = os.mkdir

    def refuse(path: str, mode: int = 0o777) -> None:
        if Path(path).parent == project.folder / "out":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        mkdir(path, mode)

    project.generate()
    monkeypatch.setattr(os, "mkdir", refuse)
    assert project.refusal() == f"{project.folder / 'out'}: cannot be written: Permission denied"


def test_files_that_cannot_be_written_are_named(project: Project) -> None:
    """And the ones that were there stay as they are."""
    project.generate()
    before = (project.folder / "out/cog_settings.py").read_text()
    project.write("data.proto", (project.folder / "data.proto").read_text().replace("move", "jump"))
    project.write("cogment.yaml", (project.folder / "cogment.yaml").read_text().replace("trial:\n", "trials:\n"))
    project.write("taken", "a file where a folder has to be")
    assert "taken" in project.refusal("taken/cog_settings.py")
    assert (project.folder / "out/cog_settings.py").read_text() == before
