"""The specs of the trials of fault tests, and their parameters: what participants do stands in their configs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from types import SimpleNamespace
from typing import Any, TypeVar

from google.protobuf.wrappers_pb2 import BytesValue

import cogment

ACTOR_CLASS = "player"
ENVIRONMENT = "world"
DEFAULT_ACTION = b"default"
CLIENT = "cogment://client"

SETTINGS: Any = SimpleNamespace(
    actor_classes=cogment.ActorClassList(
        cogment.ActorClass(
            name=ACTOR_CLASS, config_type=BytesValue, action_space=BytesValue, observation_space=BytesValue
        )
    ),
    trial=SimpleNamespace(config_type=None),
    environment=SimpleNamespace(config_type=BytesValue),
)

PlanT = TypeVar("PlanT", bound="Plan")


@dataclass(frozen=True)
class Plan:
    """What a participant does."""

    hold: bool = False
    """Whether it never starts its session."""
    report: int = 10
    """It tells each so many ticks."""
    block_at: int = -1
    """Tick in which it blocks its whole process."""
    block_for: float = 0.0
    """Seconds."""

    @classmethod
    def of(cls: type[PlanT], config: BytesValue | None) -> PlanT:
        return cls(**json.loads(config.value)) if config is not None else cls()

    def config(self) -> BytesValue:
        return BytesValue(value=json.dumps(asdict(self)).encode())


@dataclass(frozen=True)
class EnvironmentPlan(Plan):
    """What an environment does."""

    period: float = 0.02
    """Seconds from the actions to the next observations: its pace."""
    steps: int = 0
    """It ends the trial after so many; 0 for never."""
    size: int = 8
    """Bytes of an observation."""


@dataclass(frozen=True)
class ActorPlan(Plan):
    """What an actor does."""

    acts: bool = True
    """Whether it answers observations."""
    looks: bool = False
    """Whether it looks at them."""


@dataclass(frozen=True)
class Role:
    """An actor of a trial."""

    name: str
    endpoint: str
    optional: bool = False
    default_action: bool = False
    response_timeout: float = 0.0
    connection_timeout: float = 0.0
    plan: ActorPlan = ActorPlan()


def parameters(
    environment: str, roles: Iterable[Role], plan: EnvironmentPlan | None = None, *, datalog: str = "", **settings: Any
) -> cogment.TrialParameters:
    """Parameters of a trial whose environment, actors and datalog are at these endpoints."""
    return cogment.TrialParameters(
        SETTINGS,
        environment_name=ENVIRONMENT,
        environment_endpoint=environment,
        environment_config=(plan or EnvironmentPlan()).config(),
        datalog_endpoint=datalog,
        actors=[_actor(role) for role in roles],
        **settings,
    )


def _actor(role: Role) -> cogment.ActorParameters:
    actor = cogment.ActorParameters(
        SETTINGS,
        ACTOR_CLASS,
        name=role.name,
        endpoint=role.endpoint,
        config=role.plan.config(),
        optional=role.optional,
        response_timeout=role.response_timeout,
        initial_connection_timeout=role.connection_timeout,
    )
    if role.default_action:
        actor.default_action = BytesValue(value=DEFAULT_ACTION)
    return actor
