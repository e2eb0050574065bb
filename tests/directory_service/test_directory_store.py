"""Entries on disk."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cogment_core.api.directory_pb2 import ServiceEndpoint
from cogment_core.errors import UsageError
from cogment_services.directory.records import Record, Target
from cogment_services.directory.store import Store, StoreError
from cogment_services.directory.tokens import NOBODY, digest, load_tokens

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


def make(service_id: int, properties: dict[str, str] | None = None, permanent: bool = False) -> Record:
    target = Target(ServiceEndpoint.GRPC, "host", 9000, 3, True)
    return Record(service_id, f"secret {service_id}", digest("token"), service_id, permanent, target, properties or {})


async def content(path: Path) -> list[Record]:
    store = Store(path)
    try:
        return await store.open()
    finally:
        await store.close()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=20)
@given(st.dictionaries(TEXT, TEXT, max_size=4), st.booleans(), st.integers(1, (1 << 63) - 1))
async def test_entries_come_back_as_they_were(tmp_path_factory, properties, permanent, number) -> None:
    """Whatever their properties are called."""
    path = tmp_path_factory.mktemp("store") / "file"
    record = replace(make(number, properties, permanent), target=Target(2, "::1", 65535, 100, False))
    store = Store(path)
    assert await store.open() == []
    await store.change(put=[record, make(7)], remove=[])
    await store.change(put=[make(8)], remove=[7])
    await store.close()
    assert await content(path) == sorted([record, make(8)], key=lambda it: it.registered)


async def test_nobody_else_can_read_the_file(tmp_path) -> None:
    """There are secrets in it; and no token."""
    path = tmp_path / "file"
    path.touch(0o644)
    store = Store(path)
    await store.open()
    await store.change(put=[replace(make(1), owner=digest("planted-token"))])
    for file in tmp_path.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
        assert b"planted-token" not in file.read_bytes()
    await store.close()


async def test_a_file_that_is_in_use_is_left_alone(tmp_path) -> None:
    """Two Directories would not know of each other's entries."""
    first = Store(tmp_path / "file")
    await first.open()
    await first.change(put=[make(1)])
    second = Store(tmp_path / "file")
    with pytest.raises(UsageError, match="locked"):
        await second.open()
    await second.close()
    await first.change(put=[make(2)])
    await first.close()
    assert await content(tmp_path / "file") == [make(1), make(2)]


async def test_a_damaged_file_is_put_aside(tmp_path, caplog) -> None:
    """The Directory starts empty, and says so."""
    path = tmp_path / "file"
    for rubbish in (b"rubbish", b"SQLite format 3\0" + os.urandom(4096), b'{"1": {}}', b"[" * 100_000):
        path.write_bytes(rubbish)
        caplog.clear()
        assert await content(path) == []
        assert (tmp_path / "file.damaged").read_bytes() == rubbish
        assert "damaged" in caplog.text
        assert await content(path) == []


async def test_an_empty_file_is_an_empty_directory(tmp_path, caplog) -> None:
    """As it has always been."""
    (tmp_path / "file").touch()
    assert await content(tmp_path / "file") == []
    assert caplog.text == ""


@pytest.mark.parametrize("statement", ["PRAGMA user_version = 99", "PRAGMA application_id = 5"])
async def test_the_files_of_others_are_left_alone(tmp_path, statement) -> None:
    """Of newer versions, and of other programs."""
    path = tmp_path / "file"
    await content(path)
    database = sqlite3.connect(path)
    database.execute(statement)
    database.close()
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"newer|something else"):
        await content(path)
    assert path.read_bytes() == before


async def test_a_file_that_cannot_be_written_is_an_error(tmp_path) -> None:
    """It says which."""
    with pytest.raises(UsageError, match="no/such/folder"):
        await content(tmp_path / "no/such/folder/file")
    with pytest.raises(UsageError, match="cannot be used"):
        await content(tmp_path)


async def test_a_failure_to_write_changes_nothing(tmp_path, monkeypatch) -> None:
    """All of a change, or nothing of it."""
    store = Store(tmp_path / "file")
    await store.open()
    await store.change(put=[make(1)])
    with pytest.raises(StoreError):
        await store.change(put=[make(2), replace(make(3), secret=None)], remove=[1])
    await store.close()
    assert await content(tmp_path / "file") == [make(1)]


async def test_the_file_of_the_older_directory_is_taken_over(tmp_path) -> None:
    """Once; it stays beside the new one, for its owner only."""
    path = tmp_path / "file"
    entry = {
        "Sid": 12,
        "RegisterTimestamp": 5,
        "LastHealthCheckTimestamp": 6,
        "NbFailedHealthChecks": 1,
        "MachineLoad": 0,
        "Permanent": True,
        "AuthenticationToken": "token",
        "Secret": "abcde",
        "Endpoint": {"protocol": 1, "host": "trainer", "port": 9000},
        "Details": {"type": 3, "properties": {"__implementation": "it"}},
    }
    other = {**entry, "Sid": 13, "Permanent": False, "Endpoint": {"protocol": "GRPC_SSL", "host": "h", "port": 1}}
    other["Details"] = {"type": 100}
    del other["AuthenticationToken"]
    path.write_text(json.dumps({"12": entry, "13": other}))
    expected = [
        Record(12, "abcde", digest("token"), 5, True, Target(1, "trainer", 9000, 3, True), {"__implementation": "it"}),
        Record(13, "abcde", NOBODY, 5, False, Target(2, "h", 1, 100, True), {}),
    ]
    assert await content(path) == expected
    assert stat.S_IMODE((tmp_path / "file.older").stat().st_mode) == 0o600
    assert await content(path) == expected


def test_tokens_are_read_from_a_file(tmp_path) -> None:
    """One in a line; a file without any is a mistake."""
    path = tmp_path / "tokens"
    path.write_text("one\n\n  two \n")
    assert load_tokens(str(path)) == {digest("one"), digest("two")}
    assert load_tokens(None) is None
    path.write_text("\n")
    with pytest.raises(UsageError, match="empty"):
        load_tokens(str(path))
    with pytest.raises(UsageError, match="cannot be read"):
        load_tokens(str(tmp_path / "none"))


def test_secrets_are_not_shown() -> None:
    """Neither secrets nor owners."""
    text = repr(make(1))
    assert "secret 1" not in text
    assert repr(digest("token")) not in text
