"""The attributes that pre-trial hooks used before there was ``trial_parameters``.

They are views of the same parameters: ``session.trial_max_steps = 10`` is ``session.trial_parameters.max_steps = 10``.
Only ``actors`` is different, a list of dictionaries, that is applied by `V1Attributes.validate` if the hook changed it.
"""

from __future__ import annotations

import copy
from typing import Any, Generic, TypeVar, cast

from cogment_core.errors import UsageError
from cogment_core.logs import logger
from cogment_core.parameters import ActorParameters, TrialParameters

__all__ = ["V1Attributes"]

T = TypeVar("T")

_ACTOR_KEYS = ("name", "actor_class", "endpoint", "implementation", "config")


class _Forward(Generic[T]):
    """An attribute that stands for one of ``trial_parameters``."""

    def __init__(self, target: str) -> None:
        self._target = target

    def __set_name__(self, owner: type, name: str) -> None:
        self._advice = f"[PrehookSession.{name}] is now [PrehookSession.trial_parameters.{self._target}]"

    def __get__(self, instance: V1Attributes | None, owner: type | None = None) -> T:
        if instance is None:
            return cast("T", self)
        logger.deprecated(self._advice)
        return cast("T", getattr(instance.trial_parameters, self._target))

    def __set__(self, instance: V1Attributes, value: T) -> None:
        logger.deprecated(self._advice)
        setattr(instance.trial_parameters, self._target, value)


class V1Attributes:
    """The deprecated attributes of a pre-trial hook's session."""

    trial_config: _Forward[Any] = _Forward("config")
    trial_max_steps: _Forward[int] = _Forward("max_steps")
    trial_max_inactivity: _Forward[int] = _Forward("max_inactivity")
    datalog_endpoint: _Forward[str] = _Forward("datalog_endpoint")
    datalog_exclude: _Forward[Any] = _Forward("datalog_exclude_fields")
    environment_name: _Forward[str] = _Forward("environment_name")
    environment_endpoint: _Forward[str] = _Forward("environment_endpoint")
    environment_implementation: _Forward[str] = _Forward("environment_implementation")
    environment_config: _Forward[Any] = _Forward("environment_config")

    def __init__(self) -> None:
        self._actors: list[dict[str, Any]] | None = None
        self._actors_before: list[dict[str, Any]] = []

    def __setattr__(self, name: str, value: Any) -> None:
        # A misspelt attribute would be a change that goes nowhere.
        if not name.startswith("_") and not hasattr(type(self), name):
            raise UsageError(f"PrehookSession has no attribute {name!r} to set")
        object.__setattr__(self, name, value)

    @property
    def trial_parameters(self) -> TrialParameters:
        """The parameters that the attributes stand for."""
        raise NotImplementedError

    @property
    def actors(self) -> list[dict[str, Any]]:
        """The actors as dictionaries with ``name``, ``actor_class``, ``endpoint``, ``implementation``, ``config``."""
        logger.deprecated("[PrehookSession.actors] is now [PrehookSession.trial_parameters.actors]")
        if self._actors is None:
            self._actors = [_as_dict(actor) for actor in self.trial_parameters.actors]
            self._actors_before = [dict(actor) for actor in self._actors]
        return self._actors

    @actors.setter
    def actors(self, value: list[dict[str, Any]]) -> None:
        self._actors = value

    def validate(self) -> None:
        """Apply what was changed in `actors`. Called after the hook's function, so that it need not.

        Raises:
            UsageError: A dictionary lacks a key, or has an unknown one.
        """
        if self._actors is None or self._actors == self._actors_before:
            return
        for actor in self._actors:
            if set(actor) != set(_ACTOR_KEYS):
                raise UsageError(f"an actor has the keys {', '.join(_ACTOR_KEYS)}, not {', '.join(actor) or 'none'}")
        known = {actor.name: actor for actor in self.trial_parameters.actors}
        self.trial_parameters.actors = [
            _from_dict(actor, known.get(actor["name"]), self.trial_parameters) for actor in self._actors
        ]
        self._actors_before = [dict(actor) for actor in self._actors]


def _as_dict(actor: ActorParameters) -> dict[str, Any]:
    return {
        "name": actor.name,
        "actor_class": actor.class_name,
        "endpoint": actor.endpoint,
        "implementation": actor.implementation,
        "config": actor.config if actor.has_specs() else None,
    }


def _from_dict(actor: dict[str, Any], before: ActorParameters | None, trial: TrialParameters) -> ActorParameters:
    """Parameters as ``actor`` says; what a dictionary cannot say stays as it was before."""
    if before is not None and before.class_name == actor["actor_class"]:
        result = copy.copy(before)
    else:
        result = trial.new_actor(actor["actor_class"])
    for key in ("name", "endpoint", "implementation"):
        setattr(result, key, actor[key])
    if result.has_specs():
        result.config = actor["config"]
    return result
