"""``cogment client trial_datastore``, against a Trial Datastore that the test plays, and against the real one."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cogment_core.api import common_pb2, trial_datastore_pb2, trial_datastore_pb2_grpc
from cogment_core.api.common_pb2 import ENDED, RUNNING
from cogment_datastore.trial_file import TrialFileReader, TrialFileWriter, make_header
from cogment_services.cli import main
from cogment_services.cli.duration import parse_duration
from cogment_services.cli.moments import parse_moment
from cogment_services.cli.properties import format_properties, parse_properties
from cogment_services.cli.terminal import bytes_text, safe, table

PATIENCE = 60.0
START = 1_700_000_000
"""When the first trial began, in seconds since the Unix epoch."""


END = object()
"""What a scripted `ScriptedStore.stop` returns to end the stream of samples as if it were whole."""


class ScriptedStore(trial_datastore_pb2_grpc.TrialDatastoreSPServicer):
    """A Trial Datastore in memory, which pages, and fails when the test wants it to."""

    def __init__(self) -> None:
        self.infos: dict[str, trial_datastore_pb2.StoredTrialInfo] = {}
        self.samples: dict[str, list[trial_datastore_pb2.StoredTrialSample]] = {}
        self.page_limit = 7
        self.most_in_a_reply = 1_000
        self.asked: list[trial_datastore_pb2.RetrieveSamplesRequest] = []
        self.refuse_samples_of = ""
        self.refuses_to_delete = False
        self.stop_at: tuple[str, int] = ("", 0)
        """The trial and the number of its samples after which ``stop`` is called."""
        self.stop: Callable[[Any], Any] = lambda context: context.abort(grpc.StatusCode.UNAVAILABLE, "gone\x1b[2J")
        self.deleted: list[str] = []

    def add(self, trial_id: str, rewards: list[float], **params: Any) -> None:
        """Have a trial with a sample for each of these rewards of its actor ``alice``; ``bob`` gets twice as much."""
        number = len(self.infos)
        actors = [
            common_pb2.ActorParams(name="alice", actor_class="player"),
            common_pb2.ActorParams(name="bob", actor_class="judge"),
        ]
        self.infos[trial_id] = trial_datastore_pb2.StoredTrialInfo(
            trial_id=trial_id, user_id="somebody", params=common_pb2.TrialParams(**{"actors": actors, **params})
        )
        self.samples[trial_id] = [
            trial_datastore_pb2.StoredTrialSample(
                user_id="somebody",
                trial_id=trial_id,
                tick_id=tick,
                timestamp=(START + 60 * number) * 10**9 + tick,
                state=ENDED if tick == len(rewards) - 1 else RUNNING,
                actor_samples=[
                    trial_datastore_pb2.StoredTrialActorSample(actor=actor, observation=0, reward=reward * (actor + 1))
                    for actor in range(2)
                ],
                payloads=[f"{trial_id}/{tick}".encode() * 10],
            )
            for tick, reward in enumerate(rewards)
        ]

    def RetrieveTrials(self, request: Any, context: Any) -> trial_datastore_pb2.RetrieveTrialsReply:
        position = int(request.trial_handle or 0)
        reply = trial_datastore_pb2.RetrieveTrialsReply()
        if request.trials_count > self.most_in_a_reply:
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "ask for fewer")
        limit = min(request.trials_count or self.page_limit, self.page_limit)
        for trial_id in list(self.infos)[position:]:
            if len(reply.trial_infos) == limit:
                break
            position += 1
            info = self.infos[trial_id]
            has_them = all(info.params.properties.get(name) == value for name, value in request.properties.items())
            if has_them and (not request.trial_ids or trial_id in request.trial_ids):
                info.samples_count = len(self.samples[trial_id])
                info.last_state = self.samples[trial_id][-1].state if self.samples[trial_id] else 0
                reply.trial_infos.append(info)
        reply.next_trial_handle = str(position)
        return reply

    def RetrieveSamples(self, request: Any, context: Any) -> Iterator[Any]:
        self.asked.append(request)
        for trial_id in request.trial_ids:
            for number, sample in enumerate(self.samples[trial_id]):
                if (trial_id, number) == self.stop_at and self.stop(context) is END:
                    return
                yield trial_datastore_pb2.RetrieveSampleReply(trial_sample=self._selected(sample, request))
            # Of a trial that runs, there may be more: only those who know when they have enough come to an end.
            if self.samples[trial_id][-1].state != ENDED:
                stopped = threading.Event()
                context.add_callback(stopped.set)
                stopped.wait(PATIENCE)

    def _selected(self, sample: Any, request: Any) -> Any:
        if not request.actor_classes:
            return sample
        classes = [actor.actor_class for actor in self.infos[sample.trial_id].params.actors]
        actors = [actor for actor in sample.actor_samples if classes[actor.actor] in request.actor_classes]
        selected = trial_datastore_pb2.StoredTrialSample()
        selected.CopyFrom(sample)
        del selected.actor_samples[:]
        selected.actor_samples.extend(actors)
        return selected

    def AddTrial(self, request: Any, context: Any) -> trial_datastore_pb2.AddTrialReply:
        trial_id = dict(context.invocation_metadata())["trial-id"]
        info = trial_datastore_pb2.StoredTrialInfo(
            trial_id=trial_id, user_id=request.user_id, params=request.trial_params
        )
        self.infos[trial_id], self.samples[trial_id] = info, []
        return trial_datastore_pb2.AddTrialReply()

    def AddSample(self, request_iterator: Any, context: Any) -> trial_datastore_pb2.AddSamplesReply:
        trial_id = dict(context.invocation_metadata())["trial-id"]
        for request in request_iterator:
            assert request.trial_sample.trial_id == ""
            request.trial_sample.trial_id = trial_id
            self.samples[trial_id].append(request.trial_sample)
            if trial_id == self.refuse_samples_of:
                context.abort(grpc.StatusCode.INTERNAL, "the disk is full")
        return trial_datastore_pb2.AddSamplesReply()

    def DeleteTrials(self, request: Any, context: Any) -> trial_datastore_pb2.DeleteTrialsReply:
        if self.refuses_to_delete:
            context.abort(grpc.StatusCode.INTERNAL, "no")
        for trial_id in request.trial_ids:
            self.deleted.append(trial_id)
            self.infos.pop(trial_id, None)
            self.samples.pop(trial_id, None)
        return trial_datastore_pb2.DeleteTrialsReply()

    def Version(self, request: Any, context: Any) -> common_pb2.VersionInfo:
        return common_pb2.VersionInfo()


class Pipe(io.TextIOWrapper):
    """What stands for a standard stream that is no terminal; its bytes can be looked at."""

    def __init__(self, content: bytes = b"") -> None:
        super().__init__(io.BytesIO(content), encoding="utf-8", write_through=True)

    @property
    def bytes(self) -> bytes:
        return self.buffer.getvalue()  # type: ignore[attr-defined]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedStore]:
    """The datastore that the commands go to, with three trials."""
    for name in list(os.environ):
        if name.startswith("COGMENT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "80")
    scripted = ScriptedStore()
    scripted.add("one", [1, 2, 3], properties={"run": "a"})
    scripted.add("two", [4, 5], properties={"run": "a", "size": "big"})
    scripted.add("three", [6], properties={"run": "b"})
    server = grpc.server(ThreadPoolExecutor(8))
    trial_datastore_pb2_grpc.add_TrialDatastoreSPServicer_to_server(scripted, server)
    port = server.add_insecure_port("127.0.0.1:0")
    monkeypatch.setenv("COGMENT_TRIAL_DATASTORE_ENDPOINT", f"grpc://127.0.0.1:{port}")
    server.start()
    yield scripted
    server.stop(0).wait(PATIENCE)


@pytest.fixture
def run(store: ScriptedStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs a command in the test's folder. Returns what it wrote."""
    monkeypatch.chdir(tmp_path)

    def run(*args: str, stdin: bytes = b"", status: int = 0) -> Ran:
        streams = Pipe(stdin), Pipe(), Pipe()
        for name, stream in zip(("stdin", "stdout", "stderr"), streams, strict=True):
            monkeypatch.setattr(sys, name, stream)
        code = 0
        try:
            main(["client", "trial_datastore", *args])
        except SystemExit as end:
            code = end.code
        ran = Ran(streams[1].bytes, streams[2].bytes.decode())
        assert code == status, ran.err
        return ran

    return run


