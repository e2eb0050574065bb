"""Every error of a spec names the file, the line, the key and what would be right, and nothing is written."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import pytest

from cogment_core.specs import ActorClassList
from cogment_generate import CogmentGenerateError
from cogment_generate.document import parse_document
from cogment_generate.spec import RESERVED_ACTOR_CLASSES, Spec, parse_spec

if TYPE_CHECKING:
    from .conftest import Project

START = "import: {proto: [data.proto]}\n"
ACTOR = (
    "actor_classes:\n  - name: player\n    action: {space: game.Action}\n    observation: {space: game.Observation}\n"
)


def parse(text: str) -> Spec:
    return parse_spec(parse_document(text, "cogment.yaml"))


def with_name(name: str) -> str:
    return START + ACTOR.replace("player", name)


# The spec, then what the message says: line and key, and a part of the explanation.
WRONG_SPECS = {
    "empty file": ("", "1: import.proto", "is missing: it has to be the list of the proto files"),
    "no import": (ACTOR, "1: import.proto", "is missing"),
    "no proto": ("import: {python: []}", "1: import.proto", "is missing"),
    "empty proto": ("import:\n  proto: []", "2: import.proto", "is missing"),
    "proto is text": ("import:\n  proto: data.proto", "2: import.proto", "has to be a list"),
    "proto of null": ("import:\n  proto:\n    -\n", "3: import.proto[0]", "is missing: it has to be the path"),
    "proto of number": ("import: {proto: [a.proto, 5]}", "1: import.proto[1]", "'5' as a value of type 'int'"),
    "proto of list": ("import: {proto: [[a.proto]]}", "1: import.proto[0]", "has to be a string, not a list"),
    "import is list": ("import: [a.proto]", "1: import", "has to be a section of keys, not a list"),
    "root is list": ("- a", "1:", "has to be a section of keys, not a list"),
    "root is text": ("hello", "1:", "has to be a section of keys, not a value of type 'str'"),
    "python": ("import:\n  proto: [a.proto]\n  python: [b]", "3: import.python", "is not supported"),
    "trial is list": (START + "trial: []", "2: trial", "has to be a section of keys, not a list"),
    "trial config": (START + "trial:\n  config_type: [A]", "3: trial.config_type", "has to be a string, not a list"),
    "environment config": (
        START + "environment:\n  config_type: a b", "3: environment.config_type", "'a b' is no name of a protobuf",
    ),
    "actor_classes is section": (START + "actor_classes: {player: {}}", "2: actor_classes", "has to be a list"),
    "actor class is text": (START + "actor_classes: [player]", "2: actor_classes[0]", "has to be a section of keys"),
    "no name": (START + "actor_classes:\n  - action: {}", "3: actor_classes[0].name", "is missing: it has to be"),
    "name is boolean": (with_name("yes"), "3: actor_classes[0].name", "'yes' as a value of type 'bool'"),
    "name with dash": (with_name("my-player"), "3: actor_classes[0].name", "'my-player' cannot be used as a name"),
    "name is keyword": (with_name("class"), "3: actor_classes[0].name", "not be a keyword"),
    "name is special": (with_name("__init__"), "3: actor_classes[0].name", "not start with a digit or with __"),
    "name of look-alikes": (with_name("pl\u0430yer"), "3: actor_classes[0].name", r"'pl\u0430yer' cannot be used"),
    "name with newline": (with_name('"a\\nb"'), "3: actor_classes[0].name", r"'a\nb' cannot be used"),
    "name with newline at its end": (with_name('"a\\n"'), "3: actor_classes[0].name", r"'a\n' cannot be used"),
    "name of method": (with_name("get"), "3: actor_classes[0].name", "'get' is a method of actor_classes"),
    "same name": (
        START + ACTOR + ACTOR.split("\n", 1)[1], "6: actor_classes[1].name", "is the name of actor_classes[0].name too",
    ),
    "no action": (
        START + ACTOR.replace("{space: game.Action}", ""), "4: actor_classes[0].action.space", "is missing",
    ),
    "action is text": (
        START + ACTOR.replace("{space: game.Action}", "game.Action"), "4: actor_classes[0].action",
        "has to be a section of keys, not a value of type 'str'",
    ),
    "no observation": (
        START + ACTOR.replace("observation: ", "other: "), "3: actor_classes[0].observation.space", "is missing",
    ),
    "bad type": (
        START + ACTOR.replace("game.Action", "game..Action"), "4: actor_classes[0].action.space", "'package.Outer",
    ),
    "type is keyword": (START + ACTOR.replace("game.Action", "game.if"), "4: actor_classes[0].action.space", "keyword"),
    "delta": (
        START + ACTOR.replace("game.Observation}", "game.Observation, delta: D}"),
        "5: actor_classes[0].observation.delta",
        "is not supported: remove it",
    ),
    "delta_apply_fn": (
        START + ACTOR.replace("game.Observation}", "game.Observation, delta_apply_fn: {python: a.b}}"),
        "5: actor_classes[0].observation.delta_apply_fn", "is not supported: remove it",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_SPECS)
def test_a_wrong_spec_is_explained(case: str) -> None:
    """The message begins with file, line and key, and goes on with what is wrong."""
    text, place, problem = WRONG_SPECS[case]
    with pytest.raises(CogmentGenerateError) as caught:
        parse(text)
    message = str(caught.value)
    assert message.startswith(f"cogment.yaml:{place}")
    assert problem in message
    assert "\n" not in message
    assert message.isascii()


@pytest.mark.parametrize("imported", ["python: []", "python:"])
def test_an_empty_list_of_python_imports_is_allowed(imported: str) -> None:
    """Only files in it are refused."""
    assert [proto.value for proto in parse(f"import:\n  proto: [a.proto]\n  {imported}").protos] == ["a.proto"]


def test_a_file_that_is_listed_twice_counts_once() -> None:
    """However its path is written."""
    spec = parse("import: {proto: [a.proto, ./a.proto, b/c.proto, b/./c.proto, b//c.proto]}")
    assert [proto.value for proto in spec.protos] == ["a.proto", "b/c.proto"]


def test_the_reserved_names_are_those_of_actor_class_list() -> None:
    """What cogment-core's list has as attributes cannot be reached as an actor class."""
    names = {name for name in [*dir(ActorClassList), *vars(ActorClassList())] if not name.startswith("__")}
    assert names == RESERVED_ACTOR_CLASSES


