"""What is exported: selection, and JSON Lines."""

from __future__ import annotations

import io
import json
import math
import os
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from stored_trials import (
    Node,
    Point,
    View,
    episode,
    inner,
    message_type,
    recorded,
    sample_of,
    specs,
    trial_params,
    whole,
)

from cogment_core.api import common_pb2
from cogment_core.errors import DecodeError, RpcError, SpecsError, UsageError
from cogment_datastore import DatastoreFields
from cogment_datastore.exports import ExportError, MissingExtraError, Selection, write_jsonl
from cogment_datastore.exports.errors import ExportError as SameError
from cogment_datastore.exports.extras import load
from cogment_datastore.exports.plain import Plain


async def lines_of(datastore: Any, **selection: Any) -> list[dict[str, Any]]:
    """The JSON lines of a selection."""
    stream = io.StringIO()
    count = await write_jsonl(datastore, stream, Selection(**selection))
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == count
    return lines


# --- selection ------------------------------------------------------------------------------------------------------


async def test_a_line_per_tick_and_actor(server: Any, make_datastore: Any) -> None:
    """Each actor has a line for each tick, with what it saw, did, and was rewarded with."""
    server.add_trial("t", trial_params(), episode(2))
    lines = await lines_of(make_datastore(specs()), actor_classes=["player"])
    assert {(line["tick_id"], line["actor"]) for line in lines} >= {(0, "alice"), (0, "bob"), (1, "alice"), (1, "bob")}
    alice = next(line for line in lines if line["actor"] == "alice")
    assert alice["trial_id"] == "t"
    assert alice["timestamp"] == 1_700_000_000_000_000_000
    assert (alice["actor_class"], alice["implementation"], alice["trial_state"]) == ("player", "random", "RUNNING")
    assert alice["observation"]["position"] == {"x": 0.0, "y": 0.5}
    assert alice["observation"]["color"] == "RED"
    assert alice["observation"]["lives"] is None
    assert alice["action"] == {"direction": 0}
    assert alice["reward"] == 1.0
    assert lines[1]["reward"] is None
    assert lines[-3]["action"] is None
    assert alice["received_rewards"] == []


async def test_selection_goes_to_the_server(server: Any, make_datastore: Any) -> None:
    """Trials are chosen by id and property, actors by name, class and implementation, before anything travels."""
    server.add_trial("a", trial_params(properties={"kind": "x"}), episode(1))
    server.add_trial("b", trial_params(properties={"kind": "y"}), episode(1))
    await lines_of(
        make_datastore(specs()),
        trial_ids=["a", "b"],
        properties={"kind": "y"},
        actor_names=["alice"],
        actor_implementations=["random"],
        fields=[DatastoreFields.REWARD],
    )
    (request,) = server.requests("RetrieveSamples")
    assert list(request.trial_ids) == ["b"]
    assert (list(request.actor_names), list(request.actor_implementations)) == (["alice"], ["random"])
    assert list(request.selected_sample_fields) == [3]


async def test_trials_without_a_selected_actor_are_not_read(server: Any, make_datastore: Any) -> None:
    """A trial that has nobody who is selected is left out; so is one without samples, which would be waited for."""
    server.add_trial("t", trial_params(), episode(1))
    server.add_trial("empty", trial_params(), [])
    assert await lines_of(make_datastore(specs()), actor_classes=["referee"]) == []
    assert not server.requests("RetrieveSamples")
    assert {line["trial_id"] for line in await lines_of(make_datastore(specs()))} == {"t"}


async def test_fields_that_are_not_selected_are_not_there(server: Any, make_datastore: Any) -> None:
    """A line has the selected data only."""
    server.add_trial("t", trial_params(), episode(1))
    lines = await lines_of(make_datastore(specs()), fields=[DatastoreFields.ACTION, DatastoreFields.SENT_MESSAGES])
    assert set(lines[0]) == {
        *("trial_id", "tick_id", "timestamp", "trial_state", "actor", "actor_class", "implementation"),
        *("action", "sent_messages"),
    }


