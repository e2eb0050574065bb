"""The enums that users meet."""

from cogment_core.api import common_pb2
from cogment_core.enums import TrialState


def test_trial_states_have_the_numbers_of_the_protocol():
    """A TrialState can be made from a number of the wire, and given to it."""
    assert {state.name: state.value for state in TrialState} == dict(common_pb2.TrialState.items())