class Ran:
    """What a command wrote."""

    def __init__(self, out: bytes, err: str) -> None:
        self.bytes = out
        self.err = err

    @property
    def out(self) -> str:
        return self.bytes.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def fails_with(self, text: str) -> None:
        """Check that the last line says what is wrong, that there is no other error, and no result."""
        last = self.err.splitlines()[-1]
        assert last.startswith("Error: ")
        assert text in last
        assert self.err.count("Error: ") == 1
        assert self.out == ""


def read_file(content: bytes) -> tuple[Any, list[Any]]:
    """The header and the samples of a file of trials."""
    reader = TrialFileReader(io.BytesIO(content))
    return reader.header, list(reader)


def without_time(content: bytes) -> bytes:
    """A file of trials that says nothing about when it was made."""
    header, samples = read_file(content)
    header.export_timestamp = 0
    stream = io.BytesIO()
    writer = TrialFileWriter(stream, header)
    for sample in samples:
        writer.write(sample)
    return stream.getvalue()


# --- list and delete --------------------------------------------------------------------------------------------------


def test_trials_are_listed_as_a_table(run) -> None:
    """Each trial has a row with who, state, numbers and properties; the caption says how to go on."""
    lines = run("list_trials").out.splitlines()
    assert lines[0].split("  ")[0] == "trial id"
    assert [line.split() for line in lines[1:]] == [
        ["one", "somebody", "ENDED", "3", "2", "run=a"],
        ["two", "somebody", "ENDED", "2", "2", "run=a,size=big"],
        ["three", "somebody", "ENDED", "1", "2", "run=b"],
        ["3", "trials;", "the", "next", "ones", "are", "--from=3"],
    ]


def test_trials_are_listed_page_by_page_and_by_property(run) -> None:
    """``--count``, ``--from`` and ``--properties`` choose; ``list`` is the same command."""
    page = run("list", "--count=1", "--from=1").out
    assert page.splitlines()[1].startswith("two ")
    assert page.endswith("1 trial from 1; the next ones are --from=2\n")
    found = run("list", "--properties", " run = a , size=big,").out.splitlines()
    assert [line.split()[0] for line in found[1:-1]] == ["two"]


