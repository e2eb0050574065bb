"""Files of exported trials: what is written comes back, and what is damaged is noticed."""

from __future__ import annotations

import io
import os
import pickle
import struct
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stored_trials import episode, trial_params

from cogment_core.api.trial_datastore_pb2 import StoredTrialSample, TrialSamplesFileHeader
from cogment_core.errors import DecodeError, UsageError
from cogment_datastore import trial_file
from cogment_datastore.trial_file import MAGIC, TrialFileError, TrialFileReader, TrialFileWriter, make_header


def written(samples: list[StoredTrialSample] | None = None) -> bytes:
    """A file with two trials, and ``samples``."""
    stream = io.BytesIO()
    header = make_header({"b": trial_params(max_steps=2), "a": trial_params()}, version="3.0.0", timestamp=5)
    writer = TrialFileWriter(stream, header)
    for sample in samples if samples is not None else episode(3):
        writer.write(sample)
    assert writer.bytes_written == len(stream.getvalue())
    return stream.getvalue()


def read(content: bytes, **options: Any) -> tuple[TrialSamplesFileHeader, list[StoredTrialSample]]:
    """The header and the samples of a file."""
    reader = TrialFileReader(io.BytesIO(content), **options)
    return reader.header, list(reader)


class Trickle(io.RawIOBase):
    """A stream that gives, and takes, a few bytes at a time, as pipes do."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = bytearray(content)

    def read(self, size: int = -1) -> bytes:
        part = bytes(self.content[: min(size, 3)])
        del self.content[: len(part)]
        return part

    def write(self, data: Any) -> int:
        self.content += data[:5]
        return min(len(data), 5)


def test_what_is_written_is_read() -> None:
    """The header and the samples come back as they were."""
    header, samples = read(written())
    assert samples == episode(3)
    assert header.trial_params["b"] == trial_params(max_steps=2)
    assert header.export_timestamp == 5
    assert [(entry.name, entry.version) for entry in header.version_info.versions] == [("cogment", "3.0.0")]


def test_the_format_is_as_documented() -> None:
    """16 bytes of magic, then records: 4 bytes of length, little-endian, and a message."""
    content = written([StoredTrialSample(trial_id="a")])
    assert content[:16] == b"COGMENTTRIALS001" == MAGIC
    (length,) = struct.unpack("<I", content[16:20])
    assert "a" in TrialSamplesFileHeader.FromString(content[20 : 20 + length]).trial_params
    assert content[20 + length :] == b"\x03\x00\x00\x00" + StoredTrialSample(trial_id="a").SerializeToString()


@given(
    st.lists(
        st.builds(
            StoredTrialSample,
            trial_id=st.sampled_from(["a", "b"]),
            tick_id=st.integers(0, 2**64 - 1),
            timestamp=st.integers(0, 2**64 - 1),
            payloads=st.lists(st.binary(max_size=30), max_size=3),
        ),
        max_size=5,
    )
)
def test_writing_what_was_read_gives_the_same_bytes(samples: list[StoredTrialSample]) -> None:
    """A round trip is equal to the byte."""
    content = written(samples)
    header, found = read(content)
    again = io.BytesIO()
    writer = TrialFileWriter(again, header)
    for sample in found:
        writer.write(sample)
    assert again.getvalue() == content
    assert writer.samples_written == len(samples)


def test_streams_that_give_and_take_little_at_a_time() -> None:
    """Short reads and writes, as of pipes, change nothing."""
    content = written()
    stream = Trickle()
    writer = TrialFileWriter(stream, TrialFileReader(io.BytesIO(content)).header)
    for sample in episode(3):
        writer.write(sample)
    assert stream.content == content
    assert list(TrialFileReader(Trickle(content))) == episode(3)


def test_through_a_pipe() -> None:
    """A file can be read while it is written, through a pipe."""
    content = written(episode(200))
    source, sink = os.pipe()

    def write() -> None:
        with open(sink, "wb", buffering=0) as stream:
            writer = TrialFileWriter(stream, TrialFileReader(io.BytesIO(content)).header)
            for sample in episode(200):
                writer.write(sample)

    thread = threading.Thread(target=write)
    thread.start()
    with open(source, "rb", buffering=0) as stream:
        assert len(list(TrialFileReader(stream))) == 200
    thread.join(20)
    assert not thread.is_alive()


def test_a_file_that_is_cut_anywhere_is_noticed() -> None:
    """Wherever a file is cut short, but between records, reading raises, and says to where the file is whole."""
    content = written()
    whole = {len(content)}
    reader = TrialFileReader(io.BytesIO(content))
    whole |= {reader.offset, *(reader.offset for _ in reader)}
    for size in range(len(content)):
        if size in whole:
            read(content[:size])
            continue
        with pytest.raises(TrialFileError) as caught:
            read(content[:size])
        assert caught.value.offset <= size
        assert caught.value.offset in whole | {0, 16}


def test_going_on_with_a_file_that_was_cut_short() -> None:
    """From where the last whole record ends, a writer without a header goes on."""
    content = written()
    stream = io.BytesIO(content[:-5])
    reader = TrialFileReader(stream)
    with pytest.raises(TrialFileError, match="cut short") as caught:
        list(reader)
    assert caught.value.offset == reader.offset
    stream.truncate(reader.offset)
    stream.seek(reader.offset)
    TrialFileWriter(stream, None).write(episode(3)[-1])
    assert stream.getvalue() == content


@pytest.mark.parametrize("content", [b"", b"COGMENT", b"COGMENTTRIALS002" + bytes(20), b"PK\x03\x04" + bytes(30)])
def test_another_kind_of_file(content: bytes) -> None:
    """A file that does not begin with the magic is refused at once."""
    with pytest.raises(TrialFileError, match=r"no file of exported trials.*\(at byte 0\)"):
        TrialFileReader(io.BytesIO(content))


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (MAGIC, "there is no header"),
        (MAGIC + b"\x01\x00\x00\x00\xff", "header cannot be read"),
        (MAGIC + b"\xff\xff\xff\xff" + bytes(9), "header of 4294967295 bytes is longer"),
        (MAGIC + bytes(4) + b"\x02\x00\x00\x00\xff\xff", "2 bytes is no sample"),
        (MAGIC + bytes(4) + b"\xff\xff\xff\xff", "sample of 4294967295 bytes is longer"),
        (MAGIC + bytes(4) + b"\x01\x00", "within the length of a sample"),
    ],
)
def test_damaged_files(content: bytes, text: str) -> None:
    """What cannot be read is a `TrialFileError`, which is a `DecodeError`, that says what and where."""
    with pytest.raises(TrialFileError, match=text) as caught:
        read(content)
    assert isinstance(caught.value, DecodeError)
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.offset) == (str(caught.value), caught.value.offset)


def test_length_of_a_record_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Records that are too long are neither written nor read; a reader can be given another limit."""
    with pytest.raises(TrialFileError, match="longer than the 10"):
        read(written(), record_limit=10)
    monkeypatch.setattr(trial_file, "RECORD_LIMIT", 100)
    stream = io.BytesIO()
    writer = TrialFileWriter(stream, TrialSamplesFileHeader())
    size = len(stream.getvalue())
    with pytest.raises(UsageError, match=r"tick 4 of trial 'a' of \d+ bytes"):
        writer.write(StoredTrialSample(trial_id="a", tick_id=4, payloads=[bytes(200)]))
    assert len(stream.getvalue()) == size


def test_streams_that_do_not_wait() -> None:
    """A stream that has nothing at the moment is not taken for one at its end."""

    class Impatient:
        def read(self, size: int) -> None:
            return None

        def write(self, data: bytes) -> None:
            return None

    with pytest.raises(BlockingIOError):
        TrialFileReader(Impatient())
    with pytest.raises(BlockingIOError):
        TrialFileWriter(Impatient(), TrialSamplesFileHeader())


def test_a_header_says_when_it_was_made() -> None:
    """Without a time, a header has the current one; without a version, none."""
    header = make_header({})
    assert header.export_timestamp > 1_700_000_000_000_000_000
    assert not header.HasField("version_info")
