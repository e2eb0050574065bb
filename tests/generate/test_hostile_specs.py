"""No text of a spec file is ever run: it is refused, or ends up as the name or the string that it has to be."""

from __future__ import annotations

import ast
import keyword
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest
import yaml
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from hypothesis import given, settings
from hypothesis import strategies as st

from cogment_generate import CogmentGenerateError
from cogment_generate.document import parse_document
from cogment_generate.names import Package
from cogment_generate.plan import ImportedModule, Plan, PlannedActorClass, make_plan
from cogment_generate.render import render_settings, render_stub
from cogment_generate.spec import parse_spec

if TYPE_CHECKING:
    from .conftest import Project

CANARY = Path("canary_of_hostile_specs")
RUN = f"__import__('pathlib').Path('{CANARY}').touch()"

HOSTILE = [
    RUN,
    f"a={RUN}",
    f"a, {RUN}, b",
    f"x);{RUN};(",
    f"'+{RUN}+'",
    f'"+{RUN}+"',
    f"'''\n{RUN}\n'''",
    f'"""\n{RUN}\n"""',
    f"a\n{RUN}",
    f"a\r{RUN}",
    f"a\u2028{RUN}",
    f"a # {RUN}",
    f"a\\\n{RUN}",
    f"{{{RUN}}}",
    "{{ 7 * 7 }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "{{ cycler.__init__.__globals__.os.system('id') }}",
    "__import__",
    "a.__class__",
    "actor_classes",
    "trial",
    "ActorClass",
    "ActorClassList",
    "data_pb",
    "print",
    "p\u0430yer",
    "\uff41ction",
    "\u00aa",
    "a\u0301",
    "a\n",
    "a\x00b",
    "",
    " ",
    "1a",
    "a b",
    "a-b",
    "None",
    "match",
    "_",
    "__a",
    "null",
    "~",
    *keyword.kwlist,
]

FILE = FileDescriptorProto(name="data.proto", package="game")
FILE.message_type.add(name="Action").nested_type.add(name="Inner")
FILE.message_type.add(name="Observation")
# protoc would not let these pass; were it to, they still may not get into a module.
FILE.message_type.add(name=RUN)
FILE.message_type.add(name="class")
TYPES = ["game.Action", "game.Action.Inner", "game.Observation"]

hostile = st.one_of(
    st.sampled_from(HOSTILE), st.text(max_size=12), st.sampled_from(HOSTILE).map(lambda text: f"a{text}")
)
plain_names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,8}", fullmatch=True)
plain_types = st.sampled_from(TYPES)


