"""Ways to break the protocol, each with whether it has consequences for who does it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from cogment_core.api.common_pb2 import (
    END,
    LAST,
    LAST_ACK,
    NORMAL,
    Action,
    ActorInitialOutput,
    ActorRunTrialOutput,
    Message,
    Reward,
    RewardSource,
)
from cogment_core.api.environment_pb2 import EnvInitialOutput, EnvRunTrialOutput, ObservationSet

if TYPE_CHECKING:
    from .peers import ActorPeer, EnvironmentPeer

_BAD_REWARDS = (
    Reward(tick_id=1000, receiver_name="*", sources=[RewardSource(value=-1, confidence=1)]),
    Reward(tick_id=-3, receiver_name="*", sources=[RewardSource(value=-1, confidence=1)]),
    Reward(tick_id=-1, receiver_name="*", sources=[RewardSource(value=math.nan, confidence=1)]),
    Reward(tick_id=-1, receiver_name="*", sources=[RewardSource(value=1, confidence=math.inf)]),
    Reward(tick_id=-1, receiver_name="*.*"),
)
_BAD_MESSAGES = (Message(tick_id=1000, receiver_name="*"), Message(tick_id=-2, receiver_name="world"))


def environment_lie(peer: EnvironmentPeer) -> tuple[EnvRunTrialOutput, bool]:
    """What a lying environment sends, and whether it must end the trial."""
    count = len(peer.scenario.params.actors)
    which = peer.character.lie % 17
    if which < 8:
        right = list(range(count))
        tick, places = (
            (peer.tick + 6, right),
            (peer.tick if peer.tick >= 0 else -5, right),
            (-7, right),
            (2**62, right),
            (-1, right[:-1]),
            (-1, [*right, 0]),
            (-1, [-1, *right[1:]]),
            (-1, [*right[:-1], count]),
        )[which]
        lie = ObservationSet(tick_id=tick, observations=[b"lie"] * count, actors_map=places)
        return EnvRunTrialOutput(state=NORMAL, observation_set=lie), True
    harmless = (
        EnvRunTrialOutput(state=NORMAL, init_output=EnvInitialOutput()),
        EnvRunTrialOutput(state=LAST),
        EnvRunTrialOutput(state=LAST_ACK),
        EnvRunTrialOutput(state=END, details="I say so"),
        EnvRunTrialOutput(state=NORMAL),
        EnvRunTrialOutput(state=9),  # type: ignore[arg-type]
        EnvRunTrialOutput(state=LAST, reward=_BAD_REWARDS[0]),
        EnvRunTrialOutput(state=NORMAL, message=peer.rng.choice(_BAD_MESSAGES)),
        EnvRunTrialOutput(state=NORMAL, reward=peer.rng.choice(_BAD_REWARDS)),
    )
    return harmless[which - 8], False


def actor_lie(peer: ActorPeer) -> tuple[ActorRunTrialOutput, bool]:
    """What a lying actor sends, and whether it must take part no more. LAST_ACK is sent twice."""
    which = peer.character.lie % 12
    if which < 3:
        grave = (
            ActorRunTrialOutput(state=NORMAL, init_output=ActorInitialOutput()),
            ActorRunTrialOutput(state=7),  # type: ignore[arg-type]
            ActorRunTrialOutput(state=LAST, action=Action(tick_id=-1, content=b"lie")),
        )
        return grave[which], True
    harmless = (
        ActorRunTrialOutput(state=NORMAL, action=Action(tick_id=peer.view + 1000, content=b"lie")),
        ActorRunTrialOutput(state=NORMAL, action=Action(tick_id=peer.view - 1 if peer.view else -2, content=b"lie")),
        ActorRunTrialOutput(state=NORMAL, action=Action(tick_id=-9, content=b"lie")),
        ActorRunTrialOutput(state=LAST_ACK),
        ActorRunTrialOutput(state=LAST),
        ActorRunTrialOutput(state=END),
        ActorRunTrialOutput(state=NORMAL),
        ActorRunTrialOutput(state=NORMAL, reward=peer.rng.choice(_BAD_REWARDS)),
        ActorRunTrialOutput(state=NORMAL, message=peer.rng.choice(_BAD_MESSAGES)),
    )
    return harmless[which - 3], False
