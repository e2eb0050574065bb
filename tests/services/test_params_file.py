"""The file of default parameters."""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogment_core.errors import UsageError
from cogment_services.orchestrator import params_file
from cogment_services.orchestrator.params_file import load_params_file, parse_params
from cogment_services.yaml_text import MAX_BYTES, MAX_DEPTH

WHOLE = """
import: {proto: [data.proto]}
trial_params:
  trial_config: {content: aGk=}
  properties: {level: 010, flag: no, empty:, tilde: ~}
  datalog:
    endpoint: grpc://localhost:9003
    exclude_fields: [observations, "actions"]
  environment: {name: world, endpoint: grpc://e:1, implementation: sim, config: {content: ""}}
  actors:
    - name: alice
      actor_class: player
      endpoint: cogment://client
      initial_connection_timeout: 1.5
      response_timeout: "2"
      optional: Yes
      default_action: {content: AA==}
    - {name: bob, actor_class: player, optional: F}
  max_steps: 7
  max_inactivity: 0
  nb_buffered_ticks: -3
"""


def test_every_field_of_the_parameters_can_be_given() -> None:
    """All fields are read, by the type that each has, and the other sections of the file are left alone."""
    params = parse_params(WHOLE)
    assert params.trial_config.content == b"hi"
    assert params.datalog.endpoint == "grpc://localhost:9003"
    assert list(params.datalog.exclude_fields) == ["observations", "actions"]
    assert params.environment.name == "world"
    assert params.environment.HasField("config")
    alice, bob = params.actors
    assert (alice.initial_connection_timeout, alice.response_timeout) == (1.5, 2.0)
    assert alice.default_action.content == base64.b64decode("AA==")
    assert (alice.optional, bob.optional) == (True, False)
    assert not bob.HasField("default_action")
    assert (params.max_steps, params.max_inactivity, params.nb_buffered_ticks) == (7, 0, -3)


def test_property_values_stay_the_text_in_the_file() -> None:
    """A property is never typed: numbers, booleans and nulls stay what was written."""
    assert dict(parse_params(WHOLE).properties) == {"level": "010", "flag": "no", "empty": "", "tilde": "~"}


@pytest.mark.parametrize("text", ["", "# only a comment", "other: 1", "trial_params:", "trial_params: {}", "~"])
def test_a_file_that_says_nothing_gives_the_default_inactivity(text: str) -> None:
    """With a file, trials may be inactive for 30 s unless the file says otherwise."""
    assert parse_params(text).max_inactivity == 30
    assert not parse_params(text).actors


@pytest.mark.parametrize("key", ["max_inactivity", "maxInactivity"])
def test_both_spellings_of_a_key_are_known(key: str) -> None:
    """Keys may be in snake_case or in camelCase."""
    assert parse_params(f"trial_params: {{{key}: 5}}").max_inactivity == 5


@pytest.mark.parametrize("word", ["true", "T", "yes", "Y", "1", "TRUE"])
def test_a_boolean_has_many_spellings(word: str) -> None:
    """Booleans are read without regard to case from true, t, yes, y and 1."""
    assert parse_params(f"trial_params: {{actors: [{{name: a, optional: {word}}}]}}").actors[0].optional


@pytest.mark.parametrize("null", ["", "~", "null"])
def test_a_null_is_a_field_that_is_not_set(null: str) -> None:
    """A key with nothing after it leaves its field unset."""
    params = parse_params(f"trial_params:\n  environment:\n    implementation: {null}\n  datalog: {null}\n")
    assert params.environment.implementation == ""
    assert not params.HasField("datalog")


