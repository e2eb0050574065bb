"""What is generated works in an interpreter of its own that has only cogment-core."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conftest import Project


def spec_of(protos: list[str], action: str, observation: str, more: str = "") -> str:
    spaces = f"action: {{space: {action}}}, observation: {{space: {observation}}}"
    return f"import: {{proto: [{', '.join(protos)}]}}\nactor_classes: [{{name: player, {spaces}}}]\n{more}"


def test_the_module_has_all_documented_names(project: Project) -> None:
    """Actor classes, config types and an alias for each proto file are there, and the types are usable."""
    project.generate()
    code = """
import cog_settings, data_pb2
player = cog_settings.actor_classes.player
assert player is cog_settings.actor_classes["player"] is cog_settings.actor_classes.get_class_by_index(0)
assert [actor_class.name for actor_class in cog_settings.actor_classes] == ["player"]
assert player.action_space is data_pb2.Action and player.observation_space is data_pb2.Observation
assert player.config_type is None
assert cog_settings.trial.config_type is data_pb2.TrialConfig
assert cog_settings.environment.config_type is None
assert cog_settings.data_pb is data_pb2
print(player.action_space.FromString(player.action_space(move=7).SerializeToString()).move)
"""
    assert project.run(code) == "7"


def test_order_of_actor_classes_is_that_of_the_spec(project: Project) -> None:
    """The index of an actor class is its position in the spec file."""
    entries = "".join(
        f"  - {{name: {name}, action: {{space: game.Action}}, observation: {{space: game.Observation}}}}\n"
        for name in ("zebra", "ant", "match")
    )
    project.write("cogment.yaml", f"import: {{proto: [data.proto]}}\nactor_classes:\n{entries}")
    project.generate()
    assert project.run("import cog_settings; print(*(a.name for a in cog_settings.actor_classes))") == "zebra ant match"


def test_a_spec_without_actor_classes_gives_an_empty_list(project: Project) -> None:
    """Missing sections behave as empty ones."""
    project.write("cogment.yaml", "import: {proto: [data.proto]}\ntrial:\nenvironment:\nactor_classes:\n")
    project.generate(pyi=True)
    code = "import cog_settings as c; print(len(c.actor_classes), c.trial.config_type, c.environment.config_type)"
    assert project.run(code) == "0 None None"


def test_parameters_in_the_same_file_are_ignored(project: Project) -> None:
    """One file can be spec and parameter file, whatever its other sections hold."""
    more = """
commands: {run: echo}
trial_params: {max_steps: 10, date: 2020-99-99, number: !!int x}
datalog: null
"""
    spec = project.folder / "cogment.yaml"
    project.write("cogment.yaml", spec.read_text().replace("trial:\n", "trial:\n  pre_hooks: [grpc://h:1]\n") + more)
    project.generate()
    assert project.run("import cog_settings; print(cog_settings.trial.config_type.DESCRIPTOR.full_name)") == (
        "game.TrialConfig"
    )


def test_types_are_found_by_descriptor(empty_project: Project) -> None:
    """Dotted packages, nested messages, no package, several statements on a line and comments are all understood."""
    project = empty_project
    nested = "message Outer { message Inner { message Deep { int32 x = 1; } } } message Obs {}"
    head = '/* package wrong; */ syntax = "proto3"; package one.two; // package wrong;'
    project.write("a.proto", f"{head}\n{nested}")
    project.write("b.proto", 'syntax = "proto3";\n// message Other\nmessage Plain {}')
    project.write("cogment.yaml", spec_of(["a.proto", "b.proto"], "one.two.Outer.Inner.Deep", "Plain"))
    project.generate()
    code = """
import cog_settings as c
player = c.actor_classes.player
print(player.action_space.DESCRIPTOR.full_name, player.observation_space.DESCRIPTOR.full_name)
"""
    assert project.run(code) == "one.two.Outer.Inner.Deep Plain"


def test_file_names_of_all_kinds(empty_project: Project) -> None:
    """Sub-folders, dashes, dots and a leading ./ give the modules that protoc makes, under an alias each."""
    project = empty_project
    names = ["./plain.proto", "my-data.proto", "sub/deep/in-ner.proto", "data.v1.proto"]
    for index, name in enumerate(names):
        project.write(name, f'syntax = "proto3"; message M{index} {{}}')
    project.write("cogment.yaml", spec_of(names, "M2", "M3", "trial: {config_type: M1}\n"))
    project.generate()
    assert {
        "out/plain_pb2.py",
        "out/my_data_pb2.py",
        "out/sub/deep/in_ner_pb2.py",
        "out/data/v1_pb2.py",
    } < project.files()
    code = """