def specs(names: st.SearchStrategy[str], types: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Specs of which every name is drawn from ``names`` and every type from ``types``."""
    space = st.fixed_dictionaries({"space": types})
    config = st.fixed_dictionaries({"config_type": types})
    actor_class = st.fixed_dictionaries(
        {"name": names, "action": space, "observation": space}, optional={"config_type": types}
    )
    return st.fixed_dictionaries(
        {"import": st.just({"proto": ["data.proto"]}), "actor_classes": st.lists(actor_class, max_size=3)},
        optional={"trial": config, "environment": config},
    )


hostile_specs = specs(plain_names | hostile, plain_types | hostile | hostile.map("game.{}".format))
# A spec in which everything is wrong is refused for the first wrong thing; these get further.
nearly_right_specs = specs(plain_names | hostile, plain_types) | specs(plain_names, plain_types | hostile)


def reference(spec: dict[str, Any]) -> ast.Module:
    """What the module has to be, made of syntax nodes and not of text."""
    entries = spec["actor_classes"]
    module = ast.parse(
        "'doc'\nfrom cogment_core.specs import ActorClass, ActorClassList, ConfigSpec\nimport data_pb2 as data_pb\n"
        "__all__ = ['actor_classes', 'data_pb', 'environment', 'trial']"
    )
    for entry in entries:
        arguments = {
            "name": ast.Constant(entry["name"]),
            "config_type": type_node(entry.get("config_type")),
            "action_space": type_node(entry["action"]["space"]),
            "observation_space": type_node(entry["observation"]["space"]),
        }
        module.body.append(assign(f"_{entry['name']}_class", call("ActorClass", [], arguments)))
    classes: list[ast.expr] = [ast.Name(f"_{entry['name']}_class", ast.Load()) for entry in entries]
    module.body.append(assign("actor_classes", call("ActorClassList", classes, {})))
    for section in ("trial", "environment"):
        config = type_node(spec.get(section, {}).get("config_type"))
        module.body.append(assign(section, call("ConfigSpec", [], {"config_type": config})))
    return module


def assign(name: str, value: ast.expr) -> ast.Assign:
    return ast.Assign([ast.Name(name, ast.Store())], value)


def call(function: str, arguments: list[ast.expr], keywords: dict[str, ast.expr]) -> ast.Call:
    return ast.Call(
        ast.Name(function, ast.Load()), arguments, [ast.keyword(key, value) for key, value in keywords.items()]
    )


def type_node(name: str | None) -> ast.expr:
    if name is None:
        return ast.Constant(None)
    node: ast.expr = ast.Name("data_pb", ast.Load())
    for part in name.split(".")[1:]:
        node = ast.Attribute(node, part, ast.Load())
    return node


def shape(module: ast.Module) -> str:
    """All of a module but the text of its docstring."""
    return ast.dump(ast.Module(module.body[1:], []))


def rendered(spec: dict[str, Any], file: FileDescriptorProto = FILE) -> str | None:
    """The module of ``spec``, None if it is refused; any other exception is a failure."""
    text = yaml.safe_dump(spec, allow_unicode=True, sort_keys=False)
    try:
        plan = make_plan(parse_spec(parse_document(text, "cogment.yaml")), [file], Package())
        render_stub(plan)
        return render_settings(plan)
    except CogmentGenerateError:
        return None


@pytest.fixture(autouse=True)
def no_canary() -> Iterator[None]:
    """Nothing in this file may make the canary."""
    yield
    assert not CANARY.exists()


@given(hostile_specs | nearly_right_specs | specs(plain_names, plain_types))
@settings(max_examples=400)
def test_a_hostile_spec_is_refused_or_becomes_the_expected_module(spec: dict[str, Any]) -> None:
    """The syntax tree is the one that the spec has to give, and running it touches nothing."""
    text = rendered(spec)
    if text is None:
        return
    tree = ast.parse(text)
    assert shape(tree) == shape(reference(spec))
    assert text.isascii()
    with mock.patch.dict(sys.modules, data_pb2=fake_module()):
        exec(compile(tree, "cog_settings", "exec"), {})


def fake_module() -> ModuleType:
    """Something that has the types of `FILE`."""
    module = mock.MagicMock(spec=["Action", "Observation"])
    return module  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("place", ["name", "action", "config_type", "trial"])
def test_each_hostile_text_in_each_place(text: str, place: str) -> None:
    """The ones that are refused say so; the few that are plain names are used as such."""
    entry: dict[str, Any] = {"name": "a", "action": {"space": TYPES[0]}, "observation": {"space": TYPES[2]}}
    spec: dict[str, Any] = {"import": {"proto": ["data.proto"]}, "actor_classes": [entry]}
    if place == "name":
        entry["name"] = text
    elif place == "action":
        entry["action"] = {"space": f"game.{text}"}
    elif place == "config_type":
        entry["config_type"] = text
    else:
        spec["trial"] = {"config_type": f"game.Action.{text}"}
    result = rendered(spec)
    harmless = place == "name" and text.isascii() and text.isidentifier() and not keyword.iskeyword(text)
    assert (result is not None) == (harmless and not text.startswith("__"))


@pytest.mark.parametrize(
    "path",
    ["a;b.proto", f"{RUN}.proto", "a b.proto", "class/a.proto", "a\nb.proto", "as.x/b.proto", "\u0430.proto"],
)
def test_a_hostile_import_found_by_protoc_is_refused(path: str) -> None:
    """The name of a file that is only imported comes into the module too, so it is held to the same rules."""
    other = FileDescriptorProto(name=path)
    other.message_type.add(name="Hidden")
    spec = parse_spec(parse_document("import: {proto: [data.proto]}\ntrial: {config_type: Hidden}", "cogment.yaml"))
    with pytest.raises(CogmentGenerateError, match="which a listed proto file imports"):
        make_plan(spec, [other, FILE], Package())


PLAN = Plan([ImportedModule("", "data_pb2", "data_pb")], [PlannedActorClass("a", None, "data_pb.A", "data_pb.B")], None, None, {})  # fmt: skip # noqa: E501
BROKEN_PLANS = {
    "call in a type": replace(PLAN, trial_config=RUN),
    "call of a builtin": replace(PLAN, trial_config="print()"),
    "method of a type": replace(PLAN, environment_config="data_pb.A()"),
    "lambda": replace(PLAN, trial_config="lambda: 0"),
    "comprehension": replace(PLAN, trial_config="[x for x in data_pb]"),
    "number": replace(PLAN, trial_config="1"),
    "operator": replace(PLAN, trial_config="data_pb.A + data_pb.B"),
    "no syntax": replace(PLAN, trial_config="data_pb."),
    "statement": replace(PLAN, trial_config="data_pb.A)\nimport os\n(data_pb"),
    "import": replace(PLAN, trial_config="data_pb.A)\nfrom os import path as data_pb\n(data_pb"),
    "assignment": replace(PLAN, trial_config="data_pb.A)\nprint = (data_pb"),
    "function": replace(PLAN, trial_config="data_pb.A)\ndef f(): pass\n(data_pb"),
    "string in a format": replace(PLAN, trial_config="f'{data_pb}'"),
}


@pytest.mark.parametrize("fault", BROKEN_PLANS)
def test_the_text_is_checked_even_if_all_names_were_wrongly_let_through(fault: str) -> None:
    """The second lock: a module with anything else in it than the template writes is never handed out."""
    assert render_settings(PLAN)
    with pytest.raises(CogmentGenerateError, match="fault of the generator"):
        render_settings(BROKEN_PLANS[fault])


@pytest.mark.parametrize("fault", [fault for fault in BROKEN_PLANS if fault != "operator"])
def test_the_text_of_a_stub_is_checked_too(fault: str) -> None:
    """A stub is never run, but it is held to the same."""
    assert render_stub(PLAN)
    with pytest.raises(CogmentGenerateError, match="fault of the generator"):
        render_stub(BROKEN_PLANS[fault])


def test_the_command_refuses_a_hostile_spec(project: Project) -> None:
    """From the command line to the end: status 1, one message, no file, no canary."""
    for text in (f"'{RUN.replace(chr(39), chr(34))}'", "'a=print(1)'", "class"):
        spec = project.folder / "cogment.yaml"
        spec.write_text(f"import: {{proto: [data.proto]}}\nactor_classes:\n  - name: {text}\n")
        before = project.files()
        command = [sys.executable, "-m", "cogment_generate"]
        done = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, timeout=50, check=False)
        assert done.returncode == 1
        assert "actor_classes[0].name" in done.stderr
        assert project.files() == before
