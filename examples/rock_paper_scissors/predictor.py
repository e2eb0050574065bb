"""The program's actor: finds out what its opponent does after what."""

import random
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import cogment
from cogment.actor import ActorSession
from rules import WINNER_OVER
from specs import data_pb2

__all__ = ["choose", "predictor"]


async def predictor(session: ActorSession) -> None:
    """Play one match."""
    session.start()
    async for event in session.all_events():
        if event.observation and event.type is cogment.EventType.ACTIVE:
            session.do_action(data_pb2.Action(move=choose(event.observation.observation.rounds)))


def choose(rounds: Sequence[data_pb2.Round]) -> data_pb2.Move:
    """Beat what the opponent did most often after rounds like the last one; without such experience, anything.

    People are bad at being random: how they go on depends on how the last round went. That is a Markov chain, and these
    are its transitions, counted.
    """
    following = Counter(
        after.theirs
        for before, after in pairwise(rounds)
        if (before.mine, before.theirs) == (rounds[-1].mine, rounds[-1].theirs)
    )
    expected = following.most_common(1)[0][0] if following else random.choice(list(WINNER_OVER))
    return WINNER_OVER[expected]