import cog_settings as c, my_data_pb2, sub.deep.in_ner_pb2, data.v1_pb2
assert c.plain_pb.M0 and c.my_data_pb.M1 is my_data_pb2.M1 is c.trial.config_type
assert c.sub_deep_in_ner_pb.M2 is sub.deep.in_ner_pb2.M2 is c.actor_classes.player.action_space
assert c.data_v1_pb.M3 is data.v1_pb2.M3 is c.actor_classes.player.observation_space
print("ok")
"""
    assert project.run(code) == "ok"


def test_imports_of_imports_are_compiled_too(empty_project: Project) -> None:
    """Only the files that the spec itself needs are listed; their types can be named all the same."""
    project = empty_project
    project.write("top.proto", 'syntax = "proto3"; import "sub/mid.proto"; message Top { Mid mid = 1; }')
    project.write("sub/mid.proto", 'syntax = "proto3"; import public "low.proto"; import "google/protobuf/any.proto"; '
                  "message Mid { Low low = 1; google.protobuf.Any any = 2; }")  # fmt: skip
    project.write("low.proto", 'syntax = "proto3"; message Low { int32 x = 1; }')
    project.write("cogment.yaml", spec_of(["top.proto"], "Top", "Low"))
    project.generate()
    assert {"out/top_pb2.py", "out/sub/mid_pb2.py", "out/low_pb2.py"} < project.files()
    assert not any("google" in name for name in project.files())
    code = """
import cog_settings as c
top = c.actor_classes.player.action_space()
top.mid.low.x = 3
top.mid.any.Pack(c.actor_classes.player.observation_space(x=1))
print(top.mid.low.x)
"""
    assert project.run(code) == "3"


def test_types_of_protobuf_itself_need_no_file(empty_project: Project) -> None:
    """Well-known types are taken from protobuf, whether their file is listed or only imported."""
    project = empty_project
    project.write("data.proto", 'syntax = "proto3"; import "google/protobuf/struct.proto"; message M { google.protobuf.Struct s = 1; }')  # fmt: skip # noqa: E501
    protos = ["data.proto", "google/protobuf/wrappers.proto"]
    project.write("cogment.yaml", spec_of(protos, "google.protobuf.Int32Value", "google.protobuf.Struct"))
    for package, module in ((None, "cog_settings"), ("out", "out.cog_settings")):
        project.generate(package=package)
        types = "p.action_space.__module__, p.observation_space.__name__"
        code = f"import {module} as c; p = c.actor_classes.player; print({types})"
        assert project.run(code, "." if package else "out") == "google.protobuf.wrappers_pb2 Struct"


def test_the_same_input_gives_the_same_output(project: Project) -> None:
    """Generating again, to somewhere else too, changes no byte."""
    project.generate("one/cog_settings.py", pyi=True, package=".")
    project.generate("two/cog_settings.py", pyi=True, package=".")
    for name in ("cog_settings.py", "cog_settings.pyi", "data_pb2.py", "data_pb2.pyi"):
        assert (project.folder / "one" / name).read_bytes() == (project.folder / "two" / name).read_bytes()


def test_existing_files_are_replaced(project: Project) -> None:
    """A second run shows what changed in the proto file."""
    project.generate()
    (project.folder / "data.proto").write_text((project.folder / "data.proto").read_text().replace("move", "jump"))
    project.generate()
    assert project.run("import data_pb2; print(data_pb2.Action(jump=2).jump)") == "2"
    assert {name for name in project.files() if name.startswith("out/")} == {"out/cog_settings.py", "out/data_pb2.py"}


def test_a_protobuf_that_is_too_old_is_explained(project: Project) -> None:
    """Generated with a newer protobuf than there is here: importing says what to install, before any other error."""
    project.generate()
    settings = project.folder / "out/cog_settings.py"
    text = settings.read_text()
    if "require_protobuf" not in text:
        text = text.replace("ConfigSpec\n", "ConfigSpec, require_protobuf\n\nrequire_protobuf('0')\n", 1)
    lines = ["require_protobuf('99.1.0')" if line.startswith("require_") else line for line in text.splitlines()]
    settings.write_text("\n".join(lines))
    project.write("out/data_pb2.py", "raise ImportError('the other error')")
    code = """
try:
    import cog_settings
except Exception as error:
    print(type(error).__name__, error)
"""
    said = project.run(code)
    assert said.startswith("SpecsError")
    assert "99.1.0" in said
    assert "pip install 'protobuf>=99.1.0'" in said
