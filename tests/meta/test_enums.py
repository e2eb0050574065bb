"""The numbers of enums, which are written to disk and sent to others."""

from __future__ import annotations

import enum

import pytest

import cogment
from cogment.api import common_pb2, directory_pb2, trial_datastore_pb2

NUMBERS: dict[type[enum.Enum], dict[str, int]] = {
    cogment.TrialState: {
        "UNKNOWN": 0,
        "INITIALIZING": 1,
        "PENDING": 2,
        "RUNNING": 3,
        "TERMINATING": 4,
        "ENDED": 5,
    },
    cogment.EventType: {"NONE": 0, "ACTIVE": 1, "ENDING": 2, "FINAL": 3},
    cogment.ActorStatus: {"UNKNOWN": 0, "ACTIVE": 1, "UNAVAILABLE": 2, "DEFAULT": 3},
    cogment.DatastoreFields: {
        "UNKNOWN": 0,
        "OBSERVATION": 1,
        "ACTION": 2,
        "REWARD": 3,
        "RECEIVED_REWARDS": 4,
        "SENT_REWARDS": 5,
        "RECEIVED_MESSAGES": 6,
        "SENT_MESSAGES": 7,
    },
    cogment.directory.ServiceType: {
        "LIFE_CYCLE": 1,
        "CLIENT_ACTOR": 2,
        "ACTOR": 3,
        "ENVIRONMENT": 4,
        "HOOK": 5,
        "DATALOG": 6,
        "DATASTORE": 7,
        "MODEL_REG": 8,
        "DIRECTORY": 9,
        "OTHER": 100,
    },
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_members_have_their_numbers(kind: type[enum.Enum]) -> None:
    """Each enum has the documented members, with the numbers that existing data and peers use."""
    assert {member.name: member.value for member in kind} == NUMBERS[kind]


@pytest.mark.parametrize("kind", NUMBERS)
def test_members_are_not_numbers(kind: type[enum.Enum]) -> None:
    """Members are compared with members: they do not equal their numbers."""
    assert not any(member == member.value for member in kind)


def test_trial_states_are_those_of_the_protocol() -> None:
    """A `TrialState` goes over the wire by its number."""
    assert {state.name: state.value for state in cogment.TrialState} == dict(common_pb2.TrialState.items())


def test_datastore_fields_are_those_of_the_protocol() -> None:
    """A `DatastoreFields` goes over the wire by its number."""
    prefix = "STORED_TRIAL_SAMPLE_FIELD_"
    wire = {name.removeprefix(prefix): number for name, number in trial_datastore_pb2.StoredTrialSampleField.items()}
    assert {field.name: field.value for field in cogment.DatastoreFields} == wire


def test_service_types_are_those_of_the_protocol() -> None:
    """A `ServiceType` goes over the wire by its number; the protocol has shorter and longer names for them."""
    wire = set(directory_pb2.ServiceType.values()) - {directory_pb2.UNKNOWN_SERVICE}
    assert {kind.value for kind in cogment.directory.ServiceType} == wire