def test_a_list_for_programs_is_the_reply_as_json(run) -> None:
    """``--console_output json``, anywhere on the command line, gives the protocol's reply, in its JSON form."""
    for args in (["--console_output", "json", "list"], ["list", "--console-output=json"]):
        reply = run(*args, "--count=2").json
        assert reply["nextTrialHandle"] == "2"
        assert [info["trialId"] for info in reply["trialInfos"]] == ["one", "two"]
        assert reply["trialInfos"][0]["samplesCount"] == 3
        assert reply["trialInfos"][0]["lastState"] == "ENDED"


def test_options_come_from_the_environment_too(run, monkeypatch) -> None:
    """The command line counts before the environment; an endpoint on the command line, too."""
    monkeypatch.setenv("COGMENT_CLIENT_CONSOLE_OUTPUT", "json")
    assert run("list").json["trialInfos"]
    assert run("list", "--console_output=text").out.startswith("trial id")
    monkeypatch.setenv("COGMENT_CLIENT_TIMEOUT", "300ms")
    run("--endpoint=grpc://127.0.0.1:1", "list", status=1).fails_with("grpc://127.0.0.1:1")
    run("list", "--endpoint=grpc://127.0.0.1:1", status=1).fails_with("grpc://127.0.0.1:1")


def test_names_cannot_command_the_terminal(run, store) -> None:
    """Control characters in what others chose are replaced; in JSON they are escaped."""
    store.add("evil\x1b]0;owned\x07\x9b2J\u202e", [1], properties={"a\rb": "\x1b[31m"})
    for args in (["list"], ["list", "--console_output=json"], ["plot", "--console_output=json"], ["plot"]):
        shown = run(*args).out
        assert not [it for it in shown if it != "\n" and (ord(it) < 32 or 127 <= ord(it) < 160 or it == "\u202e")]
    store.stop_at = ("one", 1)
    failed = run("export", "one", status=1)
    assert "gone" in failed.err
    assert "\x1b" not in failed.err


def test_trials_are_deleted(run, store) -> None:
    """A line says how many were there, JSON which; those that were not are named."""
    deleted = run("delete_trials", "one", "nobody", "one")
    assert deleted.out == "1 trial deleted\n"
    assert deleted.err == "the datastore has no trial: nobody\n"
    assert run("delete_trials", "nobody").out == "0 trials deleted\n"
    assert list(store.infos) == ["two", "three"]
    assert run("delete", "two", "--console_output=json").json == {"message": "1 trial deleted", "trial_ids": ["two"]}


# --- export -----------------------------------------------------------------------------------------------------------


def test_an_export_has_what_is_stored(run, store, tmp_path) -> None:
    """Magic, a header with the parameters, and every sample byte for byte; the result is told with its path."""
    told = run("export", "two", "one", "--file=trials.bin", "--console_output=json").json
    content = (tmp_path / "trials.bin").read_bytes()
    assert content.startswith(b"COGMENTTRIALS001")
    header, samples = read_file(content)
    assert {key: params for key, params in header.trial_params.items()} == {
        key: store.infos[key].params for key in ("one", "two")
    }
    assert [version.name for version in header.version_info.versions] == ["cogment"]
    assert samples == store.samples["two"] + store.samples["one"]
    assert told.pop("message").startswith("2 trials with 5 samples exported to ")
    assert told == {"trial_ids": ["two", "one"], "filepath": str(tmp_path / "trials.bin"), "bytes": len(content)}
    assert [path.name for path in tmp_path.iterdir()] == ["trials.bin"]


@pytest.mark.parametrize("where", [[], ["--file=-"]])
def test_an_export_goes_to_the_standard_output(run, store, where) -> None:
    """Without a file, or with ``-``, the output is the file, and nothing else."""
    done = run("export", "one", *where)
    assert read_file(done.bytes)[1] == store.samples["one"]
    assert done.err == ""


def test_an_export_of_a_running_trial_is_what_there_is(run, store) -> None:
    """It does not wait for the samples to come."""
    del store.samples["one"][-1]
    assert read_file(run("export", "one").bytes)[1] == store.samples["one"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--all"], ["one", "two", "three"]),
        (["--properties=run=a"], ["one", "two"]),
        (["--properties=run=a", "two", "one"], ["two", "one"]),
        ([f"--since={datetime.fromtimestamp(START + 60).isoformat()}"], ["two", "three"]),
        ([f"--until={datetime.fromtimestamp(START + 60, timezone.utc).isoformat()}"], ["one"]),
    ],
)
def test_trials_are_chosen_by_what_they_are(run, options, expected) -> None:
    """By id, in that order; by property and by time, in the order in which they were created."""
    samples = read_file(run("export", *options).bytes)[1]
    assert list(dict.fromkeys(sample.trial_id for sample in samples)) == expected


def test_pages_shorter_than_asked_for_are_not_the_end(run, store) -> None:
    """A server that limits its pages still gives all trials."""
    for number in range(50):
        store.add(f"more-{number}", [1])
    samples = read_file(run("export", "--all").bytes)[1]
    assert len({sample.trial_id for sample in samples}) == 53


