"""The choice of gRPC's polling engine."""

import os
import subprocess
import sys

import pytest

from cogment_services import polling


@pytest.mark.parametrize(
    ("version", "chosen"), [("1.62.3", False), ("1.80.0", True), ("1.85.1", True), ("1.86.0", False)]
)
def test_only_measured_versions_are_changed(monkeypatch: pytest.MonkeyPatch, version: str, chosen: bool):
    """The older engine is chosen for the versions of grpcio in which it was seen to be faster."""
    monkeypatch.setattr(polling.metadata, "version", lambda _name: version)
    assert bool(polling.fast_polling()) is chosen


def test_the_operators_choice_stands(monkeypatch: pytest.MonkeyPatch):
    """A variable that is set, even to nothing, is left as it is."""
    monkeypatch.setenv(polling.VARIABLE, "")
    polling.choose_fast_polling()
    assert os.environ[polling.VARIABLE] == ""


def test_the_command_can_choose_before_grpc_is_imported():
    """Importing the command does not import grpc."""
    program = "import sys, cogment_services.cli; sys.exit('grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=30).returncode == 0
