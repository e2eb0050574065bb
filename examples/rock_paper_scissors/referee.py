"""The environment: referees a match between two players."""

from cogment.environment import EnvironmentSession
from specs import data_pb2

__all__ = ["outcome", "referee"]


async def referee(session: EnvironmentSession) -> None:
    """Run one trial, which is one match."""
    names = [actor.actor_name for actor in session.get_active_actors()]
    played: list[list[int]] = []
    session.start(observations(names, played))

    async for event in session.all_events():
        # Messages come whenever they are sent. A player who leaves says so, and ends the match for both.
        if any(message.payload.Is(data_pb2.Leave.DESCRIPTOR) for message in event.messages):
            session.end(observations(names, played))

        # Actions come together, once both have chosen: nobody can wait and see.
        elif event.actions:
            moves = [action.action.move for action in event.actions]
            played.append(moves)
            score = outcome(*moves)
            session.add_reward(score, confidence=1.0, to=[names[0]])
            session.add_reward(-score, confidence=1.0, to=[names[1]])
            if len(played) < session.config.rounds:
                session.produce_observations(observations(names, played))
            else:
                session.end(observations(names, played))


def outcome(mine: int, theirs: int) -> int:
    """1 if ``mine`` wins, -1 if ``theirs`` does, 0 for a draw. Each move beats the one before it, in a circle."""
    return (mine - theirs + 1) % 3 - 1


def observations(names: list[str], played: list[list[int]]) -> list[tuple[str, data_pb2.Observation]]:
    """What each player sees: the same rounds, from either side."""
    first = [data_pb2.Round(mine=mine, theirs=theirs) for mine, theirs in played]
    second = [data_pb2.Round(mine=mine, theirs=theirs) for theirs, mine in played]
    return [(names[0], data_pb2.Observation(rounds=first)), (names[1], data_pb2.Observation(rounds=second))]