def test_a_misspelled_key_is_pointed_out(caplog: pytest.LogCaptureFixture) -> None:
    """A key is ignored if it is not known, but not in silence if it is nearly one that is."""
    with caplog.at_level(logging.WARNING, logger="cogment.generate"):
        spec = parse(START + ACTOR + "    config_typ: game.Config\nenvironments: {}\ntrial_params: {}\n")
    assert spec.actor_classes[0].config_type is None
    assert [record.getMessage() for record in caplog.records] == [
        "cogment.yaml:7: environments: is ignored; is environment meant?",
        "cogment.yaml:6: actor_classes[0].config_typ: is ignored; is config_type meant?",
    ]


MISSING_TYPES = {
    "Action": "did you mean game.Action?",
    "gaem.Action": "did you mean game.Action?",
    "game.action": "did you mean game.Action?",
    "game.Detail": "did you mean game.Observation.Detail?",
    "Obs": "they define game.Action",
    "p.Zzzzz": "they define game.Action, game.Observation, game.Observation.Detail, game.TrialConfig",
    "game": "no message 'game'",
    "game.Kind": "'game.Kind' is an enum",
    "game.Observation.Colour": "is an enum: it has to be a message",
    "game.Observation.NamesEntry": "no message 'game.Observation.NamesEntry'",
}


@pytest.mark.parametrize("name", MISSING_TYPES)
def test_a_missing_type_comes_with_the_closest_ones(project: Project, name: str) -> None:
    """Types are compared as a whole: a part of a name, a comment or a file name is no match."""
    proto = project.folder / "data.proto"
    text = proto.read_text().replace(
        "message Detail", "map<string, int32> names = 3; enum Colour {RED = 0;} message Detail"
    )
    proto.write_text(text + "// message Obs and p.Zzzzz\nenum Kind { A = 0; }\n")
    spec = project.folder / "cogment.yaml"
    spec.write_text(spec.read_text().replace("game.Action", name))
    message = project.refusal()
    assert message.startswith(f"{spec}:9: actor_classes[0].action.space: ")
    assert MISSING_TYPES[name] in message


def test_a_message_that_two_packages_have_is_not_guessed(project: Project) -> None:
    """Without its package the name is refused, and all candidates are listed."""
    project.write("other.proto", 'syntax = "proto3"; package other; message Action {}')
    project.write("cogment.yaml", START.replace("]", ", other.proto]") + ACTOR.replace("game.Action", "Action"))
    assert "did you mean game.Action or other.Action?" in project.refusal()


def test_errors_of_protoc_have_file_and_line(project: Project) -> None:
    """What protoc finds is shown as it says it, without its log's noise."""
    project.write("data.proto", 'syntax = "proto3";\nmessage A {\n  Unknown x = 1;\n}\n')
    message = project.refusal()
    assert message.startswith(f"protoc cannot compile data.proto (paths and imports start at {project.folder}):")
    assert re.search(r"^  data\.proto:3:3: \"Unknown\" is not defined", message, re.MULTILINE)
    project.write("data.proto", "message {")
    message = project.refusal()
    assert "data.proto:1:9: Expected message name" in message
    assert "absl" not in message


def test_an_import_that_is_not_there_is_named(project: Project) -> None:
    """By the file that imports it and by where it is looked up."""
    project.write("data.proto", 'syntax = "proto3";\nimport "lost/data.proto";\n')
    message = project.refusal()
    assert "lost/data.proto: File not found." in message
    assert "data.proto:2:1: Import" in message
    assert f"imports start at {project.folder}" in message


def test_warnings_of_protoc_are_logged(project: Project, caplog: pytest.LogCaptureFixture) -> None:
    """Once each, without its log's noise."""
    project.write("extra.proto", 'syntax = "proto3"; message Extra {}')
    project.write("data.proto", (project.folder / "data.proto").read_text() + '\nimport "extra.proto";\n')
    with caplog.at_level(logging.WARNING, logger="cogment.generate"):
        project.generate()
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 1
    assert re.fullmatch(r"protoc: data\.proto:\d+:1: warning: Import extra\.proto is unused\.", messages[0])


def test_protoc_has_a_time_limit(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proto file that keeps protoc busy ends in an error and no process is left."""
    monkeypatch.setattr("cogment_generate.protoc.TIME_LIMIT", 0.001)
    assert "protoc did not finish data.proto within 0.001 s" in project.refusal()


def test_a_protobuf_older_than_protoc_is_refused(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules that could not be imported here are not written; the message says what to install."""
    monkeypatch.setattr("cogment_generate.pipeline.protobuf_version", lambda _: "99.1.0")
    assert "pip install 'protobuf>=99.1.0', or install an older grpcio-tools" in project.refusal()
