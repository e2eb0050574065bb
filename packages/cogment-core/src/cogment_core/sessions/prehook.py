"""What a pre-trial hook works on."""

from __future__ import annotations

from cogment_core.errors import UsageError
from cogment_core.parameters import TrialParameters
from cogment_core.sessions.prehook_v1 import V1Attributes

__all__ = ["PrehookSession"]


class PrehookSession(V1Attributes):
    """The parameters of a trial that is about to start; given to the function of ``register_pre_trial_hook``.

    What the function leaves in `trial_parameters` goes to the next hook, or to the trial.
    """

    def __init__(self, trial_parameters: TrialParameters, trial_id: str, user_id: str) -> None:
        super().__init__()
        self._trial_parameters = trial_parameters
        self._trial_id = trial_id
        self._user_id = user_id

    @property
    def trial_parameters(self) -> TrialParameters:
        """The parameters: change them in place, or assign others."""
        return self._trial_parameters

    @trial_parameters.setter
    def trial_parameters(self, value: TrialParameters) -> None:
        if not isinstance(value, TrialParameters):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise UsageError(f"trial_parameters has to be a TrialParameters, not {type(value).__name__}")
        self._trial_parameters = value

    def get_trial_id(self) -> str:
        """Identifier of the trial."""
        return self._trial_id

    def get_user_id(self) -> str:
        """Identifier of the user that starts the trial."""
        return self._user_id