@pytest.mark.parametrize(
    ("since", "before", "found"), [(0, 20, {"a", "b"}), (1, None, {"b"}), (None, 10, {"a"}), (5, 10, set())]
)
async def test_trials_by_the_time_they_began(
    server: Any, make_datastore: Any, since: int | None, before: int | None, found: set[str]
) -> None:
    """Trials that began from one time on, and before another, are whole: no episode is cut."""
    start = datetime.fromtimestamp(1_700_000_000, timezone.utc)
    server.add_trial("a", trial_params(), [sample_of(0), *episode(5)[1:]])
    server.add_trial("b", trial_params(), [sample_of(10), sample_of(11, state=common_pb2.ENDED)])
    times = {
        name: start + timedelta(seconds=value)
        for name, value in (("since", since), ("before", before))
        if value is not None
    }
    lines = await lines_of(make_datastore(specs()), actor_names=["alice"], **times)
    assert {line["trial_id"] for line in lines} == found
    assert len({line["tick_id"] for line in lines if line["trial_id"] == "a"}) == (5 if "a" in found else 0)


def test_times_are_exact() -> None:
    """A time is compared to the microsecond; one without a zone is local."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 678901, timezone.utc)
    nanoseconds = 1767323045678901000
    assert Selection(since=moment).begins_in_time(nanoseconds)
    assert not Selection(since=moment).begins_in_time(nanoseconds - 1)
    assert not Selection(before=moment).begins_in_time(nanoseconds)
    assert Selection(since=moment.astimezone().replace(tzinfo=None)).begins_in_time(nanoseconds)


async def test_a_running_trial_is_read_as_far_as_it_is(server: Any, make_datastore: Any) -> None:
    """An export does not wait for a trial to end."""
    server.add_trial("t", trial_params(), [sample_of(0), sample_of(1)])
    server.follows = True
    lines = await lines_of(make_datastore(specs()), actor_names=["alice"])
    assert {line["tick_id"] for line in lines} == {0, 1}


async def test_progress_is_reported(server: Any, make_datastore: Any) -> None:
    """How many samples are read, and how many there are."""
    server.add_trial("a", trial_params(), episode(2))
    server.add_trial("b", trial_params(), episode(3))
    seen: list[tuple[int, int]] = []
    await write_jsonl(make_datastore(None), io.StringIO(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


@pytest.mark.parametrize("name", ["trial_ids", "actor_names", "actor_classes", "actor_implementations"])
async def test_a_text_is_no_list(make_datastore: Any, name: str) -> None:
    """A text where a list belongs is an error, not a list of letters."""
    with pytest.raises(UsageError, match=f"{name} is a list"):
        await lines_of(make_datastore(None), **{name: "alice"})


# --- JSON -----------------------------------------------------------------------------------------------------------


async def test_without_specs_payloads_are_base64(server: Any, make_datastore: Any) -> None:
    """Without specs there are the serialized forms."""
    server.add_trial("t", trial_params(), episode(2))
    lines = await lines_of(make_datastore(None), actor_names=["carol"])
    carol = next(line for line in lines if line["actor"] == "carol")
    assert carol["observation_serialized"] == "CgNhbGw="
    assert carol["action_serialized"] == ""
    assert "observation" not in carol


async def test_specs_of_another_project(server: Any, make_datastore: Any) -> None:
    """An actor class that the specs do not have is an error."""
    params = common_pb2.TrialParams(actors=[common_pb2.ActorParams(name="alice", actor_class="pilot")])
    sample = sample_of(0, state=common_pb2.ENDED)
    del sample.actor_samples[1:]
    server.add_trial("t", params, [sample])
    with pytest.raises(SpecsError, match="'pilot' is not in the specs"):
        await lines_of(make_datastore(specs()))


@pytest.mark.parametrize("form", [whole, inner])
async def test_rewards_and_messages(server: Any, make_datastore: Any, form: Any) -> None:
    """Rewards and messages have their ends, and their payloads with the type as far as it is known."""
    sample = recorded([form("a"), form("b"), form("c"), form("d")])
    sample.state = common_pb2.ENDED
    server.add_trial("t", trial_params(), [sample])
    alice, bob = await lines_of(make_datastore(specs()))
    url = "type.googleapis.com/google.protobuf.StringValue" if form is whole else ""
    assert alice["received_rewards"] == [
        {
            "value": 1.0,
            "confidence": 1.0,
            "sender": "world",
            "receiver": "alice",
            "user_data": {"type_url": url, "value": "CgFh"},
        },
        {"value": 0.5, "confidence": 1.0, "sender": "bob", "receiver": "alice", "user_data": None},
    ]
    assert bob["received_messages"] == [
        {"sender": "world", "receiver": "bob", "payload": {"type_url": url, "value": "CgFk"}}
    ]
    assert [it["receiver"] for it in alice["sent_messages"]] == ["world"]
    assert [it["receiver"] for it in bob["sent_rewards"]] == ["alice"]


async def test_numbers_that_json_does_not_know(server: Any, make_datastore: Any) -> None:
    """Lines are strict JSON: infinite numbers are texts, as in protobuf's own JSON."""
    sample = sample_of(0, state=common_pb2.ENDED, reward=math.inf)
    sample.payloads[0] = View(position={"x": math.nan, "y": -math.inf}).SerializeToString()
    server.add_trial("t", trial_params(), [sample])
    stream = io.StringIO()
    await write_jsonl(make_datastore(specs()), stream, Selection(actor_names=["alice"]))
    line = next(
        json.loads(text, parse_constant=pytest.fail)
        for text in stream.getvalue().splitlines()
        if '"actor":"alice"' in text
    )
    assert line["observation"]["position"] == {"x": "NaN", "y": "-Infinity"}
    assert line["reward"] == "Infinity"


