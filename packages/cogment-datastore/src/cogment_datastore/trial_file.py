"""Files of exported trials, as ``cogment client trial_datastore`` writes and reads them.

A file is the 16 bytes `MAGIC`, a header record, and a record for each sample until the end of the file. A record is the
number of its bytes, as 32 bits in little-endian order, and a serialized message: a ``TrialSamplesFileHeader``, with the
parameters of the trials by their ids, or a ``StoredTrialSample``. Samples of several trials may come in any order.

Both ends read and write one record at a time, from the first byte to the last, so that files can be pipes, and of any
length::

    with open("trials.cogment", "wb") as stream:
        writer = TrialFileWriter(stream, make_header({"my-trial": params}))
        writer.write(sample)

    with open("trials.cogment", "rb") as stream:
        reader = TrialFileReader(stream)
        for sample in reader:
            print(sample.trial_id, sample.tick_id, reader.header.trial_params[sample.trial_id].max_steps)
"""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Protocol

from google.protobuf.message import DecodeError as ProtobufDecodeError

from cogment_core.api.common_pb2 import TrialParams, VersionInfo
from cogment_core.api.trial_datastore_pb2 import StoredTrialSample, TrialSamplesFileHeader
from cogment_core.errors import DecodeError, UsageError

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = [
    "MAGIC",
    "RECORD_LIMIT",
    "ByteSink",
    "ByteSource",
    "TrialFileError",
    "TrialFileReader",
    "TrialFileWriter",
    "make_header",
]

MAGIC = b"COGMENTTRIALS001"
"""The first bytes of a file, which tell what it is."""

RECORD_LIMIT = 64 * 1024 * 1024
"""Longest record that is read or written, in bytes: as long as a message over the network may be."""

_LENGTH = struct.Struct("<I")
_CHUNK = 1024 * 1024


class ByteSource(Protocol):
    """What a file is read from: an open binary file, a pipe, ``io.BytesIO``, ``sys.stdin.buffer``."""

    def read(self, size: int, /) -> bytes | None:
        """At most ``size`` bytes; none at the end."""
        ...


class ByteSink(Protocol):
    """What a file is written to: an open binary file, a pipe, ``io.BytesIO``, ``sys.stdout.buffer``."""

    def write(self, data: bytes, /) -> int | None:
        """Write ``data``. Returns how many bytes of it were written."""
        ...


class TrialFileError(DecodeError):
    """A file is not what it has to be: something else, damaged, or cut short.

    Args:
        message: What is wrong.
        offset: Where the record begins that cannot be read, in bytes from the beginning. All before it is whole.
    """

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(f"{message} (at byte {offset})")
        self.offset = offset

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (str(self), self.offset)


def _rebuild(text: str, offset: int) -> TrialFileError:
    error = TrialFileError(text, offset)
    error.args = (text,)
    return error


def make_header(
    trial_params: Mapping[str, TrialParams], *, version: str = "", timestamp: int | None = None
) -> TrialSamplesFileHeader:
    """The header of a file.

    Args:
        trial_params: Parameters of the trials in it, by trial id.
        version: Version of the software that exports them; none if empty.
        timestamp: When they are exported, in nanoseconds since the Unix epoch; now if None.
    """
    header = TrialSamplesFileHeader(export_timestamp=time.time_ns() if timestamp is None else timestamp)
    if version:
        header.version_info.versions.append(VersionInfo.Version(name="cogment", version=version))
    for trial_id, params in trial_params.items():
        header.trial_params[trial_id].CopyFrom(params)
    return header


