"""The messages of the trial protocol that carry no step: first and last words."""

from __future__ import annotations

from cogment_core.api.common_pb2 import (
    END,
    NORMAL,
    ActorInitialInput,
    ActorRunTrialInput,
    TrialActor,
    TrialParams,
)
from cogment_core.api.environment_pb2 import EnvInitialInput, EnvRunTrialInput

__all__ = ["actor_end", "actor_init", "environment_end", "environment_init"]


def actor_init(params: TrialParams, index: int) -> ActorRunTrialInput:
    """What the actor at ``index`` is told first: who it is in the trial."""
    actor = params.actors[index]
    data = ActorInitialInput(
        actor_name=actor.name,
        actor_class=actor.actor_class,
        impl_name=actor.implementation,
        env_name=params.environment.name,
        config=actor.config if actor.HasField("config") else None,
    )
    return ActorRunTrialInput(state=NORMAL, init_input=data)


def environment_init(params: TrialParams) -> EnvRunTrialInput:
    """What the environment is told first: who it is, and all actors of the trial, whether they are there or not."""
    environment = params.environment
    data = EnvInitialInput(
        name=environment.name,
        impl_name=environment.implementation,
        actors_in_trial=[TrialActor(name=actor.name, actor_class=actor.actor_class) for actor in params.actors],
        config=environment.config if environment.HasField("config") else None,
    )
    return EnvRunTrialInput(state=NORMAL, init_input=data)


def actor_end(details: str) -> ActorRunTrialInput:
    """The last word to an actor; ``details`` say why, unless the trial ended as it should."""
    return ActorRunTrialInput(state=END, details=details) if details else ActorRunTrialInput(state=END)


def environment_end(details: str) -> EnvRunTrialInput:
    """The last word to the environment, see `actor_end`."""
    return EnvRunTrialInput(state=END, details=details) if details else EnvRunTrialInput(state=END)
