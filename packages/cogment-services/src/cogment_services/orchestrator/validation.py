"""Parameters of a trial: what is filled in for the user, and what cannot be run."""

from __future__ import annotations

import math

from cogment_core.api.common_pb2 import ActorParams, DatalogParams, EnvironmentParams, TrialParams
from cogment_core.endpoint_urls import DiscoverUrl, parse_url
from cogment_core.errors import CogmentError, EndpointError
from cogment_core.logs import logger
from cogment_services.orchestrator.limits import Limits

__all__ = ["ParametersError", "complete_parameters"]

DEFAULT_ENVIRONMENT_NAME = "env"
MIN_BUFFERED_TICKS = 2

_ANYWHERE = "cogment://discover"
_NOT_DISCOVERABLE = frozenset("%?&=;:/+,#@[]")
_DEFAULT_LIMITS = Limits()


class ParametersError(CogmentError):
    """The parameters of a trial are not such that it can be run."""


def complete_parameters(params: TrialParams, limits: Limits = _DEFAULT_LIMITS) -> None:
    """Fill in what was left out of ``params``, in place, and check what can be checked without reaching anything.

    Where endpoints lead is for those who use them. White space around them is taken away: an endpoint that has nothing
    else is left out.

    Raises:
        ParametersError: They cannot be run. It says which parameter is wrong and what would be right.
    """
    _strip_endpoints(params)
    if not params.environment.name:
        params.environment.name = DEFAULT_ENVIRONMENT_NAME
    _check_text("environment: name", params.environment.name)
    _check_discoverable("environment", params.environment.endpoint, implementation=params.environment.implementation)
    params.nb_buffered_ticks = _buffered_ticks(params.nb_buffered_ticks, limits)
    if not params.actors:
        raise ParametersError("the trial has no actors: give at least one in actors")
    if len(params.actors) > limits.actors:
        raise ParametersError(f"the trial has {len(params.actors)} actors, more than the {limits.actors} allowed")
    taken = {params.environment.name: "the environment"}
    for index, actor in enumerate(params.actors):
        _check_actor(index, actor)
        if actor.name in taken:
            raise ParametersError(f"actors[{index}]: the name [{actor.name}] is that of {taken[actor.name]}")
        taken[actor.name] = f"actors[{index}]"


def _strip_endpoints(params: TrialParams) -> None:
    parts: list[EnvironmentParams | DatalogParams | ActorParams] = [params.environment, params.datalog, *params.actors]
    for part in parts:
        if part.endpoint != part.endpoint.strip():
            part.endpoint = part.endpoint.strip()


def _buffered_ticks(asked: int, limits: Limits) -> int:
    if asked == 0:
        return MIN_BUFFERED_TICKS
    used = min(max(asked, MIN_BUFFERED_TICKS), limits.buffered_ticks)
    if used != asked:
        logger.warning("nb_buffered_ticks is %d, using %d", asked, used)
    return used


def _check_actor(index: int, actor: ActorParams) -> None:
    if not actor.name:
        raise ParametersError(f"actors[{index}]: name is empty")
    _check_text(f"actors[{index}]: name", actor.name)
    where = f"actor [{actor.name}]"
    if not actor.actor_class:
        raise ParametersError(f"{where}: actor_class is empty")
    _check_text(f"{where}: actor_class", actor.actor_class)
    _check_seconds(where, "initial_connection_timeout", actor.initial_connection_timeout)
    _check_seconds(where, "response_timeout", actor.response_timeout)
    _check_discoverable(where, actor.endpoint, actor_class=actor.actor_class, implementation=actor.implementation)


def _check_text(where: str, text: str) -> None:
    if not text.isprintable():
        raise ParametersError(f"{where} has characters that cannot be shown: {text!r}")


def _check_seconds(where: str, what: str, seconds: float) -> None:
    if not math.isfinite(seconds):
        raise ParametersError(f"{where}: {what} is {seconds}; give seconds, or 0 for no bound")


def _check_discoverable(where: str, endpoint: str, **properties: str) -> None:
    """Properties that a Directory is asked with have to fit into a URL; other endpoints do not use them so."""
    try:
        url = parse_url(endpoint or _ANYWHERE)
    except EndpointError as error:
        raise ParametersError(f"{where}: {error}") from None
    if not (isinstance(url, DiscoverUrl) and url.from_context):
        return
    for what, value in properties.items():
        wrong = sorted(_NOT_DISCOVERABLE.intersection(value))
        if wrong:
            raise ParametersError(f"{where}: {what} [{value}] cannot be discovered: it has {' '.join(wrong)}")