class TrialFileWriter:
    """Writes a file.

    Args:
        stream: Where to write, from where it stands. It stays the caller's to flush and close.
        header: What the file is to begin with; None to go on with a file whose header is written.

    Raises:
        UsageError: The header is longer than `RECORD_LIMIT`.
    """

    def __init__(self, stream: ByteSink, header: TrialSamplesFileHeader | None) -> None:
        self._stream = stream
        self._bytes_written = 0
        self._samples_written = 0
        if header is not None:
            record = _record(header, "the header")
            self._write(MAGIC + record)

    @property
    def bytes_written(self) -> int:
        """Bytes written by this writer, header included."""
        return self._bytes_written

    @property
    def samples_written(self) -> int:
        """Samples written by this writer."""
        return self._samples_written

    def write(self, sample: StoredTrialSample) -> None:
        """Write one sample.

        Raises:
            UsageError: It is longer than `RECORD_LIMIT`; nothing is written.
        """
        self._write(_record(sample, f"the sample of tick {sample.tick_id} of trial {sample.trial_id!r}"))
        self._samples_written += 1

    def _write(self, data: bytes) -> None:
        rest = data
        while rest:  # what is not buffered may take less at a time
            written = self._stream.write(rest)
            if written is None:
                raise BlockingIOError("a trial file cannot be written to a stream that does not wait")
            self._bytes_written += written
            rest = rest[written:]


class TrialFileReader:
    """Reads a file, sample by sample.

    Args:
        stream: Where to read, from where it stands. It stays the caller's to close.
        record_limit: Longest record to take, in bytes.

    Raises:
        TrialFileError: It is no such file, or its header cannot be read. Iterating raises it, too.
    """

    def __init__(self, stream: ByteSource, *, record_limit: int = RECORD_LIMIT) -> None:
        self._stream = stream
        self._record_limit = record_limit
        self._offset = 0
        self._header = self._read_header()

    @property
    def header(self) -> TrialSamplesFileHeader:
        """The header: versions, when the trials were exported, and their parameters by trial id."""
        return self._header

    @property
    def offset(self) -> int:
        """Bytes read, up to the end of the last whole record: where a file that was cut short can be gone on with."""
        return self._offset

    def __iter__(self) -> Iterator[StoredTrialSample]:
        """The samples that have not been read yet, to the end of the file."""
        while (content := self._read_record("a sample")) is not None:
            try:
                sample = StoredTrialSample.FromString(content)
            except ProtobufDecodeError as error:
                raise TrialFileError(f"a record of {len(content)} bytes is no sample: {error}", self._offset) from error
            self._offset += _LENGTH.size + len(content)
            yield sample

    def _read_header(self) -> TrialSamplesFileHeader:
        magic = self._read(len(MAGIC))
        if magic != MAGIC:
            raise TrialFileError(f"this is no file of exported trials: it begins with {magic!r}, not {MAGIC!r}", 0)
        self._offset = len(MAGIC)
        content = self._read_record("the header")
        if content is None:
            raise TrialFileError("the file is cut short: there is no header", self._offset)
        try:
            header = TrialSamplesFileHeader.FromString(content)
        except ProtobufDecodeError as error:
            raise TrialFileError(f"the header cannot be read: {error}", self._offset) from error
        self._offset += _LENGTH.size + len(content)
        return header

    def _read_record(self, what: str) -> bytes | None:
        prefix = self._read(_LENGTH.size)
        if not prefix:
            return None
        if len(prefix) < _LENGTH.size:
            raise TrialFileError(f"the file is cut short within the length of {what}", self._offset)
        (length,) = _LENGTH.unpack(prefix)
        if length > self._record_limit:
            text = f"{what} of {length} bytes is longer than the {self._record_limit} that are taken"
            raise TrialFileError(f"{text}; is the file damaged?", self._offset)
        content = self._read(length)
        if len(content) < length:
            raise TrialFileError(
                f"the file is cut short: {len(content)} of the {length} bytes of {what} are there", self._offset
            )
        return content

    def _read(self, size: int) -> bytes:
        """Exactly ``size`` bytes, or fewer at the end of the file. Pipes give fewer at a time."""
        parts: list[bytes] = []
        missing = size
        while missing:
            part = self._stream.read(min(missing, _CHUNK))
            if part is None:
                raise BlockingIOError("a trial file cannot be read from a stream that does not wait")
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)


def _record(message: Message, what: str) -> bytes:
    content = message.SerializeToString(deterministic=True)
    if len(content) > RECORD_LIMIT:
        raise UsageError(f"{what} of {len(content)} bytes is longer than the {RECORD_LIMIT} of a record")
    return _LENGTH.pack(len(content)) + content
