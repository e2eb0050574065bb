"""What a Controller says about a trial."""

from __future__ import annotations

import pytest

from cogment_controller import TrialInfo
from cogment_core.api import common_pb2, orchestrator_pb2
from cogment_core.enums import TrialState

FULL = orchestrator_pb2.TrialInfo(
    trial_id="t",
    properties={"kind": "test"},
    state=common_pb2.RUNNING,
    env_name="env",
    tick_id=3,
    trial_duration=12,
)


def test_full_information_is_plain_python() -> None:
    """Information about a trial holds Python values only: the properties are a dict that belongs to the caller."""
    info = TrialInfo.from_proto(FULL)
    assert info == TrialInfo("t", TrialState.RUNNING, {"kind": "test"}, "env", 3, 12)
    assert type(info.properties) is dict


def test_entry_without_information_has_id_and_state() -> None:
    """What a watcher gets without full information has the id and the state; the rest is None."""
    info = TrialInfo.from_entry(orchestrator_pb2.TrialListEntry(trial_id="t", state=common_pb2.ENDED))
    assert (info.trial_id, info.state) == ("t", TrialState.ENDED)
    assert (info.properties, info.env_name, info.tick_id, info.duration) == (None, None, None, None)


def test_entry_with_information_has_all() -> None:
    """The existing Orchestrator leaves the entry's own id and state empty when it sends full information."""
    assert TrialInfo.from_entry(orchestrator_pb2.TrialListEntry(info=FULL)) == TrialInfo.from_proto(FULL)


def test_state_of_a_newer_protocol_is_unknown() -> None:
    """A state that this version does not know does not break the caller's loop."""
    entry = orchestrator_pb2.TrialListEntry(trial_id="t")
    entry.MergeFromString(b"\x10\x63")  # state = 99
    assert TrialInfo.from_entry(entry).state is TrialState.UNKNOWN


@pytest.mark.parametrize(
    ("info", "text"),
    [
        (TrialInfo("t", TrialState.ENDED), "TrialInfo(trial_id='t', state=ENDED)"),
        (
            TrialInfo("t", TrialState.RUNNING, {"a": "b"}, "env", 3, 12),
            "TrialInfo(trial_id='t', state=RUNNING, properties={'a': 'b'}, env_name='env', tick_id=3, duration=12)",
        ),
    ],
)
def test_readable(info: TrialInfo, text: str) -> None:
    """Printing shows what is known and nothing else."""
    assert repr(info) == str(info) == text


def test_can_be_kept_in_a_set() -> None:
    """Equal information is one element of a set."""
    assert len({TrialInfo.from_proto(FULL), TrialInfo.from_proto(FULL)}) == 1
