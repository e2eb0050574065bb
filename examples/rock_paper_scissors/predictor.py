"""The computer's actor: learns what its opponent does after what."""

import random
from collections import Counter
from collections.abc import Sequence

import cogment
from cogment.actor import ActorSession
from specs import data_pb2

__all__ = ["choose", "predictor"]


async def predictor(session: ActorSession) -> None:
    """Play one match."""
    session.start()
    async for event in session.all_events():
        if event.observation and event.type is cogment.EventType.ACTIVE:
            session.do_action(data_pb2.Action(move=choose(event.observation.observation.rounds)))


def choose(rounds: Sequence[data_pb2.Round]) -> int:
    """Beat the move that the opponent made most often after rounds like the last one; anything without experience.

    People are bad at being random. How they go on depends on how the last round went: a Markov chain.
    """
    after = Counter(
        following.theirs
        for before, following in zip(rounds, rounds[1:], strict=False)
        if (before.mine, before.theirs) == (rounds[-1].mine, rounds[-1].theirs)
    )
    expected = after.most_common(1)[0][0] if after else random.randrange(3)
    return (expected + 1) % 3
