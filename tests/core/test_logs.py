"""The SDK's logger, and loggers made in its style."""

import logging
import os
import subprocess
import sys
import uuid

import pytest

from cogment_core import logs
from cogment_core.logs import TRACE, CogmentLogger, make_logger


@pytest.fixture
def name():
    """A logger's name that no test used before."""
    return f"test.{uuid.uuid4().hex}"


def test_a_made_logger_is_the_standard_one_of_its_name(name):
    """`logging.getLogger` finds it, and there is no handler on it."""
    logger = make_logger(name)
    assert logger is logging.getLogger(name)
    assert isinstance(logger, CogmentLogger)
    assert logger.TRACE == TRACE == 5
    assert logger.handlers == []
    assert logger.level == logging.INFO
    assert type(logging.getLogger(name + ".child")) is logging.Logger


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("off", logging.CRITICAL),
        ("error", logging.ERROR),
        ("warning", logging.WARNING),
        ("info", logging.INFO),
        ("debug", logging.DEBUG),
        ("trace", TRACE),
        ("DEBUG", logging.DEBUG),
        (" Trace ", TRACE),
        ("CRITICAL", logging.CRITICAL),
    ],
)
def test_the_environment_sets_the_level(name, text, level, monkeypatch):
    """Documented names and Python's, in any case."""
    monkeypatch.setenv("MY_LOG_LEVEL", text)
    assert make_logger(name, env_name="MY_LOG_LEVEL").level == level


@pytest.mark.parametrize("text", ["loud", "5", "basic_format", "handler", "root"])
def test_a_wrong_level_is_warned_about_and_ignored(name, text, monkeypatch, caplog):
    """A typing error in the environment does not break the import of a library."""
    monkeypatch.setenv("MY_LOG_LEVEL", text)
    with caplog.at_level(logging.WARNING):
        logger = make_logger(name, env_name="MY_LOG_LEVEL", default_level="DEBUG")
    assert logger.level == logging.DEBUG
    assert f"MY_LOG_LEVEL={text!r} is not a log level" in caplog.text


def test_an_empty_variable_is_none(name, monkeypatch, caplog):
    """Unset and empty are the same."""
    monkeypatch.setenv("MY_LOG_LEVEL", "")
    assert make_logger(name, "MY_LOG_LEVEL", "error").level == logging.ERROR
    assert caplog.text == ""


def test_trace_is_a_level_below_debug(name, caplog):
    """It logs where the caller is, and formats nothing when it is off."""
    logger = make_logger(name, default_level="trace")
    with caplog.at_level(TRACE):
        logger.setLevel(TRACE)
        logger.trace("step %d", 5)
    [record] = caplog.records
    assert (record.levelname, record.getMessage(), record.filename) == ("TRACE", "step 5", "test_logs.py")
    logger.setLevel(logging.DEBUG)

    class Unprintable:
        def __str__(self):
            raise AssertionError("formatted though off")

    logger.trace("%s", Unprintable())


def test_deprecations_are_warned_about_once(name, caplog):
    """Each text once per process, as a warning from where it was called."""
    logger = make_logger(name)
    for text in ("old", "old", "older", "old"):
        logger.deprecated(text)
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "Deprecated: old"),
        ("WARNING", "Deprecated: older"),
    ]
    assert caplog.records[0].filename == "test_logs.py"
    assert sorted(logger.DEPRECATED_LOGGED) == ["old", "older"]


@pytest.mark.parametrize(("value", "level"), [(None, logging.INFO), ("trace", TRACE), ("nonsense", logging.INFO)])
def test_the_sdks_logger_reads_its_variable_at_import(value, level):
    """`cogment.sdk` takes its level from COGMENT_LOG_LEVEL, and a wrong one does not break the import."""
    environment = {key: text for key, text in os.environ.items() if key != "COGMENT_LOG_LEVEL"}
    if value is not None:
        environment["COGMENT_LOG_LEVEL"] = value
    code = "import logging, cogment_core.logs; print(logging.getLogger('cogment.sdk').level)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=30
    )
    assert int(done.stdout) == level
    assert ("is not a log level" in done.stderr) == (value == "nonsense")


def test_the_sdks_logger_has_its_documented_name():
    """Applications configure it by that name."""
    assert logs.logger.name == "cogment.sdk"
