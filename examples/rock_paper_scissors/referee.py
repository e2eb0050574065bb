"""The environment: referees a match between two players."""

from cogment.environment import EnvironmentSession
from rules import score
from specs import data_pb2

__all__ = ["referee"]

Rounds = list[tuple[data_pb2.Move, data_pb2.Move]]


async def referee(session: EnvironmentSession) -> None:
    """Run one trial, which is one match."""
    names = [actor.actor_name for actor in session.get_active_actors()]
    played: Rounds = []
    session.start(observations(names, played))

    async for event in session.all_events():
        # Messages come as soon as they are sent. A player who leaves says so, and that is the end of the match.
        if any(message.payload.Unpack(data_pb2.Leave()) for message in event.messages):
            session.end(observations(names, played))

        # Actions come when both have chosen, all in one event: nobody can wait and see.
        elif event.actions:
            first, second = (action.action.move for action in event.actions)
            played.append((first, second))
            session.add_reward(score(first, second), confidence=1.0, to=[names[0]])
            session.add_reward(score(second, first), confidence=1.0, to=[names[1]])
            if len(played) < session.config.rounds:
                session.produce_observations(observations(names, played))
            else:
                session.end(observations(names, played))


def observations(names: list[str], played: Rounds) -> list[tuple[str, data_pb2.Observation]]:
    """What each player sees: the same rounds, from either side."""
    first = [data_pb2.Round(mine=mine, theirs=theirs) for mine, theirs in played]
    second = [data_pb2.Round(mine=mine, theirs=theirs) for theirs, mine in played]
    return [(names[0], data_pb2.Observation(rounds=first)), (names[1], data_pb2.Observation(rounds=second))]
