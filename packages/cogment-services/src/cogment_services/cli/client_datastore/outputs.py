"""Where an export goes: a file that appears once it is whole, or a stream."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from cogment_core.errors import UsageError
from cogment_services.cli.results import note

__all__ = ["FileOutput", "Output", "StreamOutput", "as_output"]


class Output:
    """Where to write, within a ``with`` block.

    Args:
        path: The file; None for the standard output.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        """The file; None for the standard output."""
        self.stream: BinaryIO = sys.stdout.buffer
        """What to write to."""
        self.is_resumed = False
        """Whether there is something already, to go on with; it is read through ``stream``."""

    @property
    def size(self) -> int:
        """Bytes in the file; 0 if it is none."""
        return self.path.stat().st_size if self.path is not None and self.path.is_file() else 0


class StreamOutput(Output):
    """The standard output, a pipe or a device: what is written is gone."""

    def __enter__(self) -> StreamOutput:
        if self.path is not None:
            self.stream = self.path.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.path is not None:
            self.stream.close()
        elif error is None:
            self.stream.flush()


class FileOutput(Output):
    """A file, which is written under another name until it is whole.

    Args:
        path: The file.
        is_resumable: Whether what is there of an export that failed can be gone on with.
        resume: Whether to do so. A whole file can be gone on with, too, if more has come since; in its place then.
    """

    def __init__(self, path: Path, *, is_resumable: bool = False, resume: bool = False) -> None:
        super().__init__(path)
        self._target = path
        self._partial = path.with_name(f"{path.name}.partial")
        self._is_resumable = is_resumable
        self._resume = resume
        self._size_before = 0

    def __enter__(self) -> FileOutput:
        if self._resume and not self._partial.exists() and self._target.exists():
            self._partial = self._target
        self.is_resumed = self._resume and self._partial.exists()
        self.stream = self._partial.open("r+b" if self.is_resumed else "w+b")
        self._size_before = self._partial.stat().st_size
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            with self.stream:
                self.stream.flush()
                if error is None:
                    os.fsync(self.stream.fileno())
        finally:
            if error is not None:
                self._leave_in_order()
        if error is None:
            os.replace(self._partial, self._target)

    def _leave_in_order(self) -> None:
        if self._partial.stat().st_size > self._size_before and self._is_resumable:
            note(f"what is there of the export is in {self._partial}; the same command with --resume goes on with it")
        elif not self.is_resumed:
            self._partial.unlink()


def as_output(
    file: str | None, *, force: bool, resume: bool, is_resumable: bool, is_text: bool = False
) -> FileOutput | StreamOutput:
    """The output that ``file`` stands for.

    Args:
        file: A path; None or ``-`` for the standard output.
        force: Whether a file that is there may be replaced.
        resume: Whether to go on with a file that is there.
        is_resumable: Whether that can be done with what is written.
        is_text: Whether it is something that people can read.

    Raises:
        UsageError: There is a file already, or the standard output is no place for this.
    """
    if file is None or file == "-":
        if resume:
            raise UsageError("--resume needs a --file to go on with")
        if not is_text and sys.stdout.isatty():
            raise UsageError("this is not for a terminal: name a --file, or send the output to another program")
        return StreamOutput(None)
    path = Path(file).absolute()
    if path.is_dir():
        raise UsageError(f"--file: {path} is a folder")
    if path.exists() and not path.is_file():
        return StreamOutput(path)
    if path.exists() and not (force or resume):
        hint = ", --resume goes on with it" if is_resumable else ""
        raise UsageError(f"{path} is there already; --force replaces it{hint}")
    return FileOutput(path, is_resumable=is_resumable, resume=resume)
