"""Who takes part in a trial, as samples refer to them: by their places in the parameters of the trial."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cogment_core.errors import DecodeError
from cogment_core.specs import actor_class_of

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from cogment_core.api.common_pb2 import ActorParams, TrialParams
    from cogment_core.specs import ActorClass, CogSettings

__all__ = ["Roster"]

_ENVIRONMENT = -1
_DEFAULT_ENVIRONMENT_NAME = "env"


class Roster:
    """The names and classes behind the numbers in the samples of a trial.

    Args:
        params: Parameters of the trial.
        settings: The specs, None if they are not known.

    Attributes:
        settings: The specs, None if they are not known.
        actors: Parameters of the actors, in order.
        environment: Name of the environment.
    """

    def __init__(self, params: TrialParams, settings: CogSettings | None) -> None:
        self.settings = settings
        self.actors: list[ActorParams] = list(params.actors)
        self.environment = params.environment.name or _DEFAULT_ENVIRONMENT_NAME
        self._names = [actor.name for actor in self.actors]

    def name(self, index: int) -> str:
        """Name of the actor at ``index``, or of the environment, whose index is -1.

        Raises:
            DecodeError: The trial has no such actor.
        """
        if index == _ENVIRONMENT:
            return self.environment
        self.check(index)
        return self._names[index]

    def check(self, index: int) -> None:
        """Check that there is an actor at ``index``.

        Raises:
            DecodeError: There is none.
        """
        if not 0 <= index < len(self._names):
            raise DecodeError(f"the sample is about actor #{index}, and its trial has {len(self._names)} actors")

    def observation_space(self, index: int) -> type[Message] | None:
        """Type of the observations of an actor; None without specs.

        Raises:
            SpecsError: The specs do not have the actor's class.
        """
        return None if self.settings is None else self._class_of(index).observation_space

    def action_space(self, index: int) -> type[Message] | None:
        """Type of the actions of an actor; None without specs.

        Raises:
            SpecsError: The specs do not have the actor's class.
        """
        return None if self.settings is None else self._class_of(index).action_space

    def _class_of(self, index: int) -> ActorClass:
        return actor_class_of(self.settings, self.actors[index].actor_class)