async def test_file_is_whole_or_as_before(server: Any, make_datastore: Any, tmp_path: Path) -> None:
    """A file is replaced when everything is written; after a failure it is as it was, and nothing else is left."""
    server.add_trial("t", trial_params(), episode(2))
    path = tmp_path / "samples.jsonl"
    path.write_text("before")
    plan = server.trials["t"]
    server.failure = (grpc.StatusCode.UNAVAILABLE, "gone")
    with pytest.raises(RpcError):
        await write_jsonl(make_datastore(specs()), path)
    server.failure = None
    plan.samples_count = 2
    server.samples["t"][1].actor_samples[0].actor = 9
    with pytest.raises(DecodeError):
        await write_jsonl(make_datastore(specs()), str(path))
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == [path.name]
    server.samples["t"][1].actor_samples[0].actor = 0
    assert await write_jsonl(make_datastore(specs()), path) == 6
    assert len(path.read_text(encoding="utf-8").splitlines()) == 6


async def test_lost_connection_is_an_error(server: Any, make_datastore: Any) -> None:
    """An export that the server breaks off does not look complete."""
    server.add_trial("t", trial_params(), episode(2))

    def fail(done: int, total: int) -> None:
        server.failure = (grpc.StatusCode.UNAVAILABLE, "gone")

    with pytest.raises(RpcError, match="gone"):
        await write_jsonl(make_datastore(specs()), io.StringIO(), progress=fail)


# --- messages as dictionaries ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        View(
            position={"x": 1, "y": 2},
            pixels=[1, 2],
            color=2,
            label="é",
            others=[{"x": 3}],
            lives=0,
            counts={"b": 1, "a": 2},
            done=True,
        ),
        Node(value=1, children=[Node(value=2, children=[Node()]), Node()]),
        Point(),
    ],
)
def test_messages_are_as_in_the_json_of_protobuf(message: Any) -> None:
    """A dictionary has what protobuf's JSON has, but for names, and for fields that have their default value."""

    def without_defaults(value: Any) -> Any:
        if isinstance(value, dict):
            kept = {key: without_defaults(it) for key, it in value.items()}
            return {key: it for key, it in kept.items() if it not in (None, 0, "", b"", [], {}, "RED")}
        return [without_defaults(it) for it in value] if isinstance(value, list) else value

    expected = MessageToDict(message, preserving_proto_field_name=True)
    assert without_defaults(Plain()(message)) == without_defaults(expected)


def test_all_fields_are_there() -> None:
    """Fields with default values are there, those that can be absent are None, and unknown enum numbers are texts."""
    plain = Plain()(View(color=9))
    assert plain == {
        "position": None,
        "pixels": [],
        "color": "9",
        "label": "",
        "others": [],
        "picture": b"",
        "lives": None,
        "big": 0,
        "counts": {},
        "done": False,
    }


def test_messages_of_other_files() -> None:
    """What is in other proto files is a message like any other."""
    anything = Struct()
    anything["a"] = 1
    plain = Plain()(message_type("Holder")(anything=anything))
    assert plain["anything"]["fields"]["a"]["number_value"] == 1


# --- extras ---------------------------------------------------------------------------------------------------------


def test_missing_extra_says_what_to_install() -> None:
    """What is missing is an error of one line, with the command."""
    with pytest.raises(MissingExtraError, match=r"^no_such_package is not installed: run pip install 'cogment-datast"):
        load("no_such_package.part", "parquet")
    assert SameError is ExportError
