"""The attributes that pre-trial hooks used before there was ``trial_parameters``.

They are views of the same parameters: ``session.trial_max_steps = 10`` is ``session.trial_parameters.max_steps = 10``.
Configs, and ``actors``, a list of dictionaries, could be changed in place; `V1Attributes.validate` applies that.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, Generic, TypeVar, cast

from google.protobuf.message import Message

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
        return cast("T", instance.view(self._target))

    def __set__(self, instance: V1Attributes, value: T) -> None:
        logger.deprecated(self._advice)
        instance.forget(self._target)
        setattr(instance.trial_parameters, self._target, value)


class V1Attributes(ABC):
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
        self._views: dict[str, tuple[Message, Message]] = {}
        self._actors: list[dict[str, Any]] | None = None
        self._actors_before: list[dict[str, Any]] = []

    def __setattr__(self, name: str, value: Any) -> None:
        # A misspelt attribute would be a change that goes nowhere.
        if not name.startswith("_") and not hasattr(type(self), name):
            raise UsageError(f"PrehookSession has no attribute {name!r} to set")
        object.__setattr__(self, name, value)

    @property
    @abstractmethod
    def trial_parameters(self) -> TrialParameters:
        """The parameters that the attributes stand for."""

    def view(self, name: str) -> Any:
        """The parameter ``name``; a message that was changed in place since it was first looked at, if there is one."""
        if name in self._views and self._views[name][0] != self._views[name][1]:
            return self._views[name][0]
        value = getattr(self.trial_parameters, name)
        if isinstance(value, Message):
            self._views[name] = (value, copy.deepcopy(value))
        return value

    def forget(self, name: str) -> None:
        """The parameter ``name`` is about to be assigned: what was looked at before does not count any more."""
        self._views.pop(name, None)

    @property
    def actors(self) -> list[dict[str, Any]]:
        """The actors as dictionaries with ``name``, ``actor_class``, ``endpoint``, ``implementation``, ``config``."""
        logger.deprecated("[PrehookSession.actors] is now [PrehookSession.trial_parameters.actors]")
        if self._actors is None:
            self._actors = [_as_dict(actor) for actor in self.trial_parameters.actors]
            self._actors_before = copy.deepcopy(self._actors)
        return self._actors

    @actors.setter
    def actors(self, value: Iterable[dict[str, Any]]) -> None:
        logger.deprecated("[PrehookSession.actors] is now [PrehookSession.trial_parameters.actors]")
        given: Any = value
        try:
            self._actors = list(given)
        except TypeError as error:
            raise UsageError(f"actors has to be a list of dictionaries, not {given!r}") from error

    def validate(self) -> None:
        """Apply what was changed in place. Called after the hook's function, so that it need not.

        Raises:
            UsageError: Something in `actors` is no dictionary, lacks a key, or has an unknown one.
        """
        for name, (value, before) in self._views.items():
            if value != before:
                setattr(self.trial_parameters, name, value)
                self._views[name] = (value, copy.deepcopy(value))
        if self._actors is not None and self._actors != self._actors_before:
            self._apply_actors(self._actors)

    def _apply_actors(self, actors: list[dict[str, Any]]) -> None:
        for actor in actors:
            _check(actor)
        known = {actor.name: actor for actor in self.trial_parameters.actors}
        self.trial_parameters.actors = [
            _from_dict(actor, known.get(actor["name"]), self.trial_parameters) for actor in actors
        ]
        self._actors_before = copy.deepcopy(actors)


def _check(actor: Any) -> None:
    if not isinstance(actor, dict):
        raise UsageError(f"an actor is a dictionary with the keys {', '.join(_ACTOR_KEYS)}, not {actor!r}")
    keys = cast("dict[str, Any]", actor).keys()
    if keys != set(_ACTOR_KEYS):
        raise UsageError(f"an actor has the keys {', '.join(_ACTOR_KEYS)}, not {', '.join(keys) or 'none'}")


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
    # Without specs a config cannot be read, and None says nothing about it.
    if result.has_specs() or actor["config"] is not None:
        result.config = actor["config"]
    return result