def test_aliases_are_followed() -> None:
    """An anchor's value may be used again."""
    text = "trial_params: {environment: {config: &c {content: aGk=}}, trial_config: *c}"
    assert parse_params(text).trial_config.content == b"hi"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trial_params:\n  actors:\n    - nam: x\n", "f.yaml:3: trial_params.actors[0].nam: there is no such key"),
        ("trial_params: {max_step: 3}", "trial_params.max_step: there is no such key (there are: trial_config"),
        ("trial_params: {max_steps: many}", "trial_params.max_steps: has to be a whole number, not 'many'"),
        ("trial_params: {max_steps: -1}", "between 0 and 4294967295, not -1"),
        ("trial_params: {max_steps: [1]}", "trial_params.max_steps: has to be a single value"),
        ("trial_params: {actors: [{optional: maybe}]}", "has to be true or false"),
        ("trial_params: {actors: [{response_timeout: nan}]}", "has to be a number"),
        ("trial_params: {actors: [{response_timeout: 1e99}]}", "has to be a number"),
        ("trial_params: {actors: {name: x}}", "trial_params.actors: has to be a list"),
        ("trial_params: {datalog: [grpc://x:1]}", "trial_params.datalog: has to be a mapping"),
        ("trial_params: {trial_config: {content: '?'}}", "trial_params.trial_config.content: has to be bytes"),
        ("trial_params: {properties: {a: [1]}}", "trial_params.properties.a: has to be a single value"),
        ("trial_params: {max_steps: 1, maxSteps: 1}", "is there as 'max_steps' too"),
        ("trial_params: {max_steps: 1, max_steps: 2}", "the key 'max_steps' is there twice"),
        ("trial_params: {environment: {<<: {name: x}}}", "trial_params.environment.<<: there is no such key"),
        ("trial_params: !!python/object:os.system {}", "the tag"),
        ("- a list", "the file: has to be a mapping"),
        ("a: 1\n---\nb: 2", "more than one document"),
        ("a: *nothing", "'nothing' has no value"),
        ("a: &self [*self]", "'self' has no value"),
        ("? [1]\n: 2", "a key has to be a text"),
        ("a: [", "not valid YAML"),
        ("a: \x00", "not valid YAML"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(text: str, said: str) -> None:
    """Every error is one line that names the file and, where there is one, the line and the key."""
    with pytest.raises(UsageError) as caught:
        parse_params(text, "f.yaml")
    assert said in str(caught.value)
    assert str(caught.value).startswith("f.yaml")
    assert "\n" not in str(caught.value)


def _laughs() -> str:
    levels = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    levels += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    return "\n".join(levels)


@pytest.mark.parametrize(
    "text",
    [
        _laughs(),
        "[" * 100_000,
        "a: [" + "x," * 100_000 + "]",
        "{" * (MAX_DEPTH + 1) + "a",
        "- " * 50_000,
        "x" * (MAX_BYTES + 1),
        "é" * (MAX_BYTES // 2 + 1),
        "a: &a {b: c}\n" + "".join(f"k{i}: {{<<: [{','.join(['*a'] * 20)}]}}\n" for i in range(1_000)),
    ],
    ids=["laughs", "brackets", "long list", "deep", "dashes", "too long", "too many bytes", "merges"],
)
def test_a_hostile_file_is_refused_quickly(text: str) -> None:
    """Files that grow when they are read, or nest without end, are refused within a second."""
    started = time.thread_time()  # whatever else the processor does meanwhile
    with pytest.raises(UsageError):
        parse_params(text)
    assert time.thread_time() - started < 3.0  # on a machine a third as fast as they are today


def test_a_file_that_cannot_be_read_is_named(tmp_path) -> None:
    """A file that is not there, or not a text, is an error that names it."""
    with pytest.raises(UsageError, match=r"nowhere\.yaml.*cannot be read: No such file"):
        load_params_file(tmp_path / "nowhere.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(UsageError, match=r"binary\.yaml: not a text"):
        load_params_file(tmp_path / "binary.yaml")


PARAMS = b"trial_params:\n  max_steps: 7\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
@pytest.mark.parametrize("delay", [0.0, 0.3])
def test_a_pipe_is_read_to_its_end(tmp_path, delay) -> None:
    """As shells have it: --params <(make_params), however the program at the other end takes its time."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    program = f"import time; file = open({str(pipe)!r}, 'wb'); time.sleep({delay}); file.write({PARAMS!r})"
    with subprocess.Popen([sys.executable, "-c", program]) as writer:
        assert load_params_file(pipe).max_steps == 7
        assert writer.wait(20) == 0
    read, write = os.pipe()
    os.write(write, PARAMS)
    os.close(write)
    assert load_params_file(f"/dev/fd/{read}").max_steps == 7
    os.close(read)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_pipe_that_nobody_writes_to_holds_up_nothing(tmp_path, monkeypatch) -> None:
    """It is refused after a while, and so is one that is not written to its end."""
    monkeypatch.setattr(params_file, "PIPE_TIMEOUT", 0.2)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(
        UsageError, match=r"pipe.*cannot be read: it is a pipe that nobody has written all to for 0\.2 s"
    ):
        load_params_file(tmp_path / "pipe")
    read, write = os.pipe()
    os.write(write, PARAMS)
    with pytest.raises(UsageError, match="nobody has written all to"):
        load_params_file(f"/dev/fd/{read}")
    os.close(read)
    os.close(write)


def test_a_folder_and_an_endless_file_are_refused(tmp_path) -> None:
    """What is no file of parameters is said to be none."""
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        load_params_file(tmp_path)
    with pytest.raises(UsageError, match="longer than 256 kB"):
        load_params_file("/dev/zero")


@given(st.text(max_size=200))
def test_any_text_is_parameters_or_one_error(text: str) -> None:
    """Whatever the file contains, the answer is parameters or a `UsageError`."""
    with contextlib.suppress(UsageError):
        parse_params(text)