@pytest.mark.parametrize("trials", [["--all"], ["one", "two", "three"]])
def test_trials_that_are_too_large_for_one_reply_are_asked_for_one_by_one(run, store, trials) -> None:
    """A datastore that says that fewer trials fit into a message is asked for fewer."""
    whole = run("export", *trials).bytes
    store.most_in_a_reply = 1
    assert without_time(run("export", *trials).bytes) == without_time(whole)
    store.most_in_a_reply = 0
    run("export", *trials, status=1).fails_with("ask for fewer")


def test_actor_classes_are_asked_for(run, store) -> None:
    """``--actor_class`` is the server's to filter by."""
    run("export", "one", "--actor_class=judge", "--actor_class=player")
    assert list(store.asked[-1].actor_classes) == ["judge", "player"]


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["export"], "which trials?"),
        (["export", "one", "nobody"], "no trial: nobody"),
        (["export", "empty"], "no trial of this kind with samples"),
        (["export", "--properties=run=z"], "no trial of this kind"),
        (["export", "--properties==z", "one"], "is no property"),
        (["export", "--since=yesterday", "one"], "is no time"),
        (["export", "--since=13:00", "one"], "is no time"),
        (["export", "one", "--resume"], "--resume needs a --file"),
        (["export", "one", "--file=."], "is a folder"),
        (["export", "one", "--file=no/such/folder"], "No such file or directory"),
        (["list", "--count=0"], "--count"),
        (["delete"], "TRIAL_IDS"),
        (["list", "--timeout=soon"], "is no length of time"),
        (["list", "--timeout=0"], "longer than 0"),
        (["list", "--endpoint=http://x"], "http://x"),
        (["import", "--file=nowhere"], "nowhere"),
        (["plot", "--actor_class=nobody"], "no such actors"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(run, store, args, text) -> None:
    """An error is one line, and the exit code 1."""
    store.add("empty", [])
    run(*args, status=1).fails_with(text)


def test_a_file_that_is_there_is_not_touched(run, tmp_path) -> None:
    """Unless ``--force`` says so; nothing of a longer old file is left then."""
    file = tmp_path / "trials.bin"
    file.write_bytes(b"mine" * 10_000)
    run("export", "one", f"--file={file}", status=1).fails_with("--force replaces it")
    assert file.read_bytes() == b"mine" * 10_000
    run("export", "one", f"--file={file}", "--force")
    assert len(read_file(file.read_bytes())[1]) == 3


def test_an_export_that_fails_leaves_the_file_alone_and_can_be_resumed(run, store, tmp_path) -> None:
    """What came is kept under another name; with ``--resume`` the rest is added, each sample once."""
    whole = run("export", "--all").bytes
    file = tmp_path / "trials.bin"
    file.write_bytes(b"older")
    store.stop_at = ("two", 1)
    failed = run("export", "--all", "--force", f"--file={file}", status=1)
    assert "trials.bin.partial; the same command with --resume" in failed.err
    assert file.read_bytes() == b"older"
    assert len(read_file((tmp_path / "trials.bin.partial").read_bytes())[1]) == 4
    store.stop_at = ("", 0)
    run("export", "--all", "--resume", f"--file={file}")
    assert without_time(file.read_bytes()) == without_time(whole)
    assert [path.name for path in tmp_path.iterdir()] == ["trials.bin"]


def test_an_export_can_be_resumed_from_any_byte(run, tmp_path) -> None:
    """Wherever a file was cut short, what is not whole is dropped, and the result is the same."""
    whole = run("export", "--all").bytes
    file = tmp_path / "trials.bin"
    ends = {0, 7, 16, 18, 20, 40, len(whole) - 1, len(whole)} | set(range(60, len(whole), 97))
    for end in sorted(ends):
        file.unlink(missing_ok=True)
        (tmp_path / "trials.bin.partial").write_bytes(whole[:end])
        run("export", "--all", "--resume", f"--file={file}")
        assert without_time(file.read_bytes()) == without_time(whole), end


def test_a_whole_export_can_be_resumed_when_more_has_come(run, store, tmp_path) -> None:
    """A running trial has more samples later: they are added to the file, in place."""
    late = store.samples["one"].pop()
    file = tmp_path / "trials.bin"
    run("export", "one", f"--file={file}")
    store.samples["one"].append(late)
    run("export", "one", f"--file={file}", "--resume")
    assert read_file(file.read_bytes())[1] == store.samples["one"]
    assert run("export", "one", f"--file={file}", "--resume").out.startswith("1 trial with 3 samples")


def test_only_the_same_export_is_gone_on_with(run, store, tmp_path) -> None:
    """A file with other trials, other parameters, other samples, or that is something else, is refused untouched."""
    file = tmp_path / "trials.bin"
    run("export", "one", "two", f"--file={file}")
    content = file.read_bytes()
    run("export", "one", "--resume", f"--file={file}", status=1).fails_with("another trial: two")
    run("export", "one", "two", "three", "--resume", f"--file={file}", status=1).fails_with("no trial three")
    assert "1 trial left out" in run("export", "--all", "--resume", f"--file={file}").err
    store.infos["two"].params.max_steps = 9
    run("export", "one", "two", "--resume", f"--file={file}", status=1).fails_with("other parameters of trial: two")
    store.infos["two"].params.max_steps = 0
    store.samples["two"].append(store.samples["two"][-1])
    store.samples["two"][1].tick_id = 77
    run("export", "one", "two", "--resume", f"--file={file}", status=1).fails_with("tick 1 is where tick 77")
    assert file.read_bytes() == content
    file.write_bytes(b"something else altogether")
    run("export", "one", "two", "--resume", f"--file={file}", status=1).fails_with("no file of exported trials")
    assert file.read_bytes() == b"something else altogether"
    reader = TrialFileReader(io.BytesIO(content))
    damaged = content[: reader.offset] + b"\xff\xff\xff\xff" + content[reader.offset + 4 :]
    file.write_bytes(damaged)
    run("export", "one", "two", "--resume", f"--file={file}", status=1).fails_with("is the file damaged?")
    assert file.read_bytes() == damaged


def test_a_trial_that_gets_shorter_is_an_error(run, store, tmp_path) -> None:
    """An export with fewer samples than the trial had is not taken for whole."""
    store.stop_at = ("one", 2)
    store.stop = lambda context: END
    run("export", "one", "--file=f", status=1).fails_with("gave 2 of the 3 samples of trial 'one'")
    assert not (tmp_path / "f").exists()


def test_a_server_that_says_nothing_is_given_up(run, store) -> None:
    """The timeout is for each wait: a long export may take longer, a silent server not."""
    gone = threading.Event()
    store.stop_at = ("one", 1)

    def be_silent(context: Any) -> None:
        context.add_callback(gone.set)
        gone.wait(PATIENCE)

    store.stop = be_silent
    run("export", "one", "--timeout=400ms", "--file=f", status=1).fails_with("did not come within 0.4 s")
    assert gone.wait(PATIENCE)


def test_ctrl_c_leaves_what_can_be_gone_on_with(store, tmp_path) -> None:
    """The exit code is 130, the file is not there, and ``--resume`` makes it whole."""
    reached, gone = threading.Event(), threading.Event()
    store.stop_at = ("two", 1)

    def be_silent(context: Any) -> None:
        context.add_callback(gone.set)
        reached.set()
        gone.wait(PATIENCE)

    store.stop = be_silent
    process = start("export", "--all", "--file", "f", cwd=tmp_path)
    assert reached.wait(PATIENCE)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert err.decode().splitlines()[-1] == "Error: interrupted"
    assert "Traceback" not in err.decode()
    assert gone.wait(PATIENCE)
    assert [path.name for path in tmp_path.iterdir()] == ["f.partial"]
    store.stop_at = ("", 0)
    process = start("export", "--all", "--file", "f", "--resume", cwd=tmp_path)
    assert process.wait(PATIENCE) == 0
    process.communicate()
    assert read_file((tmp_path / "f").read_bytes())[1] == [it for samples in store.samples.values() for it in samples]


def start(*args: str, cwd: Path, **streams: Any) -> subprocess.Popen[bytes]:
    """Start a command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "cogment_services", "client", "trial_datastore", *args],
        cwd=cwd,
        **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams},
    )


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
def test_a_terminal_shows_how_far_it_is(store, tmp_path) -> None:
    """A progress bar is on the standard error output, and never in what is exported."""
    import pty

    ours, theirs = pty.openpty()
    process = start("export", "--all", cwd=tmp_path, stderr=theirs)
    os.close(theirs)
    out, _ = process.communicate(timeout=PATIENCE)
    shown = b""
    with contextlib.suppress(OSError):  # that is how a terminal ends whose other side is closed
        while part := os.read(ours, 1000):
            shown += part
    os.close(ours)
    assert process.returncode == 0
    assert b"export" in shown
    assert b"samples" in shown
    assert len(read_file(out)[1]) == 6


# --- export for training ----------------------------------------------------------------------------------------------


def test_an_export_as_json_lines(run, tmp_path) -> None:
    """A line for each tick and actor, to a file or to the standard output, a terminal included."""
    lines = run("export", "two", "--format=jsonl", "--actor_class=judge").out.splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(row["trial_id"], row["tick_id"], row["actor"], row["reward"]) for row in rows] == [
        ("two", 0, "bob", 8.0),
        ("two", 1, "bob", 10.0),
    ]
    told = run("export", "--all", "--format=jsonl", "--file=f", "--console_output=json").json
    assert told["message"].startswith("3 trials with 12 rows exported to ")
    assert len((tmp_path / "f").read_text().splitlines()) == 12
    run("export", "--all", "--format=jsonl", "--file=f", status=1).fails_with("--force replaces it")


def test_an_export_as_parquet(run, tmp_path) -> None:
    """The same as a table; it needs a file."""
    parquet = pytest.importorskip("pyarrow.parquet")
    run("export", "two", "--format=parquet", "--file=f")
    rows = parquet.read_table(tmp_path / "f", columns=["reward"]).to_pylist()
    assert [row["reward"] for row in rows] == [4.0, 8.0, 5.0, 10.0]
    run("export", "two", "--format=parquet", status=1).fails_with("needs a --file")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--format=minari"], "needs --dataset_id and --cog_settings"),
        (["--format=jsonl", "--resume", "--file=f"], "--resume is for --format cogment only"),
        (["--format=jsonl", "--dataset_id=a"], "for --format minari only"),
        (["--format=jsonl", "--max_episode_steps=5"], "for --format minari only"),
        (["--cog_settings=x.py"], "for other formats than cogment"),
        (["--format=jsonl", "--cog_settings=nowhere.py"], "nowhere.py cannot be imported"),
        (["--format=jsonl", "--cog_settings=json"], "is not what cogment.generate makes"),
        (["--format=csv"], "--format"),
    ],
)
def test_options_that_do_not_go_together(run, options, text) -> None:
    """They are refused before anything is read."""
    run("export", "one", *options, status=1).fails_with(text)


def test_a_failing_export_for_training_leaves_no_file(run, store, tmp_path) -> None:
    """There is a whole file, or none; a silent server is given up here, too."""
    store.stop_at = ("two", 1)
    run("export", "--all", "--format=jsonl", "--file=f", status=1)
    gone = threading.Event()

    def be_silent(context: Any) -> None:
        context.add_callback(gone.set)
        gone.wait(PATIENCE)

    store.stop = be_silent
    run("export", "--all", "--format=jsonl", "--file=f", "--timeout=400ms", status=1).fails_with("within 0.4 s")
    assert list(tmp_path.iterdir()) == []


# --- import -----------------------------------------------------------------------------------------------------------


def test_an_import_adds_what_was_exported(run, store, tmp_path) -> None:
    """Trials come back with their parameters, samples and a new owner; the result is told."""
    run("export", "--all", "--file=trials.bin")
    before = {f"copy-{key}": list(samples) for key, samples in store.samples.items()}
    told = run("import", "--file=trials.bin", "--prefix=copy-", "--user_id=me", "--console_output=json").json
    assert told == {
        "message": "3 trials with 6 samples imported",
        "samples_count": 6,
        "trials": [
            {"trial_id": "copy-one", "samples_count": 3},
            {"trial_id": "copy-two", "samples_count": 2},
            {"trial_id": "copy-three", "samples_count": 1},
        ],
        "filepath": str(tmp_path / "trials.bin"),
    }
    for trial_id, samples in before.items():
        info = store.infos[trial_id]
        assert (info.user_id, info.params) == ("me", store.infos[trial_id.removeprefix("copy-")].params)
        for sample in samples:
            sample.trial_id = trial_id
        assert store.samples[trial_id] == samples
        assert {sample.user_id for sample in samples} == {"somebody"}


@pytest.mark.parametrize("where", [[], ["--file=-"]])
def test_an_import_reads_the_standard_input(run, store, where) -> None:
    """Without a file, or with ``-``."""
    exported = run("export", "--all").bytes
    run("delete", "one", "two", "three")
    assert run("import", *where, stdin=exported).out == "3 trials with 6 samples imported\n"
    assert run("export", "--all").bytes[-200:] == exported[-200:]


def test_samples_of_several_trials_may_be_mixed(run, store) -> None:
    """As the existing command exports them; trials of the header without samples are left out."""
    header = make_header({key: info.params for key, info in store.infos.items()})
    header.trial_params["none"].max_steps = 1
    stream = io.BytesIO()
    writer = TrialFileWriter(stream, header)
    expected = {key: [sample.tick_id for sample in samples] for key, samples in store.samples.items()}
    for sample in sorted((it for samples in store.samples.values() for it in samples), key=lambda it: it.tick_id):
        writer.write(sample)
    run("import", "--prefix=mixed-", stdin=stream.getvalue())
    found = {
        key.removeprefix("mixed-"): [sample.tick_id for sample in samples] for key, samples in store.samples.items()
    }
    assert {key: ticks for key, ticks in found.items() if f"mixed-{key}" in store.infos} == expected
    assert "mixed-none" not in store.infos


@pytest.mark.parametrize("option", [[], ["--resume"]])
def test_a_file_without_samples_imports_nothing(run, store, option) -> None:
    """It has nothing to do with the trials that the datastore has."""
    stream = io.BytesIO()
    TrialFileWriter(stream, make_header({"none": common_pb2.TrialParams()}))
    assert run("import", *option, stdin=stream.getvalue()).out == "0 trials with 0 samples imported\n"
    assert list(store.infos) == ["one", "two", "three"]


def test_a_pipe_that_has_no_trials_is_not_read_to_its_end(run, store, monkeypatch) -> None:
    """What is no file of trials is known by its beginning: it may have no end."""
    monkeypatch.setattr(shutil, "copyfileobj", lambda *_: pytest.fail("copied"))
    run("import", "--file=/dev/zero", status=1).fails_with("no file of exported trials")


def test_an_import_is_refused_as_a_whole(run, store) -> None:
    """A trial that is there already, a file that is damaged or names no parameters: nothing is added."""
    exported = run("export", "--all").bytes
    run("delete", "two")
    run("import", stdin=exported, status=1).fails_with("has a trial 'one' already, so nothing was imported")
    run("import", "--prefix=x-", stdin=exported[:-1], status=1).fails_with("cut short")
    run("import", stdin=b"", status=1).fails_with("no file of exported trials")
    header, samples = read_file(exported)
    del header.trial_params["three"]
    stream = io.BytesIO()
    writer = TrialFileWriter(stream, header)
    for sample in samples:
        writer.write(sample)
    run("import", "--prefix=x-", stdin=stream.getvalue(), status=1).fails_with("no parameters of trial 'three'")
    assert list(store.infos) == ["one", "three"]


def test_an_import_that_fails_leaves_whole_trials_and_can_be_resumed(run, store) -> None:
    """What is not whole is taken back; with ``--resume``, whole trials are left out and the rest is added."""
    exported = run("export", "--all").bytes
    run("delete", "one", "two", "three")
    store.refuse_samples_of = "two"
    failed = run("import", stdin=exported, status=1)
    assert "1 of 3 trials imported, the others not at all" in failed.err
    failed.fails_with("the disk is full")
    assert {key: len(samples) for key, samples in store.samples.items()} == {"one": 3}
    store.refuse_samples_of = ""
    resumed = run("import", "--resume", stdin=exported)
    assert "1 trial left out" in resumed.err
    assert resumed.out == "2 trials with 3 samples imported\n"
    assert run("export", "one", "two", "three").bytes[-300:] == exported[-300:]


def test_an_import_says_what_it_could_not_take_back(run, store) -> None:
    """If the datastore does not answer any more, the trial that is there in part is named; it is not mixed up later."""
    exported = run("export", "--all").bytes
    run("delete", "one", "two", "three")
    store.refuse_samples_of = "two"
    store.refuses_to_delete = True
    failed = run("import", stdin=exported, status=1)
    store.refuses_to_delete = False
    assert "in part: two. Delete those" in failed.err
    store.refuse_samples_of = ""
    run("import", "--resume", stdin=exported, status=1).fails_with("it has 1 sample, not 2")
    run("delete", "two")
    assert run("import", "--resume", stdin=exported).out == "2 trials with 3 samples imported\n"


# --- plot -------------------------------------------------------------------------------------------------------------


def test_returns_are_sums_of_rewards(run, store) -> None:
    """For each actor, or those of a class, over the trials that were chosen; only rewards are asked for."""
    trials = run("plot", "--console_output=json").json["trials"]
    assert [trial["trial_id"] for trial in trials] == ["one", "two", "three"]
    assert [trial["returns"] for trial in trials] == [
        {"alice": 6.0, "bob": 12.0}, {"alice": 9.0, "bob": 18.0}, {"alice": 6.0, "bob": 12.0}
    ]  # fmt: skip
    assert trials[1]["started"] == START + 60
    assert list(store.asked[-1].selected_sample_fields) == [trial_datastore_pb2.STORED_TRIAL_SAMPLE_FIELD_REWARD]
    one = run("plot", "--properties=run=b", "--actor_class=judge", "--console_output=json").json["trials"]
    assert [trial["returns"] for trial in one] == [{"bob": 12.0}]


def test_a_plot_in_the_terminal_has_a_mark_where_the_return_is(run) -> None:
    """High returns are above low ones, and trials from left to right; scales and names are there."""
    plot = run("plot", "--actor_class=player").out
    lines = plot.splitlines()
    marks = [(column, row) for row, line in enumerate(lines[1:]) for column, it in enumerate(line) if it == "●"]
    places = sorted(marks)
    assert len(places) == 3
    (_, first), (_, second), (_, third) = places
    assert first == third > second
    assert "alice" in lines[0]
    assert "trial 3" in plot
    assert all(len(line) <= 80 for line in lines)


@pytest.mark.parametrize("rewards", [[[0.0]], [[-1.0], [1.0]], [[5.0]] * 500, [[1e9], [1e-9]], [[-2.5e-7], [-2.5e-7]]])
def test_any_returns_can_be_drawn(run, store, tmp_path, rewards) -> None:
    """Equal, negative, huge, and very many."""
    for number, values in enumerate(rewards):
        store.add(f"t{number}", values, properties={"kind": "odd"})
    store.page_limit = 1000
    assert "●" in run("plot", "--properties=kind=odd").out
    run("plot", "--properties=kind=odd", f"--output={tmp_path / 'plot.png'}", "--force")


def test_a_plot_can_be_a_picture(run, store, tmp_path) -> None:
    """``--output`` draws a PNG with a dot for each episode and a line; its place is told."""
    store.add("odd $name$ _x", [3.0])
    told = run("plot", "--output=plot.png", "--console_output=json").json
    assert told["filepath"] == str(tmp_path / "plot.png")
    with Image.open(tmp_path / "plot.png") as image:
        assert image.format == "PNG"
        colors = image.convert("RGB").getcolors(maxcolors=image.width * image.height)
    found = {color: count for count, color in colors}
    assert found[31, 119, 180] > 300  # tab:blue: alice
    assert found[255, 127, 14] > 300  # tab:orange: bob
    run("plot", "--output=plot.png", status=1).fails_with("--force replaces it")


def test_a_picture_needs_matplotlib(run, monkeypatch, tmp_path) -> None:
    """Without it one line says what to install, and no file is left; the plot in the terminal needs nothing."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    run("plot", "--output=plot.png", status=1).fails_with('pip install "cogment-services[plot]"')
    assert list(tmp_path.iterdir()) == []
    assert "●" in run("plot").out


# --- the real service ------------------------------------------------------------------------------------------------


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts Trial Datastores in processes of their own. Gives their endpoints."""
    running: list[subprocess.Popen[bytes]] = []

    def serve(file: Path) -> str:
        command = [sys.executable, "-m", "cogment_services", "services", "trial_datastore", "--port=0"]
        process = subprocess.Popen([*command, f"--file_storage={file}"], stdout=subprocess.PIPE, cwd=tmp_path)
        running.append(process)
        assert process.stdout is not None
        port = re.fullmatch(rb"server listening \[port:(\d+)\]\n", process.stdout.readline())
        assert port
        return f"grpc://127.0.0.1:{int(port[1])}"

    yield serve
    for process in running:
        process.terminate()
        try:
            process.communicate(timeout=PATIENCE)
        finally:
            process.kill()


def test_export_into_import_through_a_pipe(run, store, service, tmp_path) -> None:
    """From one datastore into another, and what that exports is byte for byte the same; its file can be read alone."""
    store.add("long", [0.5] * 3000, max_steps=3000)
    first, second = service(tmp_path / "first.db"), service(tmp_path / "second.db")
    run("import", f"--endpoint={first}", stdin=run("export", "--all").bytes)

    exporting = start("export", "--all", "--endpoint", first, cwd=tmp_path)
    importing = start("import", "--endpoint", second, cwd=tmp_path, stdin=exporting.stdout)
    assert exporting.stdout is not None
    exporting.stdout.close()
    out, err = importing.communicate(timeout=PATIENCE)
    assert (importing.returncode, out, err) == (0, b"4 trials with 3,006 samples imported\n", b"")
    assert exporting.wait(PATIENCE) == 0
    assert exporting.stderr is not None
    exporting.stderr.close()

    exports = [run("export", "--all", f"--endpoint={endpoint}").bytes for endpoint in (first, second)]
    assert without_time(exports[0]) == without_time(exports[1])
    assert read_file(exports[1])[1] == [it for samples in store.samples.values() for it in samples]
    run("list", f"--file_storage={tmp_path / 'second.db'}", status=1).fails_with("in use by another datastore")


def test_a_file_can_be_worked_with_without_a_service(run, store, tmp_path) -> None:
    """``--file_storage`` opens it; a file that is not there is not made."""
    run("list", "--file_storage=new.db", status=1).fails_with("there is no file new.db")
    (tmp_path / "new.db").touch()
    exported = run("export", "--all").bytes
    here = ["--file_storage", "new.db"]
    assert run(*here, "import", stdin=exported).out == "3 trials with 6 samples imported\n"
    assert without_time(run(*here, "export", "--all").bytes) == without_time(exported)
    assert len(run("list", *here).out.splitlines()) == 5
    assert "●" in run("plot", *here).out
    assert len(run("export", "--all", "--format=jsonl", *here).out.splitlines()) == 12
    assert run("delete", "one", *here).out == "1 trial deleted\n"
    run("import", "--resume", *here, stdin=exported)
    assert read_file(run("export", "one", *here).bytes)[1] == store.samples["one"]


# --- text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("300ms", 0.3), ("1.5h", 5400), ("2h45m", 9900), ("10", 10), ("2.5", 2.5), ("1m0.5s", 60.5)],
)
def test_lengths_of_time(text, seconds) -> None:
    """With units, several of them, or none for seconds."""
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "1x", "-1s", "1s ", "nan", "inf", "1h-5m", "5m3"])
def test_what_is_no_length_of_time(text) -> None:
    """It is refused."""
    with pytest.raises(ValueError, match="no length of time"):
        parse_duration(text)


def test_points_in_time() -> None:
    """With an offset, in local time without one, or as a length of time ago."""
    now = datetime(2026, 11, 21, 12, tzinfo=timezone.utc)
    assert parse_moment("90m", now) == now - timedelta(minutes=90)
    assert parse_moment("2026-11-21T10:30:00Z", now) == now - timedelta(minutes=90)
    assert parse_moment("2026-11-21T11:30+01:00", now) == now - timedelta(minutes=90)
    assert parse_moment("2026-11-21", now) == datetime(2026, 11, 21).astimezone()


NAME = st.text(st.characters(exclude_characters=",=", exclude_categories=["Cs", "Cc", "Zs", "Zl", "Zp"]), min_size=1)


@given(st.dictionaries(NAME, NAME | st.just("")))
def test_properties_as_text(properties) -> None:
    """What is written can be read."""
    assert parse_properties(format_properties(properties)) == properties


@pytest.mark.parametrize("text", ["=a", "a=b=c", "a,=b"])
def test_what_are_no_properties(text) -> None:
    """Values without names, and two values."""
    with pytest.raises(ValueError, match="is no property"):
        parse_properties(text)


@given(st.text())
def test_safe_text_has_visible_characters_and_spaces_only(text) -> None:
    """Whatever a name has in it, its length does not change, and printable ASCII is left as it is."""
    shown = safe(text)
    assert len(shown) == len(text)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", shown)
    assert all(after == before for before, after in zip(text, shown, strict=True) if " " <= before <= "~")


def test_tables_are_aligned_by_columns_of_the_terminal() -> None:
    """Wide characters take two."""
    assert table(("a", "b"), [("日本", "1"), ("x", "2")]).splitlines() == ["a     b", "日本  1", "x     2"]


def test_sizes_in_words() -> None:
    """Powers of 1000."""
    assert [bytes_text(it) for it in (0, 999, 1000, 999_949, 999_950, 12_300_000, 10**13)] == [
        "0 B", "999 B", "1.0 kB", "999.9 kB", "1.0 MB", "12.3 MB", "10000.0 GB"
    ]  # fmt: skip
