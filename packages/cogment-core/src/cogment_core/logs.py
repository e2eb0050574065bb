"""The SDK's logger, and loggers made in its style."""

from __future__ import annotations

import logging
import os
from typing import Any, cast

__all__ = ["LOG_LEVELS", "TRACE", "CogmentLogger", "logger", "make_logger"]

TRACE = 5
"""Level below ``logging.DEBUG``, for what is only of interest when debugging the SDK itself."""

LOG_LEVELS = {
    "off": logging.CRITICAL,
    "error": logging.ERROR,
    "warning": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": TRACE,
}
"""What ``COGMENT_LOG_LEVEL`` may say. The SDK logs nothing as critical, so ``off`` silences it."""


class CogmentLogger(logging.Logger):
    """A logger with a ``trace`` level and once-only deprecation warnings."""

    TRACE = TRACE
    DEPRECATED_LOGGED: set[str]

    def trace(self, msg: object, *args: object, **kwargs: Any) -> None:
        """Log ``msg % args`` at the trace level."""
        if self.isEnabledFor(TRACE):
            kwargs["stacklevel"] = kwargs.get("stacklevel", 1) + 1
            self.log(TRACE, msg, *args, **kwargs)

    def deprecated(self, msg: str) -> None:
        """Warn that something is deprecated, once per distinct text in this process."""
        if msg not in self.DEPRECATED_LOGGED:
            self.DEPRECATED_LOGGED.add(msg)
            self.warning("Deprecated: %s", msg, stacklevel=2)


def make_logger(name: str, env_name: str | None = None, default_level: str = "INFO") -> CogmentLogger:
    """Make a logger in the style of Cogment.

    Args:
        name: Name of the logger, as for ``logging.getLogger``.
        env_name: Environment variable that sets the level (see ``LOG_LEVELS``), read now. A value that is not a
            level is warned about and ignored.
        default_level: Name of the level without such a variable: one of ``LOG_LEVELS`` or of Python's level names.

    Returns:
        The logger. It has no handler: handlers are the application's.
    """
    result = _as_cogment_logger(logging.getLogger(name))
    result.setLevel(_level(default_level) or logging.INFO)
    wanted = os.environ.get(env_name, "").strip() if env_name else ""
    if wanted:
        level = _level(wanted)
        if level is None:
            result.warning("%s=%r is not a log level; use one of: %s", env_name, wanted, ", ".join(LOG_LEVELS))
        else:
            result.setLevel(level)
    return result


def _level(name: str) -> int | None:
    level = LOG_LEVELS.get(name.lower())
    if level is not None:
        return level
    standard = getattr(logging, name.upper(), None)
    return standard if isinstance(standard, int) else None


def _as_cogment_logger(plain: logging.Logger) -> CogmentLogger:
    """Give ``plain`` our methods; ``logging.setLoggerClass`` would change every logger of the process."""
    if not isinstance(plain, CogmentLogger):
        plain.__class__ = CogmentLogger
        cast("CogmentLogger", plain).DEPRECATED_LOGGED = set()
    return cast("CogmentLogger", plain)


logging.addLevelName(TRACE, "TRACE")

logger = make_logger("cogment.sdk", env_name="COGMENT_LOG_LEVEL")
