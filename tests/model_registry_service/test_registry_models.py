"""Models of a Model Registry: names, user data, pages, statuses."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cogment_core.api import common_pb2
from cogment_core.api import model_registry_pb2 as messages
from cogment_services.model_registry.names import MAX_USER_DATA, check_model_id
from cogment_services.model_registry.pages import page_of
from cogment_services.refusals import Refusal

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND

HOSTILE = [
    *("", ".", "..", "...", "../x", "..\\x", "x/..", "a/../../b", "/", "/etc/passwd", "//", "\\", "C:\\x", "C:x", "~"),
    *("%2e%2e/", "%252e", "%2e%2e%2fx", "..%2f", "..;/", "....//", "a/b", "a\\b", "./a", "a/.", "file:///x", "${x}"),
    *("\0", "a\0", "a\0b", "a\n", "\na", "a\r\n", "\t", " ", "a ", " a", "a.", "a..", "-a", "_a", ".a", "-", "--help"),
    *("CON", "con", "Con.txt", "PRN", "AUX", "NUL", "nul.tar.gz", "COM1", "com9.x", "LPT1", "a:b", "a*", "a?", 'a"'),
    *("<a>", "a|b", "a;b", "$(x)", "`x`", "'", "' OR 1=1 --", "\x1b[2J", "\x7f", "\x9b", "\ufeff", "\u202ea", "\u2028"),
    *("é", "e\u0301", "ﬁ", "１", "Å", "\u212a", "ａ", "\ud7ff", "🤖", "a\u200b", "а", "a" * 129, "a" * 255, "é" * 128),
    *("a" * 4096, "../" * 100, "blobs/ab", "models.sqlite/x", "../models.sqlite", "scratch/", "link/x", "./link"),
]


def hostile_names() -> list[str]:
    """500 of them: those above, and each of them hidden in others."""
    hidden = [f"{before}{name}{after}" for name in HOSTILE for before, after in (("m/", ""), ("", "/m"), ("m ", ""))]
    wrapped = [f"{name}/{number}" for number in range(20) for name in HOSTILE]
    return [*HOSTILE, *hidden, *wrapped][:500]


def tree_hash(root: Path, without: Path) -> str:
    """A hash of all names, links and contents below ``root`` but those below ``without``."""
    result = hashlib.sha256()
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if Path(folder) / name != without)
        for name in sorted([*folders, *files]):
            path = Path(folder) / name
            content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
            result.update(repr((str(path), path.lstat().st_mode, content)).encode())
    return result.hexdigest()


async def test_a_model_is_made_updated_and_removed(client) -> None:
    """User data are replaced as a whole; a removed model is not there any more."""
    await client.create("a", one="1", two="2")
    await client.create("a", two="3")
    (info,) = (await client.models(["a"])).model_infos
    assert (info.model_id, dict(info.user_data)) == ("a", {"two": "3"})
    await client.delete("a")
    assert await client.names() == ["m"]


async def test_all_models_come_by_name_page_by_page(client) -> None:
    """Models are sorted by the bytes of their names; each page says where the next one begins."""
    names = ["B", "Z9", "a", "a-b", "a.b", "a_b", "m"]
    for name in names:
        await client.create(name)
    assert await client.names() == names
    found, handle = [], ""
    while page := (reply := await client.models(count=3, handle=handle)).model_infos:
        found += [info.model_id for info in page]
        assert len(page) <= 3
        handle = reply.next_model_handle
    assert found == names
    assert handle == "7"
    assert (await client.models(handle="100")).next_model_handle == "100"
    assert len((await client.models(handle="-3")).model_infos) == 7


async def test_models_asked_for_come_in_that_order(client, status_of) -> None:
    """Handles and counts select among the ids; one unknown id fails the call."""
    await client.create("a")
    reply = await client.models(["m", "a", "m"])
    assert [info.model_id for info in reply.model_infos] == ["m", "a", "m"]
    reply = await client.models(["m", "a", "m"], count=1, handle="1")
    assert ([info.model_id for info in reply.model_infos], reply.next_model_handle) == (["a"], "2")
    assert not (await client.models(["m"], count=9, handle="5")).model_infos
    assert len((await client.models(["m"], count=9)).model_infos) == 1
    assert await status_of(client.models(["m", "nobody"])) is NOT_FOUND


@pytest.mark.parametrize("handle", ["x", "1.5", " 1", "1 ", "٣", "0x1", "1_0", "9" * 5000, "-", "é"])
async def test_handles_are_integers(client, status_of, handle) -> None:
    """Anything else is refused, for models and for versions."""
    assert await status_of(client.models(handle=handle)) is INVALID
    assert await status_of(client.infos("m", handle=handle)) is INVALID


async def test_what_is_not_there_is_not_found(client, status_of) -> None:
    """Every call that names a model that is not there says so, with the codes that clients know."""
    assert await status_of(client.delete("nobody")) is NOT_FOUND
    assert await status_of(client.infos("nobody")) is NOT_FOUND
    assert await status_of(client.infos("nobody", -1)) is NOT_FOUND
    assert await status_of(client.data("nobody", 1)) is NOT_FOUND
    assert await status_of(client.follow("nobody").read()) is INVALID
    with pytest.raises(grpc.aio.AioRpcError, match=r"no model 'nobody' found") as caught:
        await client.push("nobody")
    assert caught.value.code() is grpc.StatusCode.INTERNAL


async def test_what_is_missing_is_said(client, status_of) -> None:
    """A request without its main part is refused, and the server goes on."""
    assert await status_of(client.stub.CreateOrUpdateModel(messages.CreateOrUpdateModelRequest())) is INVALID
    assert await status_of(client.upload()) is INVALID
    header = messages.CreateVersionRequestChunk.Header()
    assert await status_of(client.upload(messages.CreateVersionRequestChunk(header=header))) is INVALID
    assert await status_of(client.upload(messages.CreateVersionRequestChunk())) is INVALID
    assert await client.names() == ["m"]


async def test_too_much_user_data_is_refused(client, status_of) -> None:
    """What is written on a model or a version fits in a page of a list."""
    await client.create("m", x="y" * (MAX_USER_DATA - 1))
    assert await status_of(client.create("m", x="y" * MAX_USER_DATA)) is INVALID
    assert await status_of(client.push("m", user_data={"x": "é" * (MAX_USER_DATA // 2)})) is INVALID
    assert await client.numbers("m") == []


async def test_a_page_is_never_longer_than_clients_take(client) -> None:
    """A list without a limit ends where a message would become too long, and goes on with the next page."""
    names = [f"large{number:02}" for number in range(20)]
    for name in names:
        await client.create(name, x="y" * (MAX_USER_DATA - 1))
    found, handle = [], ""
    while page := (reply := await client.models(handle=handle)).model_infos:  # stock clients take 4 MiB
        found += [info.model_id for info in page]
        handle = reply.next_model_handle
    assert found == [*names, "m"]


@given(sizes=st.lists(st.integers(0, 3_000_000), max_size=6), limit=st.integers(1, 8))
def test_pages_always_go_on(sizes, limit) -> None:
    """A page has an item if there is one, no more than were asked for, and no more bytes than clients take."""
    items = [messages.ModelInfo(model_id="x" * size) for size in sizes]
    page = page_of(iter(items), limit)
    assert page == items[: len(page)]
    assert bool(page) == bool(items)
    assert len(page) <= limit
    assert len(page) <= 1 or sum(item.ByteSize() for item in page) <= 3_500_000


@given(name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,126}[A-Za-z0-9_-]", fullmatch=True))
def test_usual_names_are_taken(name) -> None:
    """Letters, digits, dots, dashes and underscores make names, except those of devices."""
    devices = {"con", "prn", "aux", "nul", *(f"{it}{n}" for it in ("com", "lpt") for n in range(10))}
    if name.lower().partition(".")[0] in devices:
        with pytest.raises(Refusal):
            check_model_id(name)
    else:
        assert check_model_id(name) == name


@given(name=st.text())
def test_other_names_are_not(name) -> None:
    """What is taken has none of the characters that mean something elsewhere."""
    try:
        check_model_id(name)
    except Refusal:
        return
    assert name.isascii()
    assert name[0].isalnum()
    assert not set(name) & set('/\\:*?"<>|%~ \0\n\r\t')
    assert name[-1] != "."


def calls_with(client: Any, name: str) -> list[Any]:
    """Every call that names a model."""
    return [
        client.create(name),
        client.delete(name),
        client.models([name]),
        client.models(["m", name]),
        client.push(name),
        client.push(name, archived=False),
        client.infos(name),
        client.infos(name, 1),
        client.data(name, 1),
        client.follow(name).read(),
    ]


async def test_hostile_names_are_refused_and_lead_nowhere(client, root, status_of) -> None:
    """500 names times all calls: each is an INVALID_ARGUMENT, and nothing outside of the root changes, nor inside."""
    await client.push("m", b"precious")
    (root.parent / "outside").mkdir()
    (root.parent / "outside" / "file").write_text("untouched")
    (root / "link").symlink_to(root.parent / "outside")
    (root / "ab").symlink_to("/")
    outside, names = tree_hash(root.parent, root), sorted(path.name for path in root.iterdir())
    hostile = hostile_names()
    assert len(set(hostile)) == 500
    for name in hostile:
        for call in calls_with(client, name):
            assert await status_of(call) is INVALID, ascii(name)
    assert tree_hash(root.parent, root) == outside
    assert sorted(path.name for path in root.iterdir()) == names
    assert (await client.names(), await client.data("m")) == (["m"], b"precious")


async def test_nothing_called_nothing_is_deleted(client, status_of) -> None:
    """DeleteModel without a name is refused, and deletes nothing."""
    await client.push("m", b"precious")
    assert await status_of(client.delete("")) is INVALID
    assert await status_of(client.stub.DeleteModel(messages.DeleteModelRequest())) is INVALID
    assert (await client.names(), await client.data("m")) == (["m"], b"precious")


async def test_version_and_status(client) -> None:
    """It tells its version, and its load if that is asked for."""
    info = await client.stub.Version(common_pb2.VersionRequest())
    assert {version.name for version in info.versions} == {"cogment", "cogment_sdk", "grpc"}
    for names, said in ((["*"], {"overall_load": "0"}), (["x", "overall_load"], {"overall_load": "0"}), ([], {})):
        reply = await client.stub.Status(common_pb2.StatusRequest(names=names))
        assert dict(reply.statuses) == said
