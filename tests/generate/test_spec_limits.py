"""Documents that are made to be expensive are refused quickly; anything that is no YAML is an error of ours."""

from __future__ import annotations

import os
import resource
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cogment_generate import CogmentGenerateError
from cogment_generate.document import MAX_BYTES, MAX_DEPTH, parse_document, read_document
from cogment_generate.spec import parse_spec


def laughs() -> str:
    """Each level refers nine times to the one before."""
    lines = ['a: &a ["lol"]'] + [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in pairwise("abcdefghij")]
    return "\n".join(lines)


BOMBS = {
    "billion laughs": (laughs(), "anchors"),
    "alias": ("a: 1\nb: *a", "anchors"),
    "anchor alone": ("a: &a 1", "anchors"),
    "anchored section": ("a: &a {b: c}", "anchors"),
    "recursive": ("&a [*a]", "anchors"),
    "merge keys": ("x: {<<: {a: b}}\n", "merge keys (<<)"),
    "many merge keys": ("x: {<<: {a: b}}\n" * 1000, "merge keys (<<)"),
    "deep lists": ("[" * 100_000, "nested deeper"),
    "deep sections": ("{a: " * 60_000, "nested deeper"),
    "deep blocks": ("- " * 100_000, "nested deeper"),
    "deep keys": ("? " * 100_000, "nested deeper"),
    "deep indentation": ("\n".join(" " * level + "a:" for level in range(700)), "nested deeper"),
    "many entries": ("[" + "a," * 120_000 + "]", "keys and values"),
    "many keys": ("".join(f"key{number}: x\n" for number in range(18_000)), "keys and values"),
    "duplicate keys": ("a: {b: 1,\n c: 2, b: 3}", "cogment.yaml:2: a.b: is written twice"),
    "duplicate keys in a list": ("a: [{b: 1, b: 1}]", "a[0].b: is written twice"),
    "two documents": ("a: 1\n---\nb: 1", "is no valid YAML"),
    "control character": ("a: \x07", "is no valid YAML"),
    "tab": ("a:\n\t- b", "cogment.yaml:2: is no valid YAML"),
    "open quote": ('a: "b', "is no valid YAML"),
}
HARMLESS = {
    "long number": "a: " + "9" * 250_000,
    "number of all digits and lines": "a: " + "0_" * 120_000,
    "escapes": 'a: "' + "\\x41" * 60_000 + '"',
    "comment": "#" * 250_000,
    "empty lines": "\n" * 250_000,
    "date that does not exist": "a: 2020-99-99",
    "number that is none": "a: !!int x",
    "python tag": "a: !!python/object/apply:os.system ['touch canary']",
    "greatest depth": "[" * MAX_DEPTH + "]" * MAX_DEPTH,
    "quoted merge key": 'a: {"<<": b}',
}


@pytest.mark.parametrize("case", BOMBS)
def test_an_expensive_document_is_refused_at_once(case: str) -> None:
    """In about a second of processor time at most, and 50 MB of memory."""
    text, problem = BOMBS[case]
    memory, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(CogmentGenerateError) as caught:
        parse_document(text, "cogment.yaml")
    assert time.process_time() - start < 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 50_000
    assert str(caught.value).startswith("cogment.yaml:")
    assert problem in str(caught.value)


@pytest.mark.parametrize("case", HARMLESS)
def test_values_that_nobody_needs_do_no_harm(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values are not constructed, so one that cannot be is no error, and no tag does anything."""
    monkeypatch.chdir(tmp_path)
    start = time.process_time()
    parse_document(HARMLESS[case], "cogment.yaml")
    assert time.process_time() - start < 3
    assert list(tmp_path.iterdir()) == []


VALID = """\
import:
  proto: [data.proto]
actor_classes:
  - {name: player, action: {space: game.Action}, observation: {space: game.Observation}}
"""


@given(st.integers(0, len(VALID)), st.integers(0, 20), st.text(max_size=20))
@example(0, 0, "\ud800")
@example(0, 0, "\ufeff")
def test_a_damaged_document_is_read_or_refused(start: int, length: int, replacement: str) -> None:
    """Whatever stands in the file, the outcome is a spec or a `CogmentGenerateError`."""
    text = VALID[:start] + replacement + VALID[start + length :]
    try:
        outcome = parse_spec(parse_document(text, "cogment.yaml")).file
    except CogmentGenerateError as error:
        outcome = str(error)
    assert outcome.startswith("cogment.yaml")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    """Missing, a folder, a pipe, too large, and not text at all."""
    missing, folder, pipe, large, binary = (
        tmp_path / name for name in ("missing", "folder", "pipe", "large", "binary")
    )
    folder.mkdir()
    os.mkfifo(pipe)
    large.write_bytes(b"#" * (MAX_BYTES + 1))
    binary.write_bytes(b"import: \xff\xfe")
    expected = {missing: "no such file", folder: "is no file", pipe: "is no file", large: "256 kB", binary: "not UTF-8"}
    for path, problem in expected.items():
        with pytest.raises(CogmentGenerateError, match=problem) as caught:
            read_document(path)
        assert str(caught.value).startswith(str(path))


def test_the_largest_file_is_read(tmp_path: Path) -> None:
    """The limit itself is allowed, and a byte order mark."""
    path = tmp_path / "cogment.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: b\n".ljust(MAX_BYTES, b"#"))
    assert read_document(path).keys() == ["a"]
