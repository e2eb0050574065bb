"""What a Trial Datastore says about a trial."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from cogment_core.parameters import TrialParameters
from cogment_datastore.roster import Roster
from cogment_datastore.sample import trial_state

if TYPE_CHECKING:
    from cogment_core.api import trial_datastore_pb2
    from cogment_core.enums import TrialState
    from cogment_core.specs import CogSettings

__all__ = ["DatastoreTrialInfo"]


class DatastoreTrialInfo:
    """A trial in a datastore as it was when it was asked for.

    Args:
        proto: What the datastore says; not copied.
        settings: The specs, None if they are not known.
    """

    def __init__(self, proto: trial_datastore_pb2.StoredTrialInfo, settings: CogSettings | None) -> None:
        self._proto = proto
        self._settings = settings

    @property
    def trial_id(self) -> str:
        """The trial."""
        return self._proto.trial_id

    @property
    def user_id(self) -> str:
        """Who started the trial, as far as the datastore was told."""
        return self._proto.user_id

    @property
    def trial_state(self) -> TrialState:
        """The last state of the trial that is stored; ``UNKNOWN`` before there are samples."""
        return trial_state(self._proto.last_state)

    @property
    def sample_count(self) -> int:
        """Number of samples that are stored."""
        return self._proto.samples_count

    @cached_property
    def parameters(self) -> TrialParameters:
        """The parameters of the trial."""
        return TrialParameters.from_proto(self._settings, self._proto.params)

    @cached_property
    def roster(self) -> Roster:
        """Who takes part in the trial."""
        return Roster(self._proto.params, self._settings)

    def has_specs(self) -> bool:
        """Whether the specs are known, which configs need."""
        return self._settings is not None

    def to_proto(self) -> trial_datastore_pb2.StoredTrialInfo:
        """The message that holds the information; not a copy."""
        return self._proto

    def __repr__(self) -> str:
        return f"DatastoreTrialInfo({self.trial_id!r}, {self.trial_state.name}, sample_count={self.sample_count})"
