"""Where the log of a server goes, and what its lines look like."""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from cogment_core.errors import UsageError
from cogment_core.logs import LOG_LEVELS, logger

__all__ = ["JsonFormatter", "LogOptions", "TextFormatter", "start_logging"]


@dataclass(frozen=True)
class LogOptions:
    """What a server's log should be."""

    level: str = "info"
    """One of off, error, warning, info, debug and trace."""
    file: str | None = None
    """A file to which lines are appended, instead of the standard error output."""
    format: str | None = None
    """``text`` or ``json``; None for ``json`` in files and ``text`` elsewhere."""


def start_logging(options: LogOptions) -> Callable[[], None]:
    """Send what this process logs to where ``options`` say. Returns what to call to undo it.

    Raises:
        UsageError: There is no such level or format, or the file cannot be written.
    """
    level = LOG_LEVELS.get(options.level.lower())
    if level is None:
        raise UsageError(f"there is no log level {options.level!r} (there are: {', '.join(LOG_LEVELS)})")
    handler = _handler(options)
    root = logging.getLogger()
    before = root.level, logger.level
    root.addHandler(handler)
    root.setLevel(max(level, logging.WARNING))  # what other libraries have to say
    logger.setLevel(level)

    def stop() -> None:
        root.removeHandler(handler)
        root.setLevel(before[0])
        logger.setLevel(before[1])
        handler.close()

    return stop


def _handler(options: LogOptions) -> logging.Handler:
    kind = options.format or ("json" if options.file else "text")
    if kind not in ("text", "json"):
        raise UsageError(f"there is no log format {kind!r} (there are: text, json)")
    try:
        handler = logging.FileHandler(options.file, encoding="utf-8") if options.file else logging.StreamHandler()
    except OSError as error:
        raise UsageError(f"the log file {options.file!r} cannot be written: {error.strerror}") from error
    coloured = not options.file and sys.stderr.isatty()
    handler.setFormatter(JsonFormatter() if kind == "json" else TextFormatter(coloured))
    return handler


_TAGS = {
    "CRITICAL": ("FATA", "31"),
    "ERROR": ("ERRO", "31"),
    "WARNING": ("WARN", "33"),
    "INFO": ("INFO", "36"),
    "DEBUG": ("DEBU", "37"),
    "TRACE": ("TRAC", "37"),
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class TextFormatter(logging.Formatter):
    """Lines for people: time, level, logger, message.

    Control characters in a message are escaped, because parts of it may come from peers.

    Args:
        coloured: Whether the level is coloured, for terminals.
    """

    def __init__(self, coloured: bool = False) -> None:
        super().__init__()
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback of an error below it."""
        tag, colour = _TAGS.get(record.levelname, (record.levelname, "37"))
        level = f"\x1b[{colour}m[{tag}]\x1b[0m" if self._coloured else f"[{tag}]"
        message = _CONTROL.sub(_escape, record.getMessage())
        line = f"{_time_of(record)} {level} [{record.name}] {message}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


class JsonFormatter(logging.Formatter):
    """Lines for programs: one JSON object each, with ``time``, ``level``, ``logger``, ``message`` and ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        fields = {
            "time": _time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def _time_of(record: logging.LogRecord) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03}Z"


def _escape(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode()
